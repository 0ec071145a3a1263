// What the device side of a bus counts. Plain numbers; whoever exports them reads them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace vmsg {

/// Why a frame was thrown away without an answer.
enum class DropReason : std::uint8_t {
  kTruncated,        // shorter than a header, or than its msg_size; msg_size below a header
  kTooLarge,         // msg_size above the bus instance's maximum
  kBusDeviceNumber,  // a bus message with a device number
  kDirection,        // a response, or an event that only travels the other way
  kAbsentDevice,     // no device has that number
  kUnknownMessage,   // reserved, unassigned, or not supported on this bus
  kShortPayload,     // less payload than the message needs or announces
  kNotLive,          // EVENT_AVAIL for a device or queue that is not live
};
inline constexpr std::size_t kDropReasons = 8;

/// The reason to count for what parsing found.
enum class WireError : std::uint8_t;
[[nodiscard]] DropReason drop_reason(WireError error);

struct DropCounters {
  std::array<std::uint64_t, kDropReasons> by_reason{};

  void add(DropReason reason) { ++by_reason[static_cast<std::size_t>(reason)]; }
  [[nodiscard]] std::uint64_t of(DropReason reason) const {
    return by_reason[static_cast<std::size_t>(reason)];
  }
  [[nodiscard]] std::uint64_t total() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t count : by_reason) sum += count;
    return sum;
  }
};

/// One device, since it was attached.
struct EndpointCounters {
  std::uint64_t requests = 0;   // that were or will be answered
  std::uint64_t responses = 0;  // requests - responses is 0, or 1 while an answer is held
  std::uint64_t refused = 0;    // of the requests: answered with the reject form
  std::uint64_t kicks = 0;      // EVENT_AVAIL handed on
  std::uint64_t used_sent = 0;
  std::uint64_t used_merged = 0;   // into one that was still waiting for room
  std::uint64_t used_dropped = 0;  // for a queue that is not live any more
  std::uint64_t config_sent = 0;
  std::uint64_t config_merged = 0;
  std::uint64_t resets = 0;
  std::uint64_t queue_resets = 0;
  std::uint64_t needs_reset = 0;  // times that DEVICE_NEEDS_RESET was set
  DropCounters dropped;
};

/// One bus, since it was connected.
struct BusCounters {
  std::uint64_t frames = 0;  // taken, whatever became of them
  std::uint64_t bus_requests = 0;
  std::uint64_t bus_responses = 0;
  std::uint64_t device_events = 0;   // EVENT_DEVICE and EJECT sent
  std::uint64_t frames_waited = 0;   // kept for a device that was busy
  std::uint64_t frames_refused = 0;  // left with the caller: no room, or too many waiting
  DropCounters dropped;              // what reached no device
};

}  // namespace vmsg
