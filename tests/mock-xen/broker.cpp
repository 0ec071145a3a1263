// The broker's poll loop and its connections: see broker.hpp.
#include "tests/mock-xen/broker.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include "tests/mock-xen/control.hpp"
#include "tests/mock-xen/wire_io.hpp"

namespace vmsg::mock {
namespace {

constexpr std::uint64_t kListenerId = 0;
constexpr std::uint64_t kStopId = 1;
constexpr std::size_t kReadSize = 65536;
// The largest request is a mapping of 64 Ki grants.
constexpr std::size_t kMaxPayload = 65536 * sizeof(GrantName);
constexpr std::size_t kMaxControl = 65536;
// A client that does not read what it asked for is cut off here.
constexpr std::size_t kMaxBacklog = 16777216;

template <typename T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

void consume(std::vector<std::byte>& buffer, std::size_t count) {
  buffer.erase(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(count));
}

/// A socket file of a broker that is no longer there is in nobody's way; one that answers is.
bool is_stale(const sockaddr_un& address, socklen_t length) {
  const UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // SAFETY: the sockets API takes every family's address by this pointer type.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  return ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0 &&
         errno == ECONNREFUSED;
}

UniqueFd listen_at(const std::string& name) {
  sockaddr_un address{};
  socklen_t length = 0;
  if (!make_socket_address(name, address, length)) {
    errno = ENAMETOOLONG;
    return {};
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return {};
  if (name.front() != '@' && is_stale(address, length)) ::unlink(name.c_str());
  // SAFETY: as above.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) return {};
  if (::listen(fd.get(), SOMAXCONN) != 0) return {};
  return fd;
}

}  // namespace

std::unique_ptr<Broker> Broker::create(const std::string& socket, std::string& error,
                                       const StoreLimits& limits) {
  UniqueFd listener = listen_at(socket);
  if (!listener) {
    error = "cannot listen at " + socket + ": " + std::generic_category().message(errno);
    return nullptr;
  }
  std::unique_ptr<Hypervisor> hypervisor = Hypervisor::create();
  if (!hypervisor) {
    error = "cannot make the shared memory: " + std::generic_category().message(errno);
    return nullptr;
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  std::unique_ptr<Broker> broker(
      new Broker(std::move(listener), socket, std::move(hypervisor), limits));
  if (!broker->epoll_ || !broker->stop_ ||
      !broker->watch(broker->listener_.get(), kListenerId, EPOLLIN) ||
      !broker->watch(broker->stop_.get(), kStopId, EPOLLIN)) {
    error = "cannot poll: " + std::generic_category().message(errno);
    return nullptr;
  }
  return broker;
}

Broker::Broker(UniqueFd listener, std::string socket, std::unique_ptr<Hypervisor> hypervisor,
               const StoreLimits& limits)
    : listener_(std::move(listener)),
      socket_(std::move(socket)),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)),
      stop_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      read_buffer_(kReadSize),
      hypervisor_(std::move(hypervisor)),
      store_([this](ConnectionId id,
                    std::span<const std::byte> message) { on_store_message(id, message); },
             limits) {
  store_.domain_introduced(0);
  store_.populate_home(0);
}

Broker::~Broker() {
  if (socket_.front() != '@') ::unlink(socket_.c_str());
}

bool Broker::log_to(const std::string& file) {
  log_.open(file, std::ios::app);
  return log_.is_open();
}

void Broker::log(const std::string& line) {
  if (log_.is_open()) log_ << line << '\n' << std::flush;
}

void Broker::stop() {
  const std::uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(stop_.get(), &one, sizeof(one));
}

bool Broker::watch(int fd, std::uint64_t id, std::uint32_t events) const {
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
}

int Broker::run() {
  std::vector<epoll_event> events;
  while (true) {
    // All that is ready in one go: the order between hang-ups and requests depends on it.
    events.resize(connections_.size() + 2);
    const bool again = hypervisor_->settle();
    const int count =
        ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), again ? 1 : -1);
    if (count < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    const std::span ready(events.data(), static_cast<std::size_t>(count));
    for (const epoll_event& event : ready) {
      if (event.data.u64 == kStopId) return 0;
      const bool gone = (event.events & (EPOLLHUP | EPOLLRDHUP | EPOLLERR)) != 0;
      if (gone && event.data.u64 != kListenerId) hang_up(event.data.u64);
    }
    for (const epoll_event& event : ready) {
      if (event.data.u64 == kListenerId) {
        accept_all();
        continue;
      }
      if ((event.events & EPOLLOUT) != 0) on_writable(event.data.u64);
      if ((event.events & EPOLLIN) != 0) on_readable(event.data.u64);
    }
    tell_store_who_is_blocked();
    drop_closing();
  }
}

// --- Connections come and go ----------------------------------------------------------------

void Broker::accept_all() {
  while (true) {
    UniqueFd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!fd) return;
    const std::uint64_t id = next_connection_++;
    if (!watch(fd.get(), id, EPOLLIN | EPOLLRDHUP)) continue;
    Connection& connection = connections_[id];
    connection.id = id;
    connection.fd = std::move(fd);
  }
}

