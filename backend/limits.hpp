// What a guest may have at most. The defaults suit a host with some hundred guests; the
// configuration file can change them.
#pragma once

#include <chrono>
#include <cstdint>

#include "backend/guest_budget.hpp"

namespace vmsg {

struct Limits {
  std::uint32_t buses_per_guest = 4;
  std::uint32_t devices_per_bus = 64;
  std::uint32_t queues_per_device = 256;
  std::uint32_t max_ring_page_order = 4;
  std::uint32_t max_message_size = 264;
  /// Pages of queue areas and rings that a bus may have mapped.
  std::uint32_t mapped_pages_per_bus = 16384;
  std::uint32_t regions_per_bus = 16;
  std::uint32_t region_pages_per_bus = 16384;
  /// Of all guests together. Xen lets a domain have some 500 thousand pages mapped by default.
  std::uint32_t region_pages = 131072;
  /// Of all devices of a guest together; without a limit by default.
  GuestRates rates;
  /// Frames taken from one bus before the others have their turn.
  std::uint32_t frames_per_turn = 32;
  /// A reset that takes longer is answered with the old status, and the driver polls.
  std::chrono::milliseconds held_reset{1000};
  /// How long a handshake waits for devices that are still being made, so that a guest finds them
  /// at once. Those that take longer are announced when they are there.
  std::chrono::milliseconds device_wait{2000};
  /// How long a driver side that is told to close its bus is served until it has answered.
  std::chrono::milliseconds farewell{1000};
  /// How long a driver has to let go of a device that is detached gracefully.
  std::chrono::seconds eject_timeout{30};

  friend bool operator==(const Limits&, const Limits&) = default;
};

}  // namespace vmsg
