// Connecting to the broker, requests and answers, failure injection: see client.hpp.
#include "tests/mock-xen/client.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <xentoollog.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/wire_io.hpp"

namespace vmsg::mock {
namespace {

thread_local std::shared_ptr<const Endpoint> thread_endpoint;

/// Endpoints in force, innermost last: what threads without one of their own fall back to.
class ProcessEndpoints {
 public:
  void push(std::shared_ptr<const Endpoint> endpoint) {
    const std::lock_guard lock(mutex_);
    stack_.push_back(std::move(endpoint));
  }
  void remove(const std::shared_ptr<const Endpoint>& endpoint) {
    const std::lock_guard lock(mutex_);
    std::erase(stack_, endpoint);
  }
  std::shared_ptr<const Endpoint> innermost() const {
    const std::lock_guard lock(mutex_);
    return stack_.empty() ? nullptr : stack_.back();
  }

 private:
  mutable std::mutex mutex_;
  std::vector<std::shared_ptr<const Endpoint>> stack_;
};

ProcessEndpoints& process_endpoints() {
  static ProcessEndpoints endpoints;
  return endpoints;
}

void say(std::string_view line) {
  std::string text = "xen-mock: ";
  text += line;
  text += '\n';
  // One write, so that lines of several processes do not mix. Nothing can be done if it fails.
  [[maybe_unused]] const ssize_t written = ::write(STDERR_FILENO, text.data(), text.size());
}

void say_once(std::string_view line) {
  static std::mutex mutex;
  static std::vector<std::string> said;
  const std::lock_guard lock(mutex);
  for (const std::string& earlier : said) {
    if (earlier == line) return;
  }
  said.emplace_back(line);
  say(line);
}

/// The n-th call is this one: the rule fires.
bool count_down(FailureTable& table, Call call, int& error) {
  if (table.armed.load(std::memory_order_relaxed) == 0) return false;
  std::atomic<std::uint64_t>& rule = table.rules[static_cast<std::size_t>(call)];
  std::uint64_t word = rule.load(std::memory_order_relaxed);
  while (word != 0) {
    const std::uint32_t left = static_cast<std::uint32_t>(word);
    const std::uint64_t next = left > 1 ? word - 1 : 0;
    if (!rule.compare_exchange_weak(word, next, std::memory_order_relaxed)) continue;
    if (next != 0) return false;
    table.armed.fetch_sub(1, std::memory_order_relaxed);
    error = static_cast<int>(word >> 32);
    return true;
  }
  return false;
}

// Maps the segment, or finds it mapped: handles of one world in one process share one mapping, so
// that their atomics are the same objects to the language (and to ThreadSanitizer).
std::shared_ptr<Segment> map_segment(int fd) {
  static std::mutex mutex;
  static std::map<std::pair<dev_t, ino_t>, std::weak_ptr<Segment>> mapped;
  struct stat status{};
  if (::fstat(fd, &status) != 0) return nullptr;
  const std::lock_guard lock(mutex);
  std::erase_if(mapped, [](const auto& known) { return known.second.expired(); });
  std::weak_ptr<Segment>& entry = mapped[{status.st_dev, status.st_ino}];
  if (std::shared_ptr<Segment> segment = entry.lock()) return segment;
  void* const at = ::mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (at == MAP_FAILED) return nullptr;
  std::shared_ptr<Segment> segment(static_cast<Segment*>(at),
                                   [](Segment* gone) { ::munmap(gone, sizeof(Segment)); });
  entry = segment;
  return segment;
}

int connect_socket(const std::string& name) {
  sockaddr_un address{};
  socklen_t length = 0;
  if (!make_socket_address(name, address, length)) {
    errno = ENAMETOOLONG;
    return -1;
  }
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  // SAFETY: the sockets API takes every family's address by this pointer type.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    const int error = errno;
    ::close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

}  // namespace

std::optional<Endpoint> current_endpoint() {
  if (thread_endpoint) return *thread_endpoint;
  if (const auto endpoint = process_endpoints().innermost()) return *endpoint;

  // NOLINTNEXTLINE(concurrency-mt-unsafe): nobody changes the environment while handles are opened
  const char* const socket = std::getenv("XEN_MOCK");
  if (socket == nullptr || *socket == '\0') {
    say_once("no world: XEN_MOCK does not name the socket of a broker");
    errno = ENOENT;
    return std::nullopt;
  }
  Endpoint endpoint{.socket = socket, .domid = 0};
  // NOLINTNEXTLINE(concurrency-mt-unsafe): as above
  const char* const domid = std::getenv("XEN_MOCK_DOMID");
  if (domid != nullptr && *domid != '\0') {
    const char* const end = domid + std::strlen(domid);
    const auto [stop, error] = std::from_chars(domid, end, endpoint.domid);
    if (error != std::errc{} || stop != end || endpoint.domid >= kFirstReservedDomid) {
      say_once(std::string("XEN_MOCK_DOMID is not a domain id: ") + domid);
      errno = EINVAL;
      return std::nullopt;
    }
  }
  return endpoint;
}

ScopedEndpoint::ScopedEndpoint(Endpoint endpoint)
    : endpoint_(std::make_shared<const Endpoint>(std::move(endpoint))),
      outer_thread_(std::exchange(thread_endpoint, endpoint_)) {
  process_endpoints().push(endpoint_);
}

ScopedEndpoint::~ScopedEndpoint() {
  process_endpoints().remove(endpoint_);
  thread_endpoint = outer_thread_;
}

std::unique_ptr<Client> Client::connect(Service service, Call opening) {
  const std::optional<Endpoint> endpoint = current_endpoint();
  if (!endpoint) return nullptr;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  std::unique_ptr<Client> client(new Client);
  client->domid_ = endpoint->domid;
  client->pid_ = ::getpid();
  client->fd_ = connect_socket(endpoint->socket);
  if (client->fd_ < 0) {
    const int error = errno;
    say_once("no broker listens at " + endpoint->socket);
    errno = error;
    return nullptr;
  }

  const Hello hello{.service = service,
                    .domid = endpoint->domid,
                    .pid = static_cast<std::uint32_t>(client->pid_)};
  FdList fds;
  if (!send_all(client->fd_, &hello, sizeof(hello)) ||
      !receive_all(client->fd_, &client->hello_, sizeof(client->hello_), &fds)) {
    say_once("the broker at " + endpoint->socket + " hung up");
    errno = EIO;
    return nullptr;
  }
  if (client->hello_.magic != kHelloMagic) {
    say_once("what listens at " + endpoint->socket + " is no broker of this version");
    errno = EPROTO;
    return nullptr;
  }
  if (client->hello_.error != 0) {
    if (client->hello_.error == ENXIO) {
      say_once("there is no domain " + std::to_string(endpoint->domid));
    }
    errno = client->hello_.error;
    return nullptr;
  }
  const int segment_fd = fds.take_first();
  client->segment_ = map_segment(segment_fd);
  const int error = errno;
  ::close(segment_fd);
  if (!client->segment_) {
    errno = error;
    return nullptr;
  }
  client->incarnation_ = client->segment_->domains[client->hello_.domain_slot].incarnation.load(
      std::memory_order_acquire);
  client->extra_fd_ = fds.take_first();

  if (const int injected = client->injected(opening); injected != 0) {
    client.reset();
    errno = injected;
    return nullptr;
  }
  return client;
}

Client::~Client() {
  const int error = errno;
  if (extra_fd_ >= 0) ::close(extra_fd_);
  if (fd_ >= 0) ::close(fd_);
  errno = error;
}

int Client::injected(Call call) const {
  DomainArea& area = segment_->domains[hello_.domain_slot];
  int error = 0;
  const bool fires = count_down(area.failures, call, error) ||
                     (!is_release(call) && call != Call::kXengnttabGrantCopySegment &&
                      count_down(area.failures, Call::kAny, error));
  if (!fires) return 0;
  count(Counter::kFailuresInjected);
  return error;
}

bool Client::call(Request request, const void* in, Reply& reply, void* out, std::size_t out_size,
                  int* fd) {
  FdList fds;
  if (!send_all(fd_, &request, sizeof(request)) ||
      (request.payload != 0 && !send_all(fd_, in, request.payload)) ||
      !receive_all(fd_, &reply, sizeof(reply), &fds) || reply.payload > out_size ||
      (reply.payload != 0 && !receive_all(fd_, out, reply.payload, nullptr))) {
    say_once("the broker is gone");
    errno = EIO;
    return false;
  }
  if (reply.error != 0) {
    errno = reply.error;
    return false;
  }
  if (fd != nullptr) *fd = fds.take_first();
  return true;
}

void say_not_mocked(const char* name) {
  say_once(std::string(name) + ": not mocked");
  errno = ENOSYS;
}

namespace {

// The logger wants a va_list, which only a variadic function can make.
__attribute__((format(printf, 4, 5))) void log_with(xentoollog_logger* logger, int error,
                                                    const char* context, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  logger->vmessage(logger, XTL_ERROR, error, context, format, arguments);
  va_end(arguments);
}

}  // namespace

void log_error(xentoollog_logger* logger, const char* context, const char* what, int error) {
  if (logger != nullptr && logger->vmessage != nullptr) {
    log_with(logger, error, context, "%s", what);
  } else {
    std::array<char, 128> text{};
    say(std::string(context) + ": error: " + what + ": " +
        ::strerror_r(error, text.data(), text.size()));
  }
  errno = error;
}

}  // namespace vmsg::mock
