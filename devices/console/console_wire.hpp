// The layouts and numbers of virtio-console (virtio 1.3, "Console Device"), in the specification's
// words. tests/devices/console_tables_test.cpp compares them with linux/virtio_console.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport/endian.hpp"

namespace vmsg::console::wire {

inline constexpr std::uint32_t kDeviceId = 3;

inline constexpr unsigned kFeatureSize = 0;
inline constexpr unsigned kFeatureMultiport = 1;
inline constexpr unsigned kFeatureEmergWrite = 2;

struct Config {
  Le16 cols;
  Le16 rows;
  Le32 max_nr_ports;
  Le32 emerg_wr;
};
static_assert(sizeof(Config) == 12);

struct Control {
  Le32 id;  // of the port
  Le16 event;
  Le16 value;
};
static_assert(sizeof(Control) == 8);

/// Follows a Control of kResize. The specification's order: Linux before 6.15 read the rows first.
struct Resize {
  Le16 cols;
  Le16 rows;
};
static_assert(sizeof(Resize) == 4);

// Events of a Control, and who sends them.
inline constexpr std::uint16_t kDeviceReady = 0;  // driver
inline constexpr std::uint16_t kPortAdd = 1;      // device
inline constexpr std::uint16_t kPortRemove = 2;   // device
inline constexpr std::uint16_t kPortReady = 3;    // driver
inline constexpr std::uint16_t kConsolePort = 4;  // device
inline constexpr std::uint16_t kResize = 5;       // device
inline constexpr std::uint16_t kPortOpen = 6;     // both
inline constexpr std::uint16_t kPortName = 7;     // device; the name follows, without a zero

// The queues: receiveq(port0), transmitq(port0), control receiveq, control transmitq,
// receiveq(port1), transmitq(port1), ...
inline constexpr std::uint32_t kControlReceiveQueue = 2;
inline constexpr std::uint32_t kControlTransmitQueue = 3;

constexpr bool is_control_queue(std::uint32_t index) {
  return index == kControlReceiveQueue || index == kControlTransmitQueue;
}
constexpr std::uint32_t port_of_queue(std::uint32_t index) {
  return index < 2 ? 0 : (index - 2) / 2;
}
/// Of any pair the first one carries what the driver receives.
constexpr bool is_receive_queue(std::uint32_t index) { return index % 2 == 0; }
constexpr std::uint32_t receive_queue_of(std::uint32_t port) {
  return port == 0 ? 0 : 2 + 2 * port;
}
constexpr std::uint32_t transmit_queue_of(std::uint32_t port) { return receive_queue_of(port) + 1; }

}  // namespace vmsg::console::wire
