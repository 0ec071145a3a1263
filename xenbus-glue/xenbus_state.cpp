#include "xenbus-glue/xenbus_state.hpp"

#include <array>
#include <cstddef>

#include "xenbus-glue/numbers.hpp"

namespace vmsg::xen {
namespace {

template <typename Action>
using Row = std::array<Action, kXenbusStates>;  // by the peer's state
template <typename Action>
using Table = std::array<Row<Action>, kXenbusStates>;  // by our own

template <typename Action>
Action look_up(const Table<Action>& table, XenbusState own, XenbusState peer) {
  return table[static_cast<std::size_t>(own)][static_cast<std::size_t>(peer)];
}

template <typename Action>
constexpr Row<Action> always(Action action) {
  Row<Action> row{};
  row.fill(action);
  return row;
}

// Columns: the peer is      ?  1  2  3  4  5  6  7  8
// States that a side never takes are handled like the nearest one that it does, so that the
// tables have no holes: a driver side in InitWait, a device side in Initialised, 7 and 8.

namespace device {
constexpr auto kN = DeviceSideAction::kNone;
constexpr auto kA = DeviceSideAction::kAdvertise;
constexpr auto kC = DeviceSideAction::kConnect;
constexpr auto kX = DeviceSideAction::kClose;
constexpr auto kL = DeviceSideAction::kRelease;
constexpr auto kD = DeviceSideAction::kRemove;
constexpr auto kR = DeviceSideAction::kResume;

constexpr Table<DeviceSideAction> kOnline{{
    always(kA),                            // unknown: as Initialising
    always(kA),                            // Initialising
    {kN, kN, kN, kC, kN, kL, kN, kN, kN},  // InitWait; a peer that gives up waits for our 6
    always(kA),                            // Initialised: never ours
    {kX, kX, kX, kN, kN, kX, kX, kX, kX},  // Connected; the peer is 3 until it saw our 4
    always(kL),                            // Closing
    {kN, kA, kN, kN, kN, kN, kN, kN, kN},  // Closed: only a peer back at 1 starts anew
    always(kX),
    always(kX),
}};

constexpr Table<DeviceSideAction> kOffline{{
    always(kD),
    always(kD),  // nothing was offered yet
    always(kX),
    always(kX),
    always(kX),
    always(kL),
    always(kD),
    always(kX),
    always(kX),
}};

// What a predecessor left. It held what it held no longer: there is nothing to stop, so a bus that
// is not to be resumed goes straight to Closed.
constexpr Table<DeviceSideAction> kStartOnline{{
    always(kN),  // no state: the toolstack is not done
    always(kA),
    always(kA),  // also with a peer in 3: it may answer a new offer
    always(kA),
    {kL, kL, kL, kR, kR, kL, kL, kL, kL},  // Connected
    always(kL),
    {kN, kA, kN, kN, kN, kN, kN, kN, kN},
    always(kL),
    always(kL),
}};

constexpr Table<DeviceSideAction> kStartOffline{{
    always(kD),
    always(kD),
    always(kL),
    always(kL),
    always(kL),
    always(kL),
    always(kD),
    always(kL),
    always(kL),
}};
}  // namespace device

namespace driver {
constexpr auto kN = DriverSideAction::kNone;
constexpr auto kW = DriverSideAction::kAnswer;
constexpr auto kC = DriverSideAction::kConnect;
constexpr auto kX = DriverSideAction::kClose;
constexpr auto kL = DriverSideAction::kRelease;
constexpr auto kS = DriverSideAction::kRestart;

constexpr Row<DriverSideAction> kBeforeAnswer{kN, kN, kW, kN, kN, kN, kN, kN, kN};

constexpr Table<DriverSideAction> kTable{{
    kBeforeAnswer,                         // unknown: as Initialising
    kBeforeAnswer,                         // Initialising
    kBeforeAnswer,                         // InitWait: never ours
    {kX, kN, kN, kX, kC, kX, kX, kX, kX},  // Initialised
    {kX, kS, kS, kX, kN, kX, kX, kX, kX},  // Connected; a device side back at 1 or 2 is a new one
    always(kL),                            // Closing
    always(kN),                            // Closed: starting anew is the owner's decision
    always(kX),
    always(kX),
}};
}  // namespace driver

}  // namespace

XenbusState parse_xenbus_state(std::string_view text) {
  const auto number = parse_decimal<std::uint8_t>(text, 0, kXenbusStates - 1);
  return number ? static_cast<XenbusState>(*number) : XenbusState::kUnknown;
}

std::string_view to_string(XenbusState state) {
  constexpr std::array<std::string_view, kXenbusStates> kNames{
      "Unknown", "Initialising", "InitWait",      "Initialised", "Connected",
      "Closing", "Closed",       "Reconfiguring", "Reconfigured"};
  return kNames[static_cast<std::size_t>(state)];
}

DeviceSideAction device_side_action(XenbusState own, XenbusState peer, bool online) {
  return look_up(online ? device::kOnline : device::kOffline, own, peer);
}

DeviceSideAction device_side_start(XenbusState own, XenbusState peer, bool online) {
  return look_up(online ? device::kStartOnline : device::kStartOffline, own, peer);
}

DriverSideAction driver_side_action(XenbusState own, XenbusState peer) {
  return look_up(driver::kTable, own, peer);
}

}  // namespace vmsg::xen
