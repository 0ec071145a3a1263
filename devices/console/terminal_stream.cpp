#include "devices/console/terminal_stream.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>
#include <utility>

namespace vmsg::console {
namespace {

constexpr std::string_view kTerminals = "/dev/pts/";
constexpr Nanoseconds kLookWhileClosed = kSecond / 4;
constexpr Nanoseconds kLookWhileOpen = kSecond;

std::unexpected<std::string> failed(std::string_view doing, std::string_view what, int error) {
  return std::unexpected(
      fmt::format("cannot {} {}: {}", doing, what, std::generic_category().message(error)));
}

void set_window(int fd, const WindowSize& size) {
  winsize window{};
  window.ws_col = size.cols;
  window.ws_row = size.rows;
  // A terminal without a size works too.
  static_cast<void>(ioctl(fd, TIOCSWINSZ, &window) == 0);
}

/// Makes `link` point to `target`, in one step; takes the place of another link, never of a file.
Result<void, std::string> place_link(const std::string& target, const std::string& link) {
  struct stat old{};
  if (lstat(link.c_str(), &old) == 0 && !S_ISLNK(old.st_mode)) {
    return std::unexpected(fmt::format("link={}: there is something that is no link", link));
  }
  const std::string temporary = link + ".new";
  static_cast<void>(::unlink(temporary.c_str()) == 0);
  if (symlink(target.c_str(), temporary.c_str()) != 0) {
    return failed("make the link", temporary, errno);
  }
  if (rename(temporary.c_str(), link.c_str()) != 0) return failed("make the link", link, errno);
  return {};
}

/// Where `link` leads to; empty when there is no link.
std::string target_of(const std::string& link) {
  std::array<char, 64> target{};  // the path of a terminal is shorter
  const ssize_t length = readlink(link.c_str(), target.data(), target.size());
  return length > 0 ? std::string(target.data(), static_cast<std::size_t>(length)) : std::string();
}

}  // namespace

Result<std::unique_ptr<HostStream>, std::string> TerminalStream::open(const std::string& link,
                                                                      const WindowSize& size) {
  FileDescriptor master(posix_openpt(O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!master.is_open()) return failed("make", "a terminal", errno);
  std::array<char, 64> path{};
  if (grantpt(master.get()) != 0 || unlockpt(master.get()) != 0 ||
      ptsname_r(master.get(), path.data(), path.size()) != 0) {
    return failed("make", "a terminal", errno);
  }
  // Opened and closed once: from now on the master can tell that nobody has it open.
  const FileDescriptor slave(::open(path.data(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
  if (!slave.is_open()) return failed("open", path.data(), errno);
  termios raw{};
  if (tcgetattr(slave.get(), &raw) != 0) return failed("set up", path.data(), errno);
  // The guest does the echo and the lines.
  cfmakeraw(&raw);
  if (tcsetattr(slave.get(), TCSANOW, &raw) != 0) return failed("set up", path.data(), errno);
  set_window(slave.get(), size);

  if (!link.empty()) {
    if (auto placed = place_link(path.data(), link); !placed) {
      return std::unexpected(placed.error());
    }
  }
  return std::unique_ptr<HostStream>(
      new TerminalStream(std::move(master), path.data(), link, size));
}

TerminalStream::TerminalStream(FileDescriptor master, std::string path, std::string link,
                               const WindowSize& size)
    : master_(std::move(master)), path_(std::move(path)), link_(std::move(link)), window_(size) {}

TerminalStream::~TerminalStream() {
  if (link_.empty()) return;
  // Somebody else's terminal may stand there by now.
  if (target_of(link_) == path_) static_cast<void>(::unlink(link_.c_str()) == 0);
}

void TerminalStream::remove_leftover(const std::string& link) {
  if (target_of(link).starts_with(kTerminals)) static_cast<void>(::unlink(link.c_str()) == 0);
}

void TerminalStream::prepare_read(io_uring_sqe* entry, std::span<std::byte> into) {
  io_uring_prep_read(entry, master_.get(), into.data(), static_cast<unsigned>(into.size()), 0);
}

void TerminalStream::prepare_write(io_uring_sqe* entry, std::span<const std::byte> bytes) {
  io_uring_prep_write(entry, master_.get(), bytes.data(), static_cast<unsigned>(bytes.size()), 0);
}

void TerminalStream::write_failed(int error) {
  // EIO is how a terminal says that nobody has it open.
  if (error != EIO) count_error();
  is_open_ = false;
}

void TerminalStream::read_ended(int error) {
  if (error != EIO && error != 0) count_error();
  is_open_ = false;
  gives_input_ = false;
}

void TerminalStream::pump(IoRing&, Nanoseconds now) {
  if (now < next_look_) return;
  look();
  // At the same moments as all other terminals, so that a worker wakes once for all of them.
  const Nanoseconds period = is_open_ ? kLookWhileOpen : kLookWhileClosed;
  next_look_ = (now / period + 1) * period;
}

void TerminalStream::look() {
  pollfd state{.fd = master_.get(), .events = POLLIN, .revents = 0};
  if (poll(&state, 1, 0) < 0) return;
  is_open_ = (state.revents & POLLHUP) == 0;
  if (is_open_ || (state.revents & POLLIN) != 0) gives_input_ = true;
  if (!is_open_) return;
  winsize size{};
  // A program that has no window leaves the size at 0.
  if (ioctl(master_.get(), TIOCGWINSZ, &size) == 0 && size.ws_col != 0 && size.ws_row != 0) {
    window_ = {.cols = size.ws_col, .rows = size.ws_row};
  }
}

std::size_t TerminalStream::flush(std::span<const std::byte> bytes, bool) {
  look();
  if (!is_open_) return 0;
  const ssize_t count = ::write(master_.get(), bytes.data(), bytes.size());
  return count > 0 ? static_cast<std::size_t>(count) : 0;
}

}  // namespace vmsg::console
