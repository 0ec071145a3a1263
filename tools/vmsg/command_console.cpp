// vmsg console: this terminal on the console of a guest, by the pty that the device side published.
#include <fcntl.h>
#include <fmt/format.h>

#include <poll.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <span>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/small_file.hpp"
#include "tools/vmsg/stop_signals.hpp"
#include "tools/vmsg/terminal.hpp"

namespace vmsg::tool {
namespace {

constexpr char kLeaveKey = 0x1d;  // Ctrl-]

Result<ListedDevice, Failure> find_console(Toolstack& toolstack, xen::DomainId guest,
                                           std::optional<std::uint16_t> number) {
  if (number) return toolstack.find_device(guest, *number);
  auto devices = toolstack.list(guest);
  if (!devices) return std::unexpected(devices.error());
  for (ListedDevice& device : *devices) {
    if (device.node.published.contains("tty")) return std::move(device);
  }
  return std::unexpected(fmt::format("{} has no console with a terminal (type=console,output=pty)",
                                     toolstack.name_of(guest)));
}

/// The name comes from the domain that serves the device. It may only make us open a pty.
Result<FileDescriptor, Failure> open_tty(const std::string& name) {
  FileDescriptor tty(open(name.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK));
  struct stat status{};
  if (!tty.is_open() || fstat(tty.get(), &status) != 0) {
    return std::unexpected(fmt::format("{}: {}", printable(name), words_of_errno(errno)));
  }
  // 136 to 143: UNIX98 pseudo terminals (Documentation/admin-guide/devices.txt).
  const auto kind = major(status.st_rdev);
  if (!S_ISCHR(status.st_mode) || kind < 136 || kind > 143) {
    return std::unexpected(fmt::format("{}: not a pseudo terminal", printable(name)));
  }
  return tty;
}

bool write_all(int fd, std::span<const char> bytes) {
  while (!bytes.empty()) {
    const ssize_t done = write(fd, bytes.data(), bytes.size());
    if (done > 0) {
      bytes = bytes.subspan(static_cast<std::size_t>(done));
    } else if (errno == EAGAIN) {
      pollfd ready{.fd = fd, .events = POLLOUT, .revents = 0};
      poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return false;
    }
  }
  return true;
}

enum class Pumped : unsigned char { kMore, kEnd, kLeave, kFailed };

/// Once what there is to read.
Pumped pump(int from, int to, bool stops_at_leave) {
  std::array<char, 4096> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  const ssize_t got = read(from, buffer.data(), buffer.size());
  if (got < 0 && (errno == EINTR || errno == EAGAIN)) return Pumped::kMore;
  // EIO: the other side of a pty is closed.
  if (got < 0) return errno == EIO ? Pumped::kEnd : Pumped::kFailed;
  if (got == 0) return Pumped::kEnd;
  std::span<const char> bytes(buffer.data(), static_cast<std::size_t>(got));
  bool leaves = false;
  for (std::size_t i = 0; stops_at_leave && i < bytes.size() && !leaves; ++i) {
    if (bytes[i] != kLeaveKey) continue;
    bytes = bytes.first(i);
    leaves = true;
  }
  if (!write_all(to, bytes)) return Pumped::kFailed;
  return leaves ? Pumped::kLeave : Pumped::kMore;
}

int attach_terminal(int tty) {
  const StopSignals stop;
  const RawTerminal raw;
  bool reads_input = true;
  for (;;) {
    pollfd ready[]{{.fd = tty, .events = POLLIN, .revents = 0},
                   {.fd = reads_input ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0},
                   {.fd = stop.fd(), .events = POLLIN, .revents = 0}};
    if (poll(ready, 3, -1) < 0 && errno != EINTR) return kExitFailed;
    if (ready[2].revents != 0) return 0;
    if (ready[0].revents != 0) {
      const Pumped pumped = pump(tty, STDOUT_FILENO, false);
      if (pumped != Pumped::kMore) {
        fmt::print(stderr, "\r\nvmsg: the console is gone\r\n");
        return pumped == Pumped::kEnd ? 0 : kExitFailed;
      }
    }
    if (ready[1].revents != 0) {
      const Pumped pumped = pump(STDIN_FILENO, tty, true);
      if (pumped == Pumped::kFailed) return kExitFailed;
      if (pumped == Pumped::kLeave) return 0;
      // A script's input is over; what the guest answers is still to come.
      if (pumped == Pumped::kEnd) reads_input = false;
    }
  }
}

}  // namespace

int console(const ConsoleOptions& options) {
  return with_guest(options.guest, [&](Toolstack& toolstack, xen::DomainId guest) {
    const auto device = find_console(toolstack, guest, options.device);
    if (!device) return complain(kExitFailed, device.error());
    const auto tty = device->node.published.find("tty");
    if (tty == device->node.published.end()) {
      return complain(kExitFailed,
                      fmt::format("device {} of {} has no terminal (its type is {})",
                                  device->id.number, device->guest, printable(device->node.type)));
    }
    if (device->id.bus.device_domain != 0) {
      return complain(kExitFailed, fmt::format("the terminal {} is in {}: run 'vmsg console' there",
                                               printable(tty->second), device->backend));
    }
    const auto opened = open_tty(tty->second);
    if (!opened) return complain(kExitFailed, opened.error());
    if (isatty(STDIN_FILENO) != 0) {
      fmt::print(stderr, "vmsg: console of {}, {}; leave with Ctrl-]\n", device->guest,
                 printable(tty->second));
    }
    return attach_terminal(opened->get());
  });
}

}  // namespace vmsg::tool
