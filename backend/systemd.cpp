#include "backend/systemd.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string>

namespace vmsg {
namespace {

constexpr int kFirstPassed = 3;  // SD_LISTEN_FDS_START

std::string_view environment(const char* name) {
  // Nobody in this process ever changes the environment.
  const char* value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe)
  return value == nullptr ? std::string_view{} : std::string_view(value);
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Whether a variable that names a process names this one.
bool is_for_us(const char* name) {
  return number(environment(name)) == static_cast<std::uint64_t>(::getpid());
}

}  // namespace

FileDescriptor take_systemd_socket(std::string_view name) {
  if (!is_for_us("LISTEN_PID")) return {};
  const std::uint64_t count = number(environment("LISTEN_FDS")).value_or(0);
  std::string_view names = environment("LISTEN_FDNAMES");
  for (std::uint64_t i = 0; i < count && i < 16; ++i) {
    const std::size_t colon = names.find(':');
    const std::string_view its_name = names.substr(0, colon);
    names = colon == std::string_view::npos ? std::string_view{} : names.substr(colon + 1);
    if (its_name != name) continue;
    const int fd = kFirstPassed + static_cast<int>(i);
    // Passed without close-on-exec, which also marks one that was not taken yet.
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0 || (flags & FD_CLOEXEC) != 0) continue;
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) continue;
    const int status = ::fcntl(fd, F_GETFL);
    if (status < 0 || ::fcntl(fd, F_SETFL, status | O_NONBLOCK) != 0) continue;
    return FileDescriptor(fd);
  }
  return {};
}

void notify_systemd(std::string_view lines) {
  const std::string_view path = environment("NOTIFY_SOCKET");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) return;
  std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());
  // A name that begins with @ is in the abstract namespace, where it begins with a zero.
  if (path.front() == '@') address.sun_path[0] = '\0';
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
  const FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // SAFETY: what the socket calls are defined to take.
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);  // NOLINT(*-reinterpret-cast)
  // Whoever does not listen does not want to know.
  static_cast<void>(
      ::sendto(socket.get(), lines.data(), lines.size(), MSG_NOSIGNAL, generic, length));
}

std::optional<std::chrono::microseconds> systemd_watchdog() {
  const auto interval = number(environment("WATCHDOG_USEC"));
  if (!interval || *interval == 0) return std::nullopt;
  if (!environment("WATCHDOG_PID").empty() && !is_for_us("WATCHDOG_PID")) return std::nullopt;
  return std::chrono::microseconds(*interval);
}

}  // namespace vmsg
