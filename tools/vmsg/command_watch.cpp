// vmsg watch: the service that makes plain `xl create` work.
#include <fmt/format.h>

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "devices/file_descriptor.hpp"
#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/stop_signals.hpp"
#include "tools/vmsg/watch_service.hpp"

namespace vmsg::tool {
namespace {

/// sd_notify(3)'s protocol: one datagram to the socket that the service manager named, if any.
void tell_service_manager(std::string_view text) {
  const char* const name = std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe)
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (name == nullptr || std::strlen(name) >= sizeof address.sun_path) return;
  std::memcpy(address.sun_path, name, std::strlen(name));
  const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + std::strlen(name));
  if (address.sun_path[0] == '@') address.sun_path[0] = '\0';  // an abstract name
  const FileDescriptor fd(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  // SAFETY: the one way to give sendto() an address of a family.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  const auto* const target = reinterpret_cast<const sockaddr*>(&address);
  // A service manager that does not listen gives up on us by itself.
  static_cast<void>(sendto(fd.get(), text.data(), text.size(), MSG_NOSIGNAL, target, length));
}

}  // namespace

int watch(const WatchOptions& options) {
  const StopSignals stop;
  return with_toolstack([&](Toolstack& toolstack) {
    WatchService service(toolstack, options);
    tell_service_manager("READY=1");
    const auto done = service.run(stop.fd());
    tell_service_manager("STOPPING=1");
    return done ? 0 : complain(kExitFailed, done.error());
  });
}

}  // namespace vmsg::tool
