// Event channels of the mock, through xenevtchn.h: the rules of Xen and of Linux's evtchn driver.
#include <fcntl.h>

#include <atomic>
#include <cerrno>
#include <thread>

#include "tests/mock-xen/handles_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class EventChannel : public MockWorld {
 protected:
  EventChannel() : guest(open_evtchn(kGuest)), backend(open_evtchn(0)) {}

  /// The guest offers a port, the backend connects to it and takes the event of the connection.
  void connect() {
    guest_port = xenevtchn_bind_unbound_port(guest.get(), 0);
    ASSERT_GT(guest_port, 0);
    backend_port = xenevtchn_bind_interdomain(backend.get(), kGuest, port(guest_port));
    ASSERT_GT(backend_port, 0);
    ASSERT_THAT(fired(backend.get()), ElementsAre(backend_port));
    ASSERT_EQ(xenevtchn_unmask(backend.get(), port(backend_port)), 0);
  }

  static evtchn_port_t port(int number) { return static_cast<evtchn_port_t>(number); }
  int notify_backend() { return xenevtchn_notify(guest.get(), port(guest_port)); }

  Evtchn guest;
  Evtchn backend;
  int guest_port = -1;
  int backend_port = -1;
};

TEST_F(EventChannel, NotifyReachesThePeerAndOnlyThePeer) {
  connect();

  EXPECT_EQ(notify_backend(), 0);

  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
  EXPECT_THAT(fired(guest.get()), IsEmpty());
}

TEST_F(EventChannel, NotifyGoesBothWays) {
  connect();

  EXPECT_EQ(xenevtchn_notify(backend.get(), port(backend_port)), 0);

  EXPECT_THAT(fired(guest.get()), ElementsAre(guest_port));
}

TEST_F(EventChannel, EveryBindRaisesOneEventAtTheBinder) {
  guest_port = xenevtchn_bind_unbound_port(guest.get(), 0);

  backend_port = xenevtchn_bind_interdomain(backend.get(), kGuest, port(guest_port));

  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
  EXPECT_THAT(fired(guest.get()), IsEmpty());
}

TEST_F(EventChannel, APortThatFiredStaysMaskedUntilUnmask) {
  connect();
  notify_backend();
  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));

  notify_backend();
  EXPECT_THAT(fired(backend.get()), IsEmpty());

  EXPECT_EQ(xenevtchn_unmask(backend.get(), port(backend_port)), 0);
  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
}

TEST_F(EventChannel, NotifiesBetweenTwoUnmasksAreOneEvent) {
  connect();

  for (int i = 0; i < 100; ++i) notify_backend();
  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));

  xenevtchn_unmask(backend.get(), port(backend_port));
  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
  xenevtchn_unmask(backend.get(), port(backend_port));
  EXPECT_THAT(fired(backend.get()), IsEmpty());
}

TEST_F(EventChannel, UnmaskOfAnEnabledPortDoesNothing) {
  connect();

  EXPECT_EQ(xenevtchn_unmask(backend.get(), port(backend_port)), 0);

  EXPECT_THAT(fired(backend.get()), IsEmpty());
}

TEST_F(EventChannel, OneHandleTellsItsPortsApart) {
  connect();
  const int second_guest_port = xenevtchn_bind_unbound_port(guest.get(), 0);
  const int second = xenevtchn_bind_interdomain(backend.get(), kGuest, port(second_guest_port));
  EXPECT_THAT(fired(backend.get()), ElementsAre(second));

  notify_backend();

  EXPECT_NE(second, backend_port);
  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
}

TEST_F(EventChannel, PortNumbersOfTheTwoEndsDiffer) {
  connect();

  EXPECT_NE(guest_port, backend_port);
}

TEST_F(EventChannel, PendingFailsWithEagainOnANonBlockingDescriptor) {
  connect();
  ASSERT_EQ(::fcntl(xenevtchn_fd(backend.get()), F_SETFL, O_NONBLOCK), 0);

  EXPECT_THAT(xenevtchn_pending(backend.get()), FailsWith(EAGAIN));
}

TEST_F(EventChannel, PendingWaitsForTheNextEvent) {
  connect();
  int seen = -1;
  std::thread waiter([&] { seen = xenevtchn_pending(backend.get()); });

  notify_backend();
  waiter.join();

  EXPECT_EQ(seen, backend_port);
}

