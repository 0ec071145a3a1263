// The handshake tables of both sides: docs/virtio-msg-xen.md, "Xenstore". Every pair of states is
// visited, by rules that are stated here in words, and by letting the two sides play every game
// that they can play with each other.
#include "xenbus-glue/xenbus_state.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace vmsg::xen {
namespace {

using enum XenbusState;
using Device = DeviceSideAction;
using Driver = DriverSideAction;

constexpr std::array<XenbusState, kXenbusStates> kAll{kUnknown,     kInitialising,  kInitWait,
                                                      kInitialised, kConnected,     kClosing,
                                                      kClosed,      kReconfiguring, kReconfigured};

bool is_one_of(XenbusState state, std::initializer_list<XenbusState> set) {
  return std::ranges::find(set, state) != set.end();
}

std::string pair_text(XenbusState own, XenbusState peer) {
  return std::string(to_string(own)) + " with a peer in " + std::string(to_string(peer));
}

void for_all_pairs(const std::function<void(XenbusState own, XenbusState peer)>& check) {
  for (const XenbusState own : kAll) {
    for (const XenbusState peer : kAll) {
      SCOPED_TRACE(pair_text(own, peer));
      check(own, peer);
    }
  }
}

// ---- the device side --------------------------------------------------------------------------

Device expected_online(XenbusState own, XenbusState peer) {
  switch (own) {
    case kUnknown:
    case kInitialising:
    case kInitialised:
      return Device::kAdvertise;
    case kInitWait:
      if (peer == kClosing) return Device::kRelease;
      return peer == kInitialised ? Device::kConnect : Device::kNone;
    case kConnected:
      return is_one_of(peer, {kInitialised, kConnected}) ? Device::kNone : Device::kClose;
    case kClosing:
      return Device::kRelease;
    case kClosed:
      return peer == kInitialising ? Device::kAdvertise : Device::kNone;
    case kReconfiguring:
    case kReconfigured:
      return Device::kClose;
  }
  return Device::kNone;
}

Device expected_offline(XenbusState own) {
  if (is_one_of(own, {kUnknown, kInitialising, kClosed})) return Device::kRemove;
  return own == kClosing ? Device::kRelease : Device::kClose;
}

TEST(DeviceSideStates, EveryPairWhileOnline) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    EXPECT_EQ(device_side_action(own, peer, true), expected_online(own, peer));
  });
}

TEST(DeviceSideStates, EveryPairWhileOfflineLeadsToRemovalWhateverThePeerDoes) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    EXPECT_EQ(device_side_action(own, peer, false), expected_offline(own));
  });
}

TEST(DeviceSideStates, AtStartOnlyABusInStateFourIsResumed) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    const bool is_resumed = device_side_start(own, peer, true) == Device::kResume;
    EXPECT_EQ(is_resumed, own == kConnected && is_one_of(peer, {kInitialised, kConnected}));
  });
}

TEST(DeviceSideStates, AtStartAnUnfinishedHandshakeBeginsAgain) {
  for (const XenbusState own : {kInitialising, kInitWait, kInitialised}) {
    for (const XenbusState peer : kAll) {
      EXPECT_EQ(device_side_start(own, peer, true), Device::kAdvertise) << pair_text(own, peer);
    }
  }
  EXPECT_EQ(device_side_start(kClosed, kInitialising, true), Device::kAdvertise);
}

TEST(DeviceSideStates, AtStartADirectoryWithoutStateIsNotOursYet) {
  for (const XenbusState peer : kAll) {
    EXPECT_EQ(device_side_start(kUnknown, peer, true), Device::kNone);
  }
}

TEST(DeviceSideStates, AtStartAnUnwantedBusIsReleasedAndThenRemoved) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    const bool is_over = is_one_of(own, {kUnknown, kInitialising, kClosed});
    EXPECT_EQ(device_side_start(own, peer, false), is_over ? Device::kRemove : Device::kRelease);
  });
}

TEST(DeviceSideStates, AtStartNothingIsClosedThatIsNotHeld) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    for (const bool online : {false, true}) {
      const Device action = device_side_start(own, peer, online);
      EXPECT_NE(action, Device::kClose);
      EXPECT_NE(action, Device::kConnect);
    }
  });
}

// ---- the driver side --------------------------------------------------------------------------

Driver expected_driver(XenbusState own, XenbusState peer) {
  switch (own) {
    case kUnknown:
    case kInitialising:
    case kInitWait:
      return peer == kInitWait ? Driver::kAnswer : Driver::kNone;
    case kInitialised:
      if (peer == kConnected) return Driver::kConnect;
      return is_one_of(peer, {kInitialising, kInitWait}) ? Driver::kNone : Driver::kClose;
    case kConnected:
      if (peer == kConnected) return Driver::kNone;
      return is_one_of(peer, {kInitialising, kInitWait}) ? Driver::kRestart : Driver::kClose;
    case kClosing:
      return Driver::kRelease;
    case kClosed:
      return Driver::kNone;
    case kReconfiguring:
    case kReconfigured:
      return Driver::kClose;
  }
  return Driver::kNone;
}

