// The xenbus handshake as a table for each side: what to do, given our state, the peer's and
// whether the toolstack wants the bus (`online`). Pure: no store, no I/O.
//
// Whoever owns a bus calls the table after every change of one of the three, does what it says,
// which always changes our own state or waits for the peer, and asks again. docs/virtio-msg-xen.md,
// "Xenstore", says the same in words.
#pragma once

#include <cstdint>
#include <string_view>

namespace vmsg::xen {

/// The numbers that `state` nodes carry. kUnknown is an absent or unintelligible node.
enum class XenbusState : std::uint8_t {
  kUnknown = 0,
  kInitialising = 1,
  kInitWait = 2,
  kInitialised = 3,
  kConnected = 4,
  kClosing = 5,
  kClosed = 6,
  kReconfiguring = 7,
  kReconfigured = 8,
};
inline constexpr std::uint8_t kXenbusStates = 9;

[[nodiscard]] XenbusState parse_xenbus_state(std::string_view text);
[[nodiscard]] std::string_view to_string(XenbusState state);

enum class DeviceSideAction : std::uint8_t {
  kNone,       // wait
  kAdvertise,  // write what we offer, then InitWait
  kConnect,    // read the answers, map, bind, then Connected; failing that, `error` and Closing
  kClose,      // stop serving, then Closing
  kRelease,    // give everything back, then Closed
  kRemove,     // remove what is ours from the store; the bus is over
  kResume,     // after a restart of ours: map and bind again, go on
};

/// `own` is the state that this process is in (and has written).
[[nodiscard]] DeviceSideAction device_side_action(XenbusState own, XenbusState peer, bool online);

/// For a process that finds a bus in the store at its start: `own` is what a predecessor wrote.
[[nodiscard]] DeviceSideAction device_side_start(XenbusState own, XenbusState peer, bool online);

enum class DriverSideAction : std::uint8_t {
  kNone,
  kAnswer,   // share the ring, write the answers, then Initialised
  kConnect,  // the device side serves us: Connected
  kClose,    // stop using the bus, then Closing
  kRelease,  // take everything back, then Closed
  kRestart,  // the device side lost everything: take everything back, then Initialising
};

[[nodiscard]] DriverSideAction driver_side_action(XenbusState own, XenbusState peer);

}  // namespace vmsg::xen
