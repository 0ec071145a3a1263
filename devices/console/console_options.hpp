// What an administrator may say about a console device:
//
//     type=console                                            a terminal, /dev/pts/N
//     type=console,output=file:/var/log/guest1,rotate-size=1M
//     type=console,ports=2,port1=unix:/run/guest1.agent,port1-name=org.qemu.guest_agent.0
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "devices/device_parameters.hpp"
#include "transport/result.hpp"

namespace vmsg::console {

inline constexpr std::uint32_t kMaxPorts = 31;
inline constexpr std::size_t kMaxPortName = 64;

struct WindowSize {
  std::uint16_t cols = 80;
  std::uint16_t rows = 24;
  friend bool operator==(const WindowSize&, const WindowSize&) = default;
};

enum class OutputKind : std::uint8_t { kTerminal, kSocket, kFile };

struct PortOptions {
  OutputKind output = OutputKind::kTerminal;
  std::string path;         // of a socket or file
  std::string link;         // a symbolic link to the terminal, or empty
  std::string name;         // what the guest may know the port by, or empty
  bool is_console = false;  // a terminal of the guest; else a plain stream of bytes
};

struct ConsoleOptions {
  std::vector<PortOptions> ports;  // at least one
  WindowSize size;                 // until somebody with a window connects
  /// What a port keeps of the guest's output while nobody takes it, in bytes.
  std::uint32_t backlog = 65536;
  /// How long a guest waits for a listener of a console that takes nothing, in seconds. After that
  /// nobody counts as listening until something is taken. 0: for ever.
  std::uint32_t patience = 10;
  /// A file is renamed when it has this many bytes (0: never), and so many old ones are kept.
  std::uint64_t rotate_size = 0;
  std::uint32_t rotate_count = 5;

  /// Whether the driver may speak about single ports. Without it the window's size travels in the
  /// configuration space, which every driver understands.
  [[nodiscard]] bool offers_multiport() const {
    return ports.size() > 1 || !ports.front().name.empty() || !ports.front().is_console;
  }
};

[[nodiscard]] Result<ConsoleOptions, std::string> parse_options(const DeviceParameters& parameters);

}  // namespace vmsg::console