TEST_F(EventChannel, DescriptorIsClosedOnExecUnlessAskedOtherwise) {
  const auto in_guest = xen.as_domain(kGuest);
  const Evtchn inherited(xenevtchn_open(nullptr, XENEVTCHN_NO_CLOEXEC));

  EXPECT_EQ(::fcntl(xenevtchn_fd(guest.get()), F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
  EXPECT_EQ(::fcntl(xenevtchn_fd(inherited.get()), F_GETFD) & FD_CLOEXEC, 0);
}

// --- Binding ---------------------------------------------------------------------------------

TEST_F(EventChannel, BindToADomainThatDoesNotExistIsRefused) {
  EXPECT_THAT(xenevtchn_bind_interdomain(backend.get(), 17, 8), FailsWith(ESRCH));
}

TEST_F(EventChannel, BindToAPortThatDoesNotExistIsRefused) {
  EXPECT_THAT(xenevtchn_bind_interdomain(backend.get(), kGuest, 1000), FailsWith(EINVAL));
}

TEST_F(EventChannel, BindToAPortOfferedToAnotherDomainIsRefused) {
  guest_port = xenevtchn_bind_unbound_port(guest.get(), 5);

  EXPECT_THAT(xenevtchn_bind_interdomain(backend.get(), kGuest, port(guest_port)),
              FailsWith(EINVAL));
}

TEST_F(EventChannel, BindToAPortThatIsBoundIsRefused) {
  connect();
  const Evtchn second = open_evtchn(0);

  EXPECT_THAT(xenevtchn_bind_interdomain(second.get(), kGuest, port(guest_port)),
              FailsWith(EINVAL));
}

TEST_F(EventChannel, AnOfferToADomainThatDoesNotExistYetIsAccepted) {
  guest_port = xenevtchn_bind_unbound_port(guest.get(), 5);
  xen.create_domain(5);
  const Evtchn later = open_evtchn(5);

  EXPECT_GT(xenevtchn_bind_interdomain(later.get(), kGuest, port(guest_port)), 0);
}

TEST_F(EventChannel, ADomainCanConnectToItself) {
  const int offered = xenevtchn_bind_unbound_port(guest.get(), DOMID_SELF);
  const int bound = xenevtchn_bind_interdomain(guest.get(), kGuest, port(offered));
  ASSERT_THAT(fired(guest.get()), ElementsAre(bound));

  EXPECT_EQ(xenevtchn_notify(guest.get(), port(bound)), 0);

  EXPECT_THAT(fired(guest.get()), ElementsAre(offered));
}

TEST_F(EventChannel, PortsAreLimitedPerDomain) {
  xen.set_limit(kGuest, Limit::kPorts, 1);
  EXPECT_GT(xenevtchn_bind_unbound_port(guest.get(), 0), 0);

  EXPECT_THAT(xenevtchn_bind_unbound_port(guest.get(), 0), FailsWith(ENOSPC));
}

TEST_F(EventChannel, ARestrictedHandleBindsToItsDomainOnly) {
  xen.create_domain(5);
  ASSERT_EQ(xenevtchn_restrict(backend.get(), kGuest), 0);

  EXPECT_THAT(xenevtchn_bind_unbound_port(backend.get(), 5), FailsWith(EACCES));
  EXPECT_THAT(xenevtchn_bind_interdomain(backend.get(), 5, 8), FailsWith(EACCES));
  EXPECT_THAT(xenevtchn_restrict(backend.get(), 5), FailsWith(EACCES));
  EXPECT_GT(xenevtchn_bind_unbound_port(backend.get(), kGuest), 0);
}

// --- Unbinding -------------------------------------------------------------------------------

TEST_F(EventChannel, APortOfAnotherHandleIsNotOurs) {
  connect();
  const Evtchn other = open_evtchn(0);

  EXPECT_THAT(xenevtchn_notify(other.get(), port(backend_port)), FailsWith(ENOTCONN));
  EXPECT_THAT(xenevtchn_unbind(other.get(), port(backend_port)), FailsWith(ENOTCONN));
}

TEST_F(EventChannel, NotifyOnAPortThatWasUnboundIsRefused) {
  connect();
  ASSERT_EQ(xenevtchn_unbind(backend.get(), port(backend_port)), 0);

  EXPECT_THAT(xenevtchn_notify(backend.get(), port(backend_port)), FailsWith(ENOTCONN));
}

TEST_F(EventChannel, NotifyTowardsNobodySucceedsAndDoesNothing) {
  connect();
  backend.reset();

  EXPECT_EQ(notify_backend(), 0);
}

TEST_F(EventChannel, ASuccessorCanBindWhenThePredecessorHasClosed) {
  connect();
  backend.reset();
  notify_backend();
  const Evtchn successor = open_evtchn(0);

  const int bound = xenevtchn_bind_interdomain(successor.get(), kGuest, port(guest_port));

  EXPECT_GT(bound, 0);
  EXPECT_THAT(fired(successor.get()), ElementsAre(bound));
  EXPECT_EQ(xenevtchn_unmask(successor.get(), port(bound)), 0);
  EXPECT_EQ(notify_backend(), 0);
  EXPECT_THAT(fired(successor.get()), ElementsAre(bound));
}

TEST_F(EventChannel, ThePeerHearsNothingWhenAnEndCloses) {
  connect();

  backend.reset();
  EXPECT_THAT(xen.what_is_left(kGuest), Contains(HasSubstr("waiting for domain 0")));

  EXPECT_THAT(fired(guest.get()), IsEmpty());
}

TEST_F(EventChannel, DestroyOfTheDomainReturnsThePeerToUnbound) {
  connect();

  xen.destroy_domain(kGuest);

  EXPECT_EQ(xenevtchn_notify(backend.get(), port(backend_port)), 0);
  EXPECT_THAT(xen.what_is_left(0), Contains(HasSubstr("waiting for domain 3")));
  EXPECT_THAT(notify_backend(), FailsWith(ENOTCONN));
}

// --- What is not mocked, and the environment -------------------------------------------------

TEST_F(EventChannel, VirqsAreNotMocked) {
  EXPECT_THAT(xenevtchn_bind_virq(backend.get(), 0), FailsWith(ENOSYS));
}

TEST_F(EventChannel, FdopenIsNotMocked) {
  EXPECT_EQ(xenevtchn_fdopen(nullptr, 0, 0), nullptr);
  EXPECT_EQ(errno, ENOSYS);
  EXPECT_EQ(xenevtchn_fdopen(nullptr, 0, XENEVTCHN_NO_CLOEXEC), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(EventChannel, OpenInADomainThatDoesNotExistFails) {
  const auto nowhere = xen.as_domain(99);

  EXPECT_EQ(xenevtchn_open(nullptr, 0), nullptr);
  EXPECT_EQ(errno, ENXIO);
}

TEST_F(EventChannel, CountersTellWhatWasDone) {
  connect();
  notify_backend();
  fired(backend.get());
  xenevtchn_unmask(backend.get(), port(backend_port));

  EXPECT_EQ(xen.stats(kGuest).notifies, 1U);
  EXPECT_EQ(xen.stats(kGuest).binds, 1U);
  EXPECT_EQ(xen.stats(0).events, 2U);
  EXPECT_EQ(xen.stats(0).unmasks, 2U);
}

TEST_F(EventChannel, AHandleMayBeUsedByAnotherThread) {
  connect();

  std::thread([&] { notify_backend(); }).join();

  EXPECT_THAT(fired(backend.get()), ElementsAre(backend_port));
}

TEST_F(EventChannel, TheLastOfManyNotifiesIsNeverLost) {
  connect();
  constexpr int kRounds = 20000;
  std::atomic<int> sent{0};
  std::thread sender([&] {
    for (int i = 1; i <= kRounds; ++i) {
      sent = i;
      notify_backend();
    }
  });

  // What is sent after an unmask fires again, so a look after the unmask misses nothing.
  do {
    ASSERT_EQ(xenevtchn_pending(backend.get()), backend_port);
    ASSERT_EQ(xenevtchn_unmask(backend.get(), port(backend_port)), 0);
  } while (sent != kRounds);
  sender.join();

  fired(backend.get());
}

}  // namespace
}  // namespace vmsg::mock
