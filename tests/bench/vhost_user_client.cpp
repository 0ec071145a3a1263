#include "tests/bench/vhost_user_client.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <bit>
#include <cerrno>
#include <cstring>

namespace vmsg::bench {
namespace {

// vhost-user's own numbers, from its specification.
constexpr std::uint32_t kGetFeatures = 1;
constexpr std::uint32_t kSetFeatures = 2;
constexpr std::uint32_t kSetOwner = 3;
constexpr std::uint32_t kSetMemTable = 5;
constexpr std::uint32_t kSetVringNum = 8;
constexpr std::uint32_t kSetVringAddr = 9;
constexpr std::uint32_t kSetVringBase = 10;
constexpr std::uint32_t kSetVringKick = 12;
constexpr std::uint32_t kSetVringCall = 13;
constexpr std::uint32_t kSetVringEnable = 18;
constexpr std::uint32_t kVersion = 1;

constexpr std::uint64_t kFeatureIndirect = 1ULL << 28;
constexpr std::uint64_t kFeatureEventIdx = 1ULL << 29;
constexpr std::uint64_t kFeatureProtocol = 1ULL << 30;
constexpr std::uint64_t kFeatureVersion1 = 1ULL << 32;

struct RequestHead {
  std::uint32_t request;
  std::uint32_t flags;
  std::uint32_t size;
};

struct MemoryTable {
  std::uint32_t count;
  std::uint32_t padding;
  std::uint64_t guest_address;
  std::uint64_t size;
  std::uint64_t user_address;
  std::uint64_t offset;
};

struct VringState {
  std::uint32_t index;
  std::uint32_t number;
};

struct VringAddress {
  std::uint32_t index;
  std::uint32_t flags;
  std::uint64_t descriptors;
  std::uint64_t used;
  std::uint64_t available;
  std::uint64_t log;
};

constexpr std::uint64_t page_up(std::uint64_t bytes) {
  return (bytes + kGrantPageSize - 1) / kGrantPageSize * kGrantPageSize;
}

std::unexpected<std::string> failed(std::string_view doing) {
  return std::unexpected(fmt::format("cannot {}: {}", doing, std::strerror(errno)));
}

}  // namespace

Result<std::unique_ptr<VhostUserClient>, std::string> VhostUserClient::connect(
    const Options& options) {
  std::unique_ptr<VhostUserClient> client(new VhostUserClient);
  if (auto started = client->start(options); !started) return std::unexpected(started.error());
  return client;
}

VhostUserClient::~VhostUserClient() {
  for (const int fd : {socket_, memory_fd_, kick_, call_}) {
    if (fd >= 0) ::close(fd);
  }
  if (base_ != nullptr) ::munmap(base_, bytes_);
}

bool VhostUserClient::send(std::uint32_t request, const void* payload, std::uint32_t size,
                           int fd) const {
  std::array<std::byte, 256> bytes{};
  const RequestHead head{.request = request, .flags = kVersion, .size = size};
  std::memcpy(bytes.data(), &head, sizeof(head));
  if (size != 0) std::memcpy(bytes.data() + sizeof(head), payload, size);
  iovec vector{.iov_base = bytes.data(), .iov_len = sizeof(head) + size};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(int))> control{};
  if (fd >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const rights = CMSG_FIRSTHDR(&message);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &fd, sizeof(fd));
  }
  return ::sendmsg(socket_, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(sizeof(head) + size);
}

Result<std::uint64_t, std::string> VhostUserClient::ask(std::uint32_t request) const {
  struct {
    RequestHead head;
    std::uint32_t low;
    std::uint32_t high;
  } answer{};
  if (!send(request, nullptr, 0)) return failed("write to the device side");
  if (::recv(socket_, &answer, sizeof(answer), MSG_WAITALL) != sizeof(answer) ||
      answer.head.request != request) {
    return std::unexpected(fmt::format("request {} is not answered as it should be", request));
  }
  return answer.low | std::uint64_t{answer.high} << 32;
}

