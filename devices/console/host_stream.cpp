#include "devices/console/host_stream.hpp"

#include "devices/console/file_stream.hpp"
#include "devices/console/socket_stream.hpp"
#include "devices/console/terminal_stream.hpp"

namespace vmsg::console {

Result<std::unique_ptr<HostStream>, std::string> open_stream(const PortOptions& port,
                                                             const ConsoleOptions& options) {
  switch (port.output) {
    case OutputKind::kTerminal:
      return TerminalStream::open(port.link, options.size);
    case OutputKind::kSocket:
      return SocketStream::open(port.path);
    case OutputKind::kFile:
      return FileStream::open(port.path,
                              {.size = options.rotate_size, .count = options.rotate_count});
  }
  return std::unexpected("unknown");
}

void remove_leftovers(const ConsoleOptions& options) {
  // A socket leads nowhere without its process, and a file is to stay.
  for (const PortOptions& port : options.ports) {
    if (!port.link.empty()) TerminalStream::remove_leftover(port.link);
  }
}

}  // namespace vmsg::console
