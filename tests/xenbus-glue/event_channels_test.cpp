// Event channels on a plain loop: what a worker does with its own handle.
#include "xenbus-glue/event_channels.hpp"

#include <poll.h>

#include <cerrno>
#include <set>
#include <vector>

#include "tests/xenbus-glue/xen_world.hpp"

namespace vmsg::xen {
namespace {

class EventChannelsTest : public XenWorld {
 protected:
  EventChannels backend = in_domain(kBackend, [] { return opened(EventChannels::open()); });
  EventChannels guest = in_domain(kGuest, [] { return opened(EventChannels::open()); });

  /// A pair of ports, with the event that every bind raises taken already.
  struct Pair {
    Port guest;
    Port backend;
  };
  Pair connect() {
    auto unbound = guest.alloc_unbound(kBackend);
    EXPECT_TRUE(unbound.has_value());
    auto bound = backend.bind_interdomain(kGuest, as_remote(unbound->local()));
    EXPECT_TRUE(bound.has_value());
    Pair pair{std::move(*unbound), std::move(*bound)};
    settle(backend);
    settle(guest);
    return pair;
  }

  static RemotePort as_remote(LocalPort port) {
    return static_cast<RemotePort>(static_cast<std::uint32_t>(port));
  }

  static bool is_readable(const EventChannels& channels) {
    pollfd ready{.fd = channels.fd(), .events = POLLIN, .revents = 0};
    return ::poll(&ready, 1, 0) == 1;
  }

