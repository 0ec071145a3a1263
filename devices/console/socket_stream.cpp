#include "devices/console/socket_stream.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace vmsg::console {
namespace {

constexpr int kWaiting = 8;  // clients in the queue
constexpr Nanoseconds kLookPeriod = kSecond;

std::unexpected<std::string> failed(std::string_view doing, const std::string& path, int error) {
  return std::unexpected(
      fmt::format("cannot {} {}: {}", doing, path, std::generic_category().message(error)));
}

/// bind() and connect() take the general form of an address.
const sockaddr* general(const sockaddr_un& address) {
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): SAFETY: as unix(7) has it.
  return reinterpret_cast<const sockaddr*>(&address);
}

/// A socket that a daemon left behind when it was killed takes no connections: it may go.
bool is_left_over(const sockaddr_un& address) {
  struct stat old{};
  if (lstat(static_cast<const char*>(address.sun_path), &old) != 0 || !S_ISSOCK(old.st_mode)) {
    return false;
  }
  const FileDescriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  return probe.is_open() && connect(probe.get(), general(address), sizeof(address)) != 0 &&
         errno == ECONNREFUSED;
}

}  // namespace

Result<std::unique_ptr<HostStream>, std::string> SocketStream::open(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof(address.sun_path)) return failed("listen on", path, ENAMETOOLONG);
  std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());

  FileDescriptor listening(socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!listening.is_open()) return failed("listen on", path, errno);
  // The file gets the mode of the socket: a console is its owner's alone until he says otherwise.
  if (fchmod(listening.get(), S_IRUSR | S_IWUSR) != 0) return failed("listen on", path, errno);
  if (is_left_over(address)) static_cast<void>(::unlink(path.c_str()) == 0);
  if (bind(listening.get(), general(address), sizeof(address)) != 0 ||
      listen(listening.get(), kWaiting) != 0) {
    return failed("listen on", path, errno);
  }
  return std::unique_ptr<HostStream>(new SocketStream(std::move(listening), path));
}

SocketStream::SocketStream(FileDescriptor socket, std::string path)
    : socket_(std::move(socket)), path_(std::move(path)) {}

SocketStream::~SocketStream() { static_cast<void>(::unlink(path_.c_str()) == 0); }

void SocketStream::prepare_read(io_uring_sqe* entry, std::span<std::byte> into) {
  io_uring_prep_recv(entry, client_.get(), into.data(), into.size(), MSG_DONTWAIT);
}

void SocketStream::prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) {
  io_uring_prep_send(entry, client_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void SocketStream::write_failed(int error) {
  if (error != EPIPE && error != ECONNRESET) count_error();
  takes_output_ = false;
}

void SocketStream::read_ended(int error) {
  if (error != 0 && error != ECONNRESET) count_error();
  // A client that has said all it wants to say may go on listening.
  gives_input_ = false;
}

bool SocketStream::is_finished() const {
  if (!client_.is_open() || takes_output_) return false;
  // What it sent before it left stays readable until somebody else wants to come in.
  return !gives_input_ || has_next_;
}

void SocketStream::leave() {
  if (hang_up_.is_in_flight()) return;  // pump() asked for its end
  int unread = 0;
  if (gives_input_ && ioctl(client_.get(), FIONREAD, &unread) == 0 && unread > 0) {
    count_dropped_input(static_cast<std::uint64_t>(unread));
  }
  client_ = FileDescriptor();
  gives_input_ = false;
  is_half_closed_ = false;
  if (has_next_) accept_client();
}

void SocketStream::accept_client() {
  has_next_ = false;
  client_ = FileDescriptor(accept4(socket_.get(), nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC));
  takes_output_ = gives_input_ = client_.is_open();
  // EAGAIN: whoever knocked has gone again.
  if (!client_.is_open() && errno != EAGAIN && errno != ECONNABORTED) count_error();
}

std::optional<Nanoseconds> SocketStream::wants_turn_at() const {
  return is_half_closed_ && takes_output_ ? std::optional(next_look_) : std::nullopt;
}

void SocketStream::pump(IoRing& io, Nanoseconds now) {
  if (is_half_closed_ && takes_output_ && now >= next_look_) {
    // A poll of a half-closed socket ends at once, so there is nothing to wait on.
    pollfd state{.fd = client_.get(), .events = 0, .revents = 0};
    if (poll(&state, 1, 0) > 0 && (state.revents & (POLLHUP | POLLERR)) != 0) hung_up();
    next_look_ = (now / kLookPeriod + 1) * kLookPeriod;
  }
  if (has_next_ && !client_.is_open()) accept_client();
  if (!takes_output_ && !has_next_ && !knock_.is_in_flight()) {
    if (io_uring_sqe* entry = knock_.begin(io)) {
      io_uring_prep_poll_add(entry, socket_.get(), POLLIN);
    }
  }
  if (takes_output_ && !is_half_closed_ && !hang_up_.is_in_flight()) {
    if (io_uring_sqe* entry = hang_up_.begin(io)) {
      io_uring_prep_poll_add(entry, client_.get(), 0);  // the end is told in any case
    }
  }
  if (is_finished()) hang_up_.cancel(io);
}

void SocketStream::on_knock(std::int32_t result) {
  if (result > 0) has_next_ = true;
  tell();
}

void SocketStream::on_hang_up(std::int32_t result) {
  if (result > 0) {
    is_half_closed_ = true;
    if ((result & (POLLHUP | POLLERR)) != 0) hung_up();
  }
  tell();
}

void SocketStream::cancel(IoRing& io) {
  knock_.cancel(io);
  hang_up_.cancel(io);
}

bool SocketStream::has_operations() const {
  return knock_.is_in_flight() || hang_up_.is_in_flight();
}

std::size_t SocketStream::flush(std::span<const std::byte> bytes, bool) {
  if (!client_.is_open()) accept_client();
  if (!takes_output_) return 0;
  const ssize_t count =
      send(client_.get(), bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

}  // namespace vmsg::console
