// Failure injection of the mock: by name, by number, and every failure of a scenario in turn.
#include <sys/mman.h>

#include <cerrno>
#include <vector>

extern "C" {
#include <xenstore.h>
}

#include "tests/mock-xen/handles_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::IsEmpty;
using testing::SizeIs;

class Failures : public MockWorld {};

TEST_F(Failures, TheNthCallFailsOnce) {
  const Evtchn handle = open_evtchn(kGuest);
  xen.fail_nth(Call::kXenevtchnBindUnboundPort, 2, EMFILE, kGuest);

  EXPECT_GT(xenevtchn_bind_unbound_port(handle.get(), 0), 0);
  EXPECT_THAT(xenevtchn_bind_unbound_port(handle.get(), 0), FailsWith(EMFILE));
  EXPECT_GT(xenevtchn_bind_unbound_port(handle.get(), 0), 0);
  EXPECT_EQ(xen.stats(kGuest).failures_injected, 1U);
}

TEST_F(Failures, OtherDomainsAreSpared) {
  const Evtchn handle = open_evtchn(0);
  xen.fail_nth(Call::kXenevtchnBindUnboundPort, 1, EMFILE, kGuest);

  EXPECT_GT(xenevtchn_bind_unbound_port(handle.get(), kGuest), 0);
}

TEST_F(Failures, OpenCanFail) {
  xen.fail_nth(Call::kXengnttabOpen, 1, EACCES, 0);

  EXPECT_EQ(open_gnttab(0), nullptr);
  EXPECT_EQ(errno, EACCES);
  EXPECT_THAT(xen.what_is_left(), IsEmpty());
}

TEST_F(Failures, AnyCountsEveryCallThatIsNoRelease) {
  xen.fail_nth(Call::kAny, 3, EIO, kGuest);

  Evtchn handle = open_evtchn(kGuest);                                                         // 1
  const auto port = static_cast<evtchn_port_t>(xenevtchn_bind_unbound_port(handle.get(), 0));  // 2
  EXPECT_EQ(xenevtchn_unbind(handle.get(), port), 0);
  EXPECT_THAT(xenevtchn_bind_unbound_port(handle.get(), 0), FailsWith(EIO));
}

TEST_F(Failures, AReleaseCanFailByName) {
  const Evtchn handle = open_evtchn(kGuest);
  const auto port = static_cast<evtchn_port_t>(xenevtchn_bind_unbound_port(handle.get(), 0));
  xen.fail_nth(Call::kXenevtchnUnbind, 1, EIO, kGuest);

  EXPECT_THAT(xenevtchn_unbind(handle.get(), port), FailsWith(EIO));
  EXPECT_EQ(xenevtchn_unbind(handle.get(), port), 0) << "the failed one did nothing";
}

TEST_F(Failures, StoreCallsCanFail) {
  const auto in_guest = xen.as_domain(kGuest);
  xs_handle* const store = xs_open(0);
  xen.fail_nth(Call::kXsRead, 1, EAGAIN, kGuest);

  unsigned length = 0;
  EXPECT_EQ(xs_read(store, XBT_NULL, "domid", &length), nullptr);
  EXPECT_EQ(errno, EAGAIN);
  xs_close(store);
}

TEST_F(Failures, ATransactionWhoseEndFailsIsOver) {
  const auto in_guest = xen.as_domain(kGuest);
  xs_handle* const store = xs_open(0);
  // More than a domain may have open at a time.
  for (int i = 0; i < 50; ++i) {
    const xs_transaction_t transaction = xs_transaction_start(store);
    ASSERT_NE(transaction, XBT_NULL) << i;
    ASSERT_TRUE(xs_write(store, transaction, "data/t", "x", 1));
    xen.fail_nth(Call::kXsTransactionEnd, 1, EIO, kGuest);
    ASSERT_FALSE(xs_transaction_end(store, transaction, false));
    ASSERT_EQ(errno, EIO);
  }
  unsigned length = 0;
  EXPECT_EQ(xs_read(store, XBT_NULL, "data/t", &length), nullptr);
  xs_close(store);
}

TEST_F(Failures, OneSegmentOfACopyCanFail) {
  const Gntshr guest = open_gntshr(kGuest);
  const Gnttab backend = open_gnttab(0);
  std::uint32_t ref = 0;
  void* const page = xengntshr_share_pages(guest.get(), 0, 1, &ref, 1);
  std::vector<xengnttab_grant_copy_segment_t> segments(3);
  char byte = 0;
  for (auto& segment : segments) {
    segment.flags = GNTCOPY_source_gref;
    segment.source.foreign.domid = kGuest;
    segment.source.foreign.ref = ref;
    segment.dest.virt = &byte;
    segment.len = 1;
  }
  xen.fail_nth(Call::kXengnttabGrantCopySegment, 2, -GNTST_bad_page, 0);

  EXPECT_EQ(xengnttab_grant_copy(backend.get(), 3, segments.data()), 0);

  EXPECT_EQ(segments[0].status, GNTST_okay);
  EXPECT_EQ(segments[1].status, GNTST_bad_page);
  EXPECT_EQ(segments[2].status, GNTST_okay);
  EXPECT_EQ(xengntshr_unshare(guest.get(), page, 1), 0);
}

TEST_F(Failures, ClearForgetsWhatHasNotHappened) {
  xen.fail_nth(Call::kXenevtchnOpen, 1, EIO, kGuest);
  xen.fail_nth(Call::kXenevtchnOpen, 1, EIO, 0);

  EXPECT_EQ(xen.clear_failures(), 2U);

  EXPECT_NE(open_evtchn(kGuest), nullptr);
}

// --- Every failure in turn -------------------------------------------------------------------

/// Opens, offers a port, shares a page, and gives everything back; stops at the first failure.
void offer_and_share(bool careless) {
  const Evtchn events(xenevtchn_open(nullptr, 0));
  if (!events) return;
  if (xenevtchn_bind_unbound_port(events.get(), 0) < 0) return;
  const Gntshr memory(xengntshr_open(nullptr, 0));
  if (!memory) return;
  std::uint32_t ref = 0;
  void* const page = xengntshr_share_pages(memory.get(), 0, 1, &ref, 1);
  if (page == nullptr) return;
  if (xenevtchn_bind_unbound_port(events.get(), 0) < 0 && careless) return;
  EXPECT_EQ(xengntshr_unshare(memory.get(), page, 1), 0);
}

TEST_F(Failures, ForEachFailureVisitsThemAll) {
  const auto in_guest = xen.as_domain(kGuest);
  int runs = 0;

  const std::uint32_t visited = for_each_failure(xen, kGuest, EIO, [&] {
    ++runs;
    offer_and_share(false);
  });

  EXPECT_EQ(visited, 5U);
  EXPECT_EQ(runs, 6);
}

TEST_F(Failures, ForEachFailureFindsWhatIsLeftBehind) {
  const auto in_guest = xen.as_domain(kGuest);
  std::vector<std::uint32_t> leaky;

  for_each_failure(
      xen, kGuest, EIO, [] { offer_and_share(true); },
      [&](std::uint32_t nth, std::span<const std::string>) { leaky.push_back(nth); });

  // The careless one forgets the page when the fifth call fails, and nobody can unshare it any
  // more.
  EXPECT_THAT(leaky, testing::ElementsAre(5U, 6U));
  leaks_on_purpose = true;
}

}  // namespace
}  // namespace vmsg::mock