  /// Takes and unmasks whatever is pending.
  static std::vector<LocalPort> settle(EventChannels& channels) {
    std::vector<LocalPort> ports;
    for (auto port = channels.next_pending(); port && *port; port = channels.next_pending()) {
      EXPECT_TRUE(channels.unmask(**port).has_value());
      ports.push_back(**port);
    }
    return ports;
  }
};

TEST_F(EventChannelsTest, NothingPendingIsNotAnErrorAndDoesNotBlock) {
  const auto port = backend.next_pending();

  ASSERT_TRUE(port.has_value());
  EXPECT_FALSE(port->has_value());
  EXPECT_FALSE(is_readable(backend));
}

TEST_F(EventChannelsTest, BindingRaisesOneEvent) {
  auto unbound = guest.alloc_unbound(kBackend);
  auto bound = backend.bind_interdomain(kGuest, as_remote(unbound->local()));

  EXPECT_EQ(settle(backend), std::vector{bound->local()});
}

TEST_F(EventChannelsTest, ANotifyReachesThePeerOnly) {
  Pair pair = connect();

  ASSERT_TRUE(pair.guest.notify().has_value());

  EXPECT_TRUE(is_readable(backend));
  EXPECT_EQ(settle(backend), std::vector{pair.backend.local()});
  EXPECT_TRUE(settle(guest).empty());
}

TEST_F(EventChannelsTest, ManyNotifiesBeforeALookAreFewEvents) {
  Pair pair = connect();

  for (int i = 0; i < 100; ++i) ASSERT_TRUE(pair.guest.notify().has_value());

  // The first masks the port; all others meet again when it is unmasked.
  const std::size_t events = settle(backend).size();
  EXPECT_GE(events, 1U);
  EXPECT_LE(events, 2U);
}

TEST_F(EventChannelsTest, APortStaysSilentUntilItIsUnmaskedAndLosesNothing) {
  Pair pair = connect();
  ASSERT_TRUE(pair.guest.notify().has_value());
  ASSERT_EQ(**backend.next_pending(), pair.backend.local());

  ASSERT_TRUE(pair.guest.notify().has_value());
  EXPECT_FALSE(backend.next_pending()->has_value());

  ASSERT_TRUE(pair.backend.unmask().has_value());
  EXPECT_EQ(**backend.next_pending(), pair.backend.local());
}

TEST_F(EventChannelsTest, SeveralPortsShareAHandle) {
  Pair one = connect();
  Pair two = connect();

  ASSERT_TRUE(one.guest.notify().has_value());
  ASSERT_TRUE(two.guest.notify().has_value());

  const auto ports = settle(backend);
  EXPECT_EQ((std::set<LocalPort>{ports.begin(), ports.end()}),
            (std::set<LocalPort>{one.backend.local(), two.backend.local()}));
}

TEST_F(EventChannelsTest, AClosedPortReturnsThePeersEndToUnbound) {
  Pair pair = connect();
  EXPECT_EQ(backend.bind_interdomain(kGuest, as_remote(pair.guest.local())).error(),
            (XenError{XenCall::kEvtchnBindInterdomain, EINVAL, kGuest}));

  pair.backend.close();

  EXPECT_FALSE(pair.backend.is_open());
  EXPECT_EQ(backend.open_ports(), 0U);
  EXPECT_TRUE(backend.bind_interdomain(kGuest, as_remote(pair.guest.local())).has_value());
}

TEST_F(EventChannelsTest, AMovedPortIsClosedOnce) {
  Pair pair = connect();
  Port moved = std::move(pair.backend);
  EXPECT_TRUE(moved.is_open());
  EXPECT_EQ(backend.open_ports(), 1U);

  moved = Port();

  EXPECT_EQ(backend.open_ports(), 0U);
}

TEST_F(EventChannelsTest, PortsSurviveAMoveOfTheirHandle) {
  Pair pair = connect();
  EventChannels moved = std::move(backend);

  ASSERT_TRUE(pair.guest.notify().has_value());

  EXPECT_EQ(settle(moved), std::vector{pair.backend.local()});
  pair.backend.close();
}

TEST_F(EventChannelsTest, BindingToAPortThatIsNotOfferedToUsIsRefused) {
  auto for_other = guest.alloc_unbound(kOther);

  EXPECT_FALSE(backend.bind_interdomain(kGuest, as_remote(for_other->local())).has_value());
  EXPECT_FALSE(backend.bind_interdomain(kGuest, RemotePort{4000}).has_value());
  EXPECT_EQ(backend.open_ports(), 0U);
}

TEST_F(EventChannelsTest, APeerThatDiesLeavesAPortThatCanStillBeUsedAndClosed) {
  auto unbound = guest.alloc_unbound(kBackend);
  auto bound = backend.bind_interdomain(kGuest, as_remote(unbound->local()));
  settle(backend);

  unbound->close();
  guest = in_domain(kGuest, [] { return opened(EventChannels::open()); });

  static_cast<void>(bound->notify());  // whatever it says, it comes back
  EXPECT_TRUE(settle(backend).size() <= 1);
  bound->close();
  EXPECT_EQ(backend.open_ports(), 0U);
}

TEST_F(EventChannelsTest, AGuestThatIsDestroyedLeavesPortsThatCanBeClosed) {
  Pair pair = connect();
  Pair second = connect();

  xen.destroy_domain(kGuest);
  static_cast<void>(pair.backend.notify());

  EXPECT_TRUE(backend.next_pending().has_value());
  pair.backend.close();
  second.backend.close();
  EXPECT_EQ(backend.open_ports(), 0U);
}

TEST_F(EventChannelsTest, AnErrorSaysWhichCallItWasAndForWhom) {
  fail(kBackend, mock::Call::kXenevtchnBindUnboundPort, ENOSPC);

  EXPECT_EQ(backend.alloc_unbound(kGuest).error(),
            (XenError{XenCall::kEvtchnAllocUnbound, ENOSPC, kGuest}));
}

TEST_F(EventChannelsTest, AFailingPendingIsToldAndNothingIsLost) {
  Pair pair = connect();
  ASSERT_TRUE(pair.guest.notify().has_value());
  fail(kBackend, mock::Call::kXenevtchnPending, EFBIG);

  EXPECT_EQ(backend.next_pending().error(),
            (XenError{XenCall::kEvtchnPending, EFBIG, std::nullopt}));
  EXPECT_EQ(settle(backend), std::vector{pair.backend.local()});
}

TEST_F(EventChannelsTest, AnUnbindThatFailsStillForgetsThePort) {
  Pair pair = connect();
  fail(kBackend, mock::Call::kXenevtchnUnbind, EINVAL);

  pair.backend.close();

  EXPECT_EQ(backend.open_ports(), 0U);
}

TEST_F(EventChannelsTest, OpeningFailsWithTheReason) {
  fail(kBackend, mock::Call::kXenevtchnOpen, EACCES);

  const auto channels = in_domain(kBackend, [] { return EventChannels::open(); });

  EXPECT_EQ(channels.error(), (XenError{XenCall::kEvtchnOpen, EACCES, std::nullopt}));
}

using EventChannelsDeathTest = EventChannelsTest;

TEST_F(EventChannelsDeathTest, AHandleThatIsDestroyedUnderItsPortsIsOurBug) {
  Pair pair = connect();

  EXPECT_DEATH({ const EventChannels gone = std::move(backend); }, "open_ports == 0");
}

}  // namespace
}  // namespace vmsg::xen