void Broker::hang_up(std::uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  // What it said before it went still counts, as writes to a device do.
  bool at_end = false;
  while (!at_end && !at->second.closing && read_some(at->second, at_end)) {
    process(at->second);
  }
  drop(id);
}

void Broker::drop(std::uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end()) return;
  const Connection connection = std::move(at->second);
  connections_.erase(at);
  blocked_changes_.erase(id);
  if (!connection.greeted) return;
  log("connection " + std::to_string(id) + " of domain " + std::to_string(connection.domid) +
      " ended");
  if (connection.service == Service::kStore) store_.disconnect(id);
  if (connection.handle != 0) hypervisor_->close_handle(connection.handle);
}

void Broker::drop_closing() {
  std::vector<std::uint64_t> ids;
  for (const auto& [id, connection] : connections_) {
    if (connection.closing) ids.push_back(id);
  }
  for (const std::uint64_t id : ids) drop(id);
}

bool Broker::read_some(Connection& connection, bool& at_end) {
  const ssize_t got =
      ::recv(connection.fd.get(), read_buffer_.data(), read_buffer_.size(), MSG_DONTWAIT);
  at_end = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
  if (got <= 0) return false;
  connection.in.insert(connection.in.end(), read_buffer_.begin(), read_buffer_.begin() + got);
  return true;
}

void Broker::on_readable(std::uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end() || at->second.closing) return;
  bool at_end = false;
  if (read_some(at->second, at_end)) process(at->second);
  if (at_end) at->second.closing = true;
}

void Broker::process(Connection& connection) {
  while (!connection.closing) {
    bool progress = false;
    if (!connection.greeted) {
      progress = process_hello(connection);
    } else if (connection.service == Service::kStore) {
      process_store(connection);
    } else if (connection.service == Service::kControl) {
      progress = process_control(connection);
    } else {
      progress = process_request(connection);
    }
    if (!progress) return;
  }
}

bool Broker::process_hello(Connection& connection) {
  Hello hello;
  if (connection.in.size() < sizeof(hello)) return false;
  std::memcpy(&hello, connection.in.data(), sizeof(hello));
  consume(connection.in, sizeof(hello));

  HelloReply reply;
  if (hello.magic != kHelloMagic) {
    reply.error = EPROTO;
  } else if (hello.service != Service::kControl && !hypervisor_->is_alive(hello.domid)) {
    reply.error = ENXIO;
  }
  Hypervisor::Opened opened;
  const bool is_handle = hello.service == Service::kEvtchn || hello.service == Service::kGnttab ||
                         hello.service == Service::kGntshr;
  if (reply.error == 0 && is_handle) {
    opened = hypervisor_->open_handle(hello.service, hello.domid, hello.pid);
    reply.error = opened.error;
  }
  if (reply.error != 0) {
    send(connection, bytes_of(reply), {});
    connection.closing = true;
    return false;
  }
  connection.greeted = true;
  connection.service = hello.service;
  connection.domid = hello.domid;
  if (opened.handle != nullptr) {
    connection.handle = opened.handle->id;
    reply.handle_id = opened.handle->id;
    reply.handle_slot = opened.handle->slot;
  }
  Segment& segment = hypervisor_->segment();
  if (const DomainArea* const area = segment.find_domain(hello.domid); area != nullptr) {
    reply.domain_slot = segment.slot_of(*area);
  }
  log("connection " + std::to_string(connection.id) + " of domain " + std::to_string(hello.domid) +
      ", process " + std::to_string(hello.pid) + ", service " +
      std::to_string(static_cast<std::uint32_t>(hello.service)));
  const std::array<int, 2> fds = {hypervisor_->segment_fd(), opened.fd.get()};
  send(connection, bytes_of(reply), std::span(fds).first(opened.fd ? 2 : 1));
  if (hello.service == Service::kStore) {
    store_.connect(connection.id, static_cast<std::uint16_t>(hello.domid));
  }
  return true;
}

bool Broker::process_request(Connection& connection) {
  Request request;
  if (connection.in.size() < sizeof(request)) return false;
  std::memcpy(&request, connection.in.data(), sizeof(request));
  if (request.payload > kMaxPayload) {
    connection.closing = true;
    return false;
  }
  if (connection.in.size() < sizeof(request) + request.payload) return false;
  const std::span payload =
      std::span<const std::byte>(connection.in).subspan(sizeof(request), request.payload);

  Hypervisor::Answer answer;
  Handle* const handle = hypervisor_->find_handle(connection.handle);
  if (handle == nullptr) {
    answer.reply.error = ENXIO;  // its domain was destroyed
  } else {
    answer = hypervisor_->serve(*handle, request, payload);
  }
  consume(connection.in, sizeof(request) + request.payload);
  log("domain " + std::to_string(connection.domid) + " handle " +
      std::to_string(connection.handle) + ": request " +
      std::to_string(static_cast<std::uint32_t>(request.op)) + " -> " +
      std::to_string(answer.reply.error));
  answer.reply.payload = static_cast<std::uint32_t>(answer.payload.size());
  answer.reply.fds = answer.fd >= 0 ? 1 : 0;
  std::vector<std::byte> message(sizeof(answer.reply) + answer.payload.size());
  std::memcpy(message.data(), &answer.reply, sizeof(answer.reply));
  if (!answer.payload.empty()) {
    std::memcpy(message.data() + sizeof(answer.reply), answer.payload.data(),
                answer.payload.size());
  }
  const std::array<int, 1> fds = {answer.fd};
  send(connection, message, std::span(fds).first(answer.fd >= 0 ? 1 : 0));
  return true;
}

