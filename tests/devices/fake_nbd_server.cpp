#include "tests/devices/fake_nbd_server.hpp"

#include <endian.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <span>
#include <utility>

namespace vmsg::test {
namespace {

constexpr std::uint16_t kExportFlags = 1 | 4 | 8 | 32 | 64 | 256;  // all but read-only
constexpr std::uint32_t kOptionAbort = 2;
constexpr std::uint32_t kOptionGo = 7;
constexpr std::uint32_t kReplyAck = 1;
constexpr std::uint32_t kReplyInfo = 3;
constexpr std::uint32_t kReplyUnsupported = 0x80000001;
constexpr std::uint16_t kDisconnect = 2;
constexpr std::size_t kRequestBytes = 28;

bool receive(int fd, std::span<std::byte> into) {
  while (!into.empty()) {
    const ssize_t got = recv(fd, into.data(), into.size(), 0);
    if (got <= 0) return false;
    into = into.subspan(static_cast<std::size_t>(got));
  }
  return true;
}

bool send_all(int fd, std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(sent));
  }
  return true;
}

/// Numbers of the protocol, one after the other.
class Message {
 public:
  Message& u16(std::uint16_t value) { return put(htobe16(value)); }
  Message& u32(std::uint32_t value) { return put(htobe32(value)); }
  Message& u64(std::uint64_t value) { return put(htobe64(value)); }
  bool send_to(int fd) const { return send_all(fd, bytes_); }

 private:
  template <typename T>
  Message& put(T value) {
    const auto bytes = std::as_bytes(std::span(&value, 1));
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
    return *this;
  }
  std::vector<std::byte> bytes_;
};

template <typename T>
T number(std::span<const std::byte> bytes, std::size_t at) {
  T value{};
  std::memcpy(&value, bytes.data() + at, sizeof(value));
  return value;
}

Message option_reply(std::uint32_t option, std::uint32_t kind, std::uint32_t length) {
  return std::move(Message().u64(0x3e889045565a9).u32(option).u32(kind).u32(length));
}

}  // namespace

struct FakeNbdServer::Command {
  std::uint16_t type = 0;
  std::uint64_t cookie = 0;
  std::uint64_t offset = 0;
  std::uint32_t length = 0;
};

FakeNbdServer::FakeNbdServer() { listen_on_path(); }

FakeNbdServer::~FakeNbdServer() {
  {
    const std::lock_guard lock(mutex_);
    is_ending_ = true;
  }
  be_silent(false);
  be_away(true);
  for (std::thread& thread : threads_) thread.join();
}

void FakeNbdServer::be_silent(bool is_silent) {
  {
    const std::lock_guard lock(mutex_);
    is_silent_ = is_silent;
  }
  changed_.notify_all();
}

void FakeNbdServer::be_away(bool is_away) {
  if (!is_away) return listen_on_path();
  const std::lock_guard lock(mutex_);
  // Its thread closes it.
  shutdown(std::exchange(listener_, -1), SHUT_RDWR);
  unlink(path_.c_str());
  for (const int connection : connections_) shutdown(connection, SHUT_RDWR);
}

void FakeNbdServer::answer_with(std::uint32_t error) {
  const std::lock_guard lock(mutex_);
  error_ = error;
}

void FakeNbdServer::resize(std::uint64_t size) {
  const std::lock_guard lock(mutex_);
  size_ = size;
  bytes_.resize(size);
}

void FakeNbdServer::wait_for_commands(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return commands_ >= count; });
}

std::size_t FakeNbdServer::commands() {
  const std::lock_guard lock(mutex_);
  return commands_;
}

void FakeNbdServer::listen_on_path() {
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(std::data(address.sun_path), sizeof(address.sun_path) - 1);
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): SAFETY: as unix(7) has it.
  const auto* const plain = reinterpret_cast<const sockaddr*>(&address);
  EXPECT_EQ(bind(listener, plain, sizeof(address)), 0) << path_;
  EXPECT_EQ(listen(listener, 16), 0);
  const std::lock_guard lock(mutex_);
  listener_ = listener;
  threads_.emplace_back(&FakeNbdServer::accept_all, this, listener);
}

void FakeNbdServer::accept_all(int listener) {
  while (true) {
    const int connection = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (connection < 0) break;
    const std::lock_guard lock(mutex_);
    if (is_ending_ || listener_ != listener) {
      close(connection);
      break;
    }
    connections_.push_back(connection);
    threads_.emplace_back(&FakeNbdServer::serve, this, connection);
  }
  close(listener);
}

void FakeNbdServer::serve(int connection) {
  std::vector<std::byte> data;
  bool goes_on = negotiate(connection);
  while (goes_on) {
    std::array<std::byte, kRequestBytes> request{};
    if (!receive(connection, request)) break;
    const Command command{.type = be16toh(number<std::uint16_t>(request, 6)),
                          .cookie = number<std::uint64_t>(request, 8),
                          .offset = be64toh(number<std::uint64_t>(request, 16)),
                          .length = be32toh(number<std::uint32_t>(request, 24))};
    if (command.type == kDisconnect) break;
    goes_on = obey(connection, command, data);
  }
  const std::lock_guard lock(mutex_);
  std::erase(connections_, connection);
  close(connection);
}

bool FakeNbdServer::obey(int connection, const Command& command, std::vector<std::byte>& data) {
  constexpr std::uint16_t kRead = 0;
  constexpr std::uint16_t kWrite = 1;
  data.resize(command.type == kRead || command.type == kWrite ? command.length : 0);
  if (command.type == kWrite && !receive(connection, data)) return false;
  std::uint32_t error = 0;
  {
    std::unique_lock lock(mutex_);
    ++commands_;
    changed_.notify_all();
    changed_.wait(lock, [this] { return !is_silent_; });
    error = error_;
    const auto place = bytes_.begin() + static_cast<std::ptrdiff_t>(command.offset);
    if (command.type == kWrite) std::ranges::copy(data, place);
    if (command.type == kRead) std::copy_n(place, data.size(), data.begin());
  }
  const Message head = std::move(Message().u32(0x67446698).u32(error).u64(be64toh(command.cookie)));
  if (!head.send_to(connection)) return false;
  return command.type != kRead || error != 0 || send_all(connection, data);
}

bool FakeNbdServer::negotiate(int connection) {
  constexpr std::uint64_t kMagic = 0x4e42444d41474943;
  constexpr std::uint64_t kOptionMagic = 0x49484156454f5054;
  std::array<std::byte, 4> client_flags{};
  if (!Message().u64(kMagic).u64(kOptionMagic).u16(3).send_to(connection)) return false;
  if (!receive(connection, client_flags)) return false;
  while (true) {
    std::array<std::byte, 16> head{};
    if (!receive(connection, head)) return false;
    const std::uint32_t option = be32toh(number<std::uint32_t>(head, 8));
    std::vector<std::byte> rest(be32toh(number<std::uint32_t>(head, 12)));
    if (!receive(connection, rest)) return false;
    if (option == kOptionAbort) return false;
    if (option != kOptionGo) {
      if (!option_reply(option, kReplyUnsupported, 0).send_to(connection)) return false;
      continue;
    }
    std::uint64_t size = 0;
    {
      const std::lock_guard lock(mutex_);
      size = size_;
    }
    return option_reply(option, kReplyInfo, 12)
               .u16(0)
               .u64(size)
               .u16(kExportFlags)
               .send_to(connection) &&
           option_reply(option, kReplyAck, 0).send_to(connection);
  }
}

}  // namespace vmsg::test