Result<void, std::string> VhostUserClient::start(const Options& options) {
  socket_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (options.socket.size() >= sizeof(address.sun_path)) {
    return std::unexpected(fmt::format("socket '{}': the name is too long", options.socket));
  }
  options.socket.copy(address.sun_path, options.socket.size());
  // SAFETY: how the socket interface takes addresses.
  if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    return failed(fmt::format("connect to {}", options.socket));
  }

  const AreaNumbers sizes = area_sizes(QueueFormat::kSplit, options.queue_size);
  const std::uint64_t driver_at = page_up(sizes.descriptors);
  const std::uint64_t device_at = driver_at + page_up(sizes.driver);
  const std::uint64_t buffers_at = device_at + page_up(sizes.device);
  bytes_ = static_cast<std::size_t>(buffers_at + page_up(options.buffer_bytes));
  memory_fd_ = ::memfd_create("vmsg-bench", MFD_CLOEXEC);
  if (memory_fd_ < 0 || ::ftruncate(memory_fd_, static_cast<off_t>(bytes_)) != 0) {
    return failed("make memory to share");
  }
  void* const mapped =
      ::mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, memory_fd_, 0);
  if (mapped == MAP_FAILED) return failed("map shared memory");
  base_ = static_cast<std::byte*>(mapped);
  const SharedBytes all = SharedBytes::unchecked_wrap(base_, bytes_);
  const GrantAddress first = GrantAddress::of(1);
  buffers_ = all.sub(buffers_at, static_cast<std::size_t>(options.buffer_bytes));
  buffers_address_ = *first.checked_add(buffers_at);

  kick_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  call_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (kick_ < 0 || call_ < 0) return failed("make an eventfd");

  const auto offered = ask(kGetFeatures);
  if (!offered) return std::unexpected(offered.error());
  std::uint64_t wanted = kFeatureVersion1;
  if (options.event_idx) wanted |= kFeatureEventIdx;
  if (options.indirect) wanted |= kFeatureIndirect;
  if ((wanted & ~*offered) != 0) {
    return std::unexpected(
        fmt::format("the device side offers {:#x}, not {:#x}", *offered, wanted));
  }
  // With the protocol features a queue starts disabled; without them, enabled.
  const std::uint64_t accepted = wanted | (*offered & kFeatureProtocol);

  auto queue = DriverQueue::create(
      {.format = QueueFormat::kSplit,
       .size = options.queue_size,
       .areas = {all.sub(0, sizes.descriptors), all.sub(driver_at, sizes.driver),
                 all.sub(device_at, sizes.device)},
       .event_idx = options.event_idx,
       .indirect = options.indirect,
       .in_order = false});
  if (!queue) return std::unexpected(fmt::format("a queue of {} cannot be", options.queue_size));
  queue_ = std::move(*queue);

  const auto user = std::bit_cast<std::uint64_t>(base_);
  const MemoryTable table{.count = 1,
                          .padding = 0,
                          .guest_address = first.raw(),
                          .size = bytes_,
                          .user_address = user,
                          .offset = 0};
  const VringState size{.index = 0, .number = options.queue_size};
  const VringState begin{.index = 0, .number = 0};
  const VringState enable{.index = 0, .number = 1};
  const VringAddress areas{.index = 0,
                           .flags = 0,
                           .descriptors = user,
                           .used = user + device_at,
                           .available = user + driver_at,
                           .log = 0};
  const std::uint64_t queue_number = 0;
  const bool is_started =
      send(kSetOwner, nullptr, 0) && send(kSetFeatures, &accepted, sizeof(accepted)) &&
      send(kSetMemTable, &table, sizeof(table), memory_fd_) &&
      send(kSetVringNum, &size, sizeof(size)) && send(kSetVringBase, &begin, sizeof(begin)) &&
      send(kSetVringAddr, &areas, sizeof(areas)) &&
      send(kSetVringCall, &queue_number, sizeof(queue_number), call_) &&
      send(kSetVringKick, &queue_number, sizeof(queue_number), kick_) &&
      ((accepted & kFeatureProtocol) == 0 || send(kSetVringEnable, &enable, sizeof(enable)));
  if (!is_started) return failed("start the queue");
  // An answer says that everything before it was taken.
  if (const auto answered = ask(kGetFeatures); !answered) {
    return std::unexpected(answered.error());
  }
  return {};
}

void VhostUserClient::kick() const {
  const std::uint64_t one = 1;
  static_cast<void>(::write(kick_, &one, sizeof(one)) == 0);
}

void VhostUserClient::clear() const {
  std::uint64_t count = 0;
  static_cast<void>(::read(call_, &count, sizeof(count)) == 0);
}

}  // namespace vmsg::bench
