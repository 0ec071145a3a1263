// What systemd expects of a service that it starts: its own words on its own sockets. The protocols
// are a line of text each and promised to be stable, so no library stands between.
#pragma once

#include <chrono>
#include <optional>
#include <string_view>

#include "devices/file_descriptor.hpp"

namespace vmsg {

/// The socket that a socket unit passes under this name (FileDescriptorName=); not open when there
/// is none. Each can be taken once.
[[nodiscard]] FileDescriptor take_systemd_socket(std::string_view name);

/// Tells the service manager: "READY=1", "STOPPING=1", "STATUS=...", "WATCHDOG=1", several lines at
/// once. Nothing happens when nobody asked to be told.
void notify_systemd(std::string_view lines);

/// How often the service manager wants to hear WATCHDOG=1 at least; nullopt when it does not.
[[nodiscard]] std::optional<std::chrono::microseconds> systemd_watchdog();

}  // namespace vmsg
