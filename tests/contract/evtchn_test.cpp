// Event channels: how ports are offered, bound, kicked, masked and lost.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <cerrno>
#include <set>
#include <vector>

#include "tests/contract/abi/ports.hpp"
#include "tests/contract/world.hpp"

namespace vmsg::contract {
namespace {

/// Waits for changes of a handle only, as an event loop does.
class EdgeWaiter {
 public:
  explicit EdgeWaiter(const Ports& ports) : epoll_(epoll_create1(EPOLL_CLOEXEC)) {
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    EXPECT_EQ(epoll_ctl(epoll_, EPOLL_CTL_ADD, xenevtchn_fd(ports.raw()), &event), 0);
  }
  ~EdgeWaiter() { close(epoll_); }
  EdgeWaiter(const EdgeWaiter&) = delete;
  EdgeWaiter& operator=(const EdgeWaiter&) = delete;

  bool is_woken() { return wait(static_cast<int>(kPatience.count())); }
  bool was_woken_so_far() { return wait(0); }

 private:
  bool wait(int timeout_ms) const {
    epoll_event event{};
    return epoll_wait(epoll_, &event, 1, timeout_ms) == 1;
  }

  int epoll_;
};

class EvtchnContract : public ContractTest {
 protected:
  // A channel offered by the guest and bound by us, with the event of the bind already consumed.
  struct Channel {
    Port ours;
    Port guests;
  };
  Channel connect() { return connect(ports); }
  static Channel connect(Ports& by) {
    const Port offered = guest().offer(self());
    const Port bound = by.bind(guest().domain(), offered).value();
    EXPECT_EQ(by.next_event(), bound);
    EXPECT_EQ(by.unmask(bound), 0);
    return {.ours = bound, .guests = offered};
  }
  static void guest_kicks(const Channel& channel, int times = 1) {
    guest().must("notify", channel.guests, times);
  }

  Ports ports;
};

TEST_F(EvtchnContract, AFreshHandleHasNothingToRead) { EXPECT_FALSE(ports.readable()); }

TEST_F(EvtchnContract, PendingOnANonBlockingHandleWithoutEventsIsEagain) {
  const int fd = xenevtchn_fd(ports.raw());
  ASSERT_EQ(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK), 0);