bool Broker::process_control(Connection& connection) {
  std::uint32_t length = 0;
  if (connection.in.size() < sizeof(length)) return false;
  std::memcpy(&length, connection.in.data(), sizeof(length));
  if (length > kMaxControl) {
    connection.closing = true;
    return false;
  }
  if (connection.in.size() < sizeof(length) + length) return false;
  std::string request(length, '\0');
  std::memcpy(request.data(), connection.in.data() + sizeof(length), length);
  consume(connection.in, sizeof(length) + length);
  log("control: " + request);
  const std::string answer = serve_control(*this, request);
  const auto answer_length = static_cast<std::uint32_t>(answer.size());
  std::vector<std::byte> message(sizeof(answer_length) + answer.size());
  std::memcpy(message.data(), &answer_length, sizeof(answer_length));
  std::memcpy(message.data() + sizeof(answer_length), answer.data(), answer.size());
  send(connection, message, {});
  return true;
}

// --- Output ---------------------------------------------------------------------------------

void Broker::send(Connection& connection, std::span<const std::byte> bytes,
                  std::span<const int> fds) {
  if (connection.closing) return;
  if (connection.out.empty()) {
    const ssize_t sent = send_some(connection.fd.get(), bytes, fds);
    // Descriptors go with the first byte or not at all: an answer that has one is small, and its
    // client has nothing else under way.
    const bool lost_fds = sent <= 0 && !fds.empty();
    if ((sent < 0 && errno != EAGAIN) || lost_fds) {
      connection.closing = true;
      return;
    }
    bytes = bytes.subspan(static_cast<std::size_t>(std::max<ssize_t>(sent, 0)));
    if (bytes.empty()) return;
    set_backed_up(connection, true);
  }
  if (connection.out.size() + bytes.size() > kMaxBacklog) {
    connection.closing = true;
    return;
  }
  connection.out.insert(connection.out.end(), bytes.begin(), bytes.end());
}

void Broker::set_backed_up(Connection& connection, bool backed_up) {
  epoll_event event{};
  event.events = EPOLLIN | EPOLLRDHUP | (backed_up ? EPOLLOUT : 0U);
  event.data.u64 = connection.id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.fd.get(), &event) != 0) {
    connection.closing = true;
  }
  if (connection.service == Service::kStore) blocked_changes_[connection.id] = backed_up;
}

void Broker::on_writable(std::uint64_t id) {
  const auto at = connections_.find(id);
  if (at == connections_.end() || at->second.closing) return;
  Connection& connection = at->second;
  const ssize_t sent = send_some(connection.fd.get(), connection.out, {});
  if (sent < 0) {
    connection.closing = errno != EAGAIN;
    return;
  }
  consume(connection.out, static_cast<std::size_t>(sent));
  if (connection.out.empty()) set_backed_up(connection, false);
}

// --- The store ------------------------------------------------------------------------------

void Broker::process_store(Connection& connection) {
  if (connection.in.empty()) return;
  const bool understood = store_.receive(connection.id, connection.in);
  connection.in.clear();
  if (understood) return;
  // The engine has forgotten the connection; disconnecting it once more does nothing.
  connection.closing = true;
}

void Broker::on_store_message(ConnectionId id, std::span<const std::byte> message) {
  const auto at = connections_.find(id);
  if (at != connections_.end()) send(at->second, message, {});
}

void Broker::tell_store_who_is_blocked() {
  while (!blocked_changes_.empty()) {
    const auto [id, blocked] = *blocked_changes_.begin();
    blocked_changes_.erase(blocked_changes_.begin());
    store_.set_blocked(id, blocked);
  }
}

// --- Domains --------------------------------------------------------------------------------

int Broker::create_domain(std::uint32_t domid, bool driver_domain) {
  const int error = hypervisor_->create_domain(domid);
  if (error != 0) return error;
  log("domain " + std::to_string(domid) + " created");
  // First the nodes, then the news: as libxl does it.
  store_.populate_home(static_cast<std::uint16_t>(domid), driver_domain);
  store_.domain_introduced(static_cast<std::uint16_t>(domid));
  return 0;
}

int Broker::destroy_domain(std::uint32_t domid) {
  if (domid == 0) return EPERM;
  const int error = hypervisor_->destroy_domain(domid);
  if (error != 0) return error;
  log("domain " + std::to_string(domid) + " destroyed");
  for (auto& [id, connection] : connections_) {
    if (connection.greeted && connection.service == Service::kStore && connection.domid == domid) {
      connection.closing = true;
    }
  }
  store_.domain_released(static_cast<std::uint16_t>(domid));
  return 0;
}

}  // namespace vmsg::mock