TEST(DriverSideStates, EveryPair) {
  for_all_pairs([](XenbusState own, XenbusState peer) {
    EXPECT_EQ(driver_side_action(own, peer), expected_driver(own, peer));
  });
}

// ---- both together ----------------------------------------------------------------------------

struct Game {
  XenbusState device;
  XenbusState driver;
  bool is_removed = false;
  friend auto operator<=>(const Game&, const Game&) = default;
};

/// Where the device side can be after its next step; empty when it waits.
std::vector<Game> device_steps(const Game& game, bool online) {
  if (game.is_removed) return {};
  switch (device_side_action(game.device, game.driver, online)) {
    case Device::kNone:
      return {};
    case Device::kAdvertise:
      return {{kInitWait, game.driver}};
    case Device::kConnect:  // may fail
      return {{kConnected, game.driver}, {kClosing, game.driver}};
    case Device::kClose:
      return {{kClosing, game.driver}};
    case Device::kRelease:
      return {{kClosed, game.driver}};
    case Device::kRemove:
      return {{kUnknown, game.driver, true}};
    case Device::kResume:
      return {{kConnected, game.driver}};
  }
  return {};
}

std::vector<Game> driver_steps(const Game& game) {
  const auto at = [&](XenbusState state) {
    return std::vector<Game>{{game.device, state, game.is_removed}};
  };
  switch (driver_side_action(game.driver, game.device)) {
    case Driver::kNone:
      return {};
    case Driver::kAnswer:
      return at(kInitialised);
    case Driver::kConnect:
      return at(kConnected);
    case Driver::kClose:
      return at(kClosing);
    case Driver::kRelease:
      return at(kClosed);
    case Driver::kRestart:
      return at(kInitialising);
  }
  return {};
}

/// All positions that the two can come to from `start`, and of these the ones in which both wait.
struct Played {
  std::set<Game> reached;
  std::set<Game> ends;
};

Played play(const Game& start, bool online) {
  Played played;
  std::vector<Game> open{start};
  while (!open.empty()) {
    const Game game = open.back();
    open.pop_back();
    if (!played.reached.insert(game).second) continue;
    std::vector<Game> next = device_steps(game, online);
    for (const Game& step : driver_steps(game)) next.push_back(step);
    if (next.empty()) played.ends.insert(game);
    open.insert(open.end(), next.begin(), next.end());
  }
  return played;
}

TEST(BothSides, AFreshBusEndsConnectedOrClosedOnBothSides) {
  const Played played = play({kInitialising, kInitialising}, true);

  const std::set<Game> expected{{kConnected, kConnected}, {kClosed, kClosed}};
  EXPECT_EQ(played.ends, expected);
}

TEST(BothSides, WithoutAFailureAFreshBusEndsConnected) {
  Game game{kInitialising, kInitialising};
  for (int step = 0; step < 4; ++step) {
    for (const auto& next : {device_steps(game, true), driver_steps(game)}) {
      if (!next.empty()) game = next.front();
    }
  }

  EXPECT_EQ(game, (Game{kConnected, kConnected}));
}

TEST(BothSides, FromWhereverTheyAreAnOfflineBusIsRemovedInTheEnd) {
  for_all_pairs([](XenbusState device, XenbusState driver) {
    for (const Game& end : play({device, driver}, false).ends) {
      EXPECT_TRUE(end.is_removed);
      EXPECT_NE(end.driver, kConnected);
    }
  });
}

TEST(BothSides, NoPositionMakesADeviceSideActForEverByItself) {
  for_all_pairs([](XenbusState device, XenbusState driver) {
    for (const bool online : {false, true}) {
      Game game{device, driver};
      int steps = 0;
      for (auto next = device_steps(game, online); !next.empty() && steps < 10; ++steps) {
        game = next.back();  // the failure, where there is one
        next = device_steps(game, online);
      }
      EXPECT_LT(steps, 5);
    }
  });
}

TEST(BothSides, NoPositionLeavesOneSideConnectedAlone) {
  for_all_pairs([](XenbusState device, XenbusState driver) {
    for (const Game& end : play({device, driver}, true).ends) {
      EXPECT_EQ(end.device == kConnected, end.driver == kConnected)
          << "ends as " << pair_text(end.device, end.driver);
    }
  });
}

TEST(BothSides, ADriverSideThatReturnsToOneGetsAFreshHandshake) {
  for (const XenbusState device : kAll) {
    const Played played = play({device, kInitialising}, true);
    EXPECT_TRUE(played.reached.contains({kConnected, kConnected})) << to_string(device);
  }
}

// ---- the text form ----------------------------------------------------------------------------

TEST(XenbusState, ReadsTheNumbersOfTheHandshake) {
  EXPECT_EQ(parse_xenbus_state("1"), kInitialising);
  EXPECT_EQ(parse_xenbus_state("8"), kReconfigured);
}

TEST(XenbusState, AnythingElseIsUnknown) {
  for (const char* text : {"", "9", "-1", "+1", " 1", "1 ", "4x", "0x4", "4294967300", "four"}) {
    EXPECT_EQ(parse_xenbus_state(text), kUnknown) << text;
  }
}

}  // namespace
}  // namespace vmsg::xen