  errno = 0;
  EXPECT_EQ(xenevtchn_pending(ports.raw()), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(EvtchnContract, BindRaisesOneEvent) {
  const Port offered = guest().offer(self());

  const auto bound = ports.bind(guest().domain(), offered);

  ASSERT_TRUE(bound.has_value());
  EXPECT_EQ(ports.next_event(), *bound);
  EXPECT_EQ(ports.unmask(*bound), 0);
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, AKickFromTheGuestNamesOurPort) {
  const Channel channel = connect();

  guest_kicks(channel);

  EXPECT_EQ(ports.next_event(), channel.ours);
}

TEST_F(EvtchnContract, AKickReachesTheGuest) {
  const Channel channel = connect();

  EXPECT_EQ(ports.notify(channel.ours), 0);

  EXPECT_EQ(guest().must("next-event").at(0), std::to_string(channel.guests));
}

TEST_F(EvtchnContract, KicksBeforeTheReaderLooksAreCoalescedIntoOne) {
  const Channel channel = connect();

  guest_kicks(channel, 100);

  EXPECT_EQ(ports.next_event(), channel.ours);
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, FiredPortStaysMaskedUntilUnmask) {
  const Channel channel = connect();
  guest_kicks(channel);
  ASSERT_EQ(ports.next_event(), channel.ours);

  guest_kicks(channel);
  EXPECT_FALSE(ports.readable());

  EXPECT_EQ(ports.unmask(channel.ours), 0);
  EXPECT_EQ(ports.next_event(), channel.ours);
}

TEST_F(EvtchnContract, KicksWhileMaskedComeAsOneEventAfterUnmask) {
  const Channel channel = connect();
  guest_kicks(channel);
  ASSERT_EQ(ports.next_event(), channel.ours);
  guest_kicks(channel, 50);

  EXPECT_EQ(ports.unmask(channel.ours), 0);
  EXPECT_EQ(ports.next_event(), channel.ours);

  EXPECT_EQ(ports.unmask(channel.ours), 0);
  guest().must("ping");
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, UnmaskWithoutAKickInBetweenBringsNothing) {
  const Channel channel = connect();
  guest_kicks(channel);
  ASSERT_EQ(ports.next_event(), channel.ours);

  EXPECT_EQ(ports.unmask(channel.ours), 0);

  guest().must("ping");
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, UnmaskOfAPortThatIsNotMaskedIsHarmless) {
  const Channel channel = connect();

  EXPECT_EQ(ports.unmask(channel.ours), 0);
  guest_kicks(channel);

  EXPECT_EQ(ports.next_event(), channel.ours);
}

TEST_F(EvtchnContract, OneHandleCarriesManyPorts) {
  std::vector<Channel> channels;
  std::set<Port> expected;
  for (int i = 0; i < 8; ++i) {
    channels.push_back(connect());
    expected.insert(channels.back().ours);
  }
  ASSERT_EQ(expected.size(), 8U);

  for (const Channel& channel : channels) guest_kicks(channel);

  std::set<Port> fired;
  for (int i = 0; i < 8; ++i) fired.insert(ports.next_event().value_or(0));
  EXPECT_EQ(fired, expected);
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, AMaskedPortDoesNotHoldUpTheOthersOfItsHandle) {
  const Channel masked = connect();
  const Channel other = connect();
  guest_kicks(masked);
  ASSERT_EQ(ports.next_event(), masked.ours);

  guest_kicks(masked);
  guest_kicks(other);

  EXPECT_EQ(ports.next_event(), other.ours);
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, AWaiterForChangesIsWokenOnlyByAnEventAfterAllWereRead) {
  const Channel first = connect();
  const Channel second = connect();
  EdgeWaiter waiter(ports);

  guest_kicks(first);
  EXPECT_TRUE(waiter.is_woken());
  guest_kicks(second);
  guest().must("ping");
  EXPECT_FALSE(waiter.was_woken_so_far());

  EXPECT_EQ(ports.next_event(), first.ours);
  EXPECT_EQ(ports.next_event(), second.ours);
  EXPECT_EQ(ports.unmask(second.ours), 0);
  guest_kicks(second);
  EXPECT_TRUE(waiter.is_woken());
}

TEST_F(EvtchnContract, AnUnreadEventOfAClosedPortKeepsTheOthersFromWakingAWaiterForChanges) {
  const Channel closed = connect();
  const Channel other = connect();
  EdgeWaiter waiter(ports);
  guest_kicks(closed);
  ASSERT_TRUE(waiter.is_woken());
  ASSERT_EQ(ports.unbind(closed.ours), 0);

  guest_kicks(other);
  guest().must("ping");

  EXPECT_FALSE(waiter.was_woken_so_far());
  EXPECT_EQ(ports.next_event(), closed.ours);
  EXPECT_EQ(ports.next_event(), other.ours);
}

TEST_F(EvtchnContract, AnEventGoesToTheHandleThatBoundThePort) {
  const Channel channel = connect();
  Ports bystander;

  guest_kicks(channel);

  EXPECT_EQ(ports.next_event(), channel.ours);
  EXPECT_FALSE(bystander.readable());
}

TEST_F(EvtchnContract, APortOfAnotherHandleCannotBeKicked) {
  const Channel channel = connect();
  Ports bystander;

  EXPECT_EQ(bystander.notify(channel.ours), ENOTCONN);
}

TEST_F(EvtchnContract, NotifyOfAPortNeverBoundIsEnotconn) {
  EXPECT_EQ(ports.notify(999), ENOTCONN);
}

TEST_F(EvtchnContract, UnbindOfAPortNeverBoundIsEnotconn) {
  EXPECT_EQ(ports.unbind(999), ENOTCONN);
}

TEST_F(EvtchnContract, UnbindTwiceIsEnotconn) {
  const Channel channel = connect();
  EXPECT_EQ(ports.unbind(channel.ours), 0);

  EXPECT_EQ(ports.unbind(channel.ours), ENOTCONN);
}

TEST_F(EvtchnContract, NotifyAfterUnbindIsEnotconn) {
  const Channel channel = connect();
  ASSERT_EQ(ports.unbind(channel.ours), 0);

  EXPECT_EQ(ports.notify(channel.ours), ENOTCONN);
}

TEST_F(EvtchnContract, UnmaskAfterUnbindIsHarmless) {
  const Channel channel = connect();
  ASSERT_EQ(ports.unbind(channel.ours), 0);

  EXPECT_EQ(ports.unmask(channel.ours), 0);
}

TEST_F(EvtchnContract, AnEventThatFiredBeforeUnbindStillNamesTheClosedPort) {
  const Channel channel = connect();
  guest_kicks(channel);
  ASSERT_TRUE(ports.readable());

  ASSERT_EQ(ports.unbind(channel.ours), 0);

  EXPECT_EQ(ports.event_fired_so_far(), channel.ours);
}

TEST_F(EvtchnContract, BindToAPortOfferedToAnotherDomainIsEinval) {
  const Port offered = guest().offer(world().nobody());

  EXPECT_EQ(ports.bind(guest().domain(), offered), std::unexpected(EINVAL));
}

TEST_F(EvtchnContract, BindToAPortNeverOfferedIsEinval) {
  EXPECT_EQ(ports.bind(guest().domain(), 1000), std::unexpected(EINVAL));
}

TEST_F(EvtchnContract, BindToADomainThatDoesNotExistIsEsrch) {
  EXPECT_EQ(ports.bind(world().nobody(), 1), std::unexpected(ESRCH));
}

TEST_F(EvtchnContract, BindingAPortBoundElsewhereIsEinval) {
  const Channel channel = connect();
  Ports second;

  EXPECT_EQ(second.bind(guest().domain(), channel.guests), std::unexpected(EINVAL));
}

TEST_F(EvtchnContract, ClosedPeerEndCanBeBoundAgain) {
  const Channel channel = connect();
  ASSERT_EQ(ports.unbind(channel.ours), 0);
  Ports successor;

  const auto bound = successor.bind(guest().domain(), channel.guests);

  ASSERT_TRUE(bound.has_value());
  ASSERT_EQ(successor.next_event(), *bound);
  ASSERT_EQ(successor.unmask(*bound), 0);
  guest_kicks(channel);
  EXPECT_EQ(successor.next_event(), *bound);
}

TEST_F(EvtchnContract, ClosingTheHandleReleasesItsPorts) {
  Port guests_port = 0;
  {
    Ports short_lived;
    guests_port = connect(short_lived).guests;
  }

  EXPECT_TRUE(ports.bind(guest().domain(), guests_port).has_value());
}

TEST_F(EvtchnContract, APortTheGuestHasClosedCannotBeBoundAgain) {
  const Channel channel = connect();
  ASSERT_EQ(ports.unbind(channel.ours), 0);

  guest().must("unbind", channel.guests);

  EXPECT_EQ(ports.bind(guest().domain(), channel.guests), std::unexpected(EINVAL));
}

TEST_F(EvtchnContract, NotifyToAPeerThatIsGoneReturnsZero) {
  const Channel channel = connect();

  guest().must("unbind", channel.guests);

  EXPECT_EQ(ports.notify(channel.ours), 0);
}

TEST_F(EvtchnContract, APeerThatClosesItsEndRaisesNoEvent) {
  const Channel channel = connect();

  guest().must("unbind", channel.guests);

  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, APeerThatWasKilledLeavesOurPortUsable) {
  const Channel channel = connect();

  guest().die();

  EXPECT_EQ(ports.notify(channel.ours), 0);
  EXPECT_FALSE(ports.readable());
  EXPECT_EQ(ports.unbind(channel.ours), 0);
}

TEST_F(EvtchnContract, APortOfAKilledPeerIsGone) {
  const Port offered = guest().offer(self());

  guest().die();

  EXPECT_EQ(ports.bind(guest().domain(), offered), std::unexpected(EINVAL));
}

TEST_F(EvtchnContract, GuestIsNotToldThatTheBackendBoundOrLeft) {
  const Port offered = guest().offer(self());

  const Port bound = ports.bind(guest().domain(), offered).value();
  EXPECT_EQ(guest().must("event-fired").at(0), "none");

  ASSERT_EQ(ports.unbind(bound), 0);
  EXPECT_EQ(guest().must("event-fired").at(0), "none");
}

TEST_F(EvtchnContract, AGuestMayKickWhileNobodyIsBound) {
  const Port offered = guest().offer(self());

  EXPECT_EQ(guest().call("notify", offered, 10).error, 0);
}

TEST_F(EvtchnContract, KicksWhileNobodyIsBoundAreCoveredByTheEventOfTheBind) {
  const Port offered = guest().offer(self());
  guest().must("notify", offered, 10);

  const Port bound = ports.bind(guest().domain(), offered).value();

  EXPECT_EQ(ports.next_event(), bound);
  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, PortOfAKilledBackendCanBeBoundByTheNextOne) {
  const Port offered = guest().offer(self());
  neighbour().bind(guest().domain(), offered);
  ASSERT_EQ(ports.bind(guest().domain(), offered), std::unexpected(EINVAL));

  neighbour().die();

  const auto bound = ports.bind(guest().domain(), offered);
  ASSERT_TRUE(bound.has_value());
  EXPECT_EQ(ports.next_event(), *bound);
}

TEST_F(EvtchnContract, GuestCanBindAPortThatWeOffer) {
  const Port offered = ports.offer_to(guest().domain()).value();

  const Port guests = guest().bind(self(), offered);
  EXPECT_EQ(guest().must("next-event").at(0), std::to_string(guests));

  guest().must("notify", guests, 1);
  EXPECT_EQ(ports.next_event(), offered);
}

TEST_F(EvtchnContract, OfferingAPortRaisesNoEvent) {
  ASSERT_TRUE(ports.offer_to(guest().domain()).has_value());

  EXPECT_FALSE(ports.readable());
}

TEST_F(EvtchnContract, ADomainCanBindItsOwnOffer) {
  const Port offered = ports.offer_to(self()).value();
  const Port bound = ports.bind(self(), offered).value();
  ASSERT_EQ(ports.next_event(), bound);
  ASSERT_EQ(ports.unmask(bound), 0);

  EXPECT_EQ(ports.notify(offered), 0);
  EXPECT_EQ(ports.next_event(), bound);

  EXPECT_EQ(ports.notify(bound), 0);
  EXPECT_EQ(ports.next_event(), offered);
}

TEST_F(EvtchnContract, TheDescriptorIsClosedOnExec) {
  EXPECT_NE(fcntl(xenevtchn_fd(ports.raw()), F_GETFD) & FD_CLOEXEC, 0);
}

}  // namespace
}  // namespace vmsg::contract
