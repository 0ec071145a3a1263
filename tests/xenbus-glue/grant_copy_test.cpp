// The copies of a turn: one call for all of them, one outcome for each, and whatever the guest
// granted wrongly harms its own request only.
#include "xenbus-glue/grant_copy.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <thread>
#include <vector>

#include "tests/xenbus-glue/xen_world.hpp"
#include "xenbus-glue/anonymous_pages.hpp"
#include "xenbus-glue/grant_share.hpp"
#include "xenbus-glue/shared_regions.hpp"

namespace vmsg::xen {
namespace {

class GrantCopyTest : public XenWorld {
 protected:
  GrantSharer guest = in_domain(kGuest, [] { return opened(GrantSharer::open()); });
  GrantSharer other = in_domain(kOther, [] { return opened(GrantSharer::open()); });
  GrantMapper backend = in_domain(kBackend, [] { return opened(GrantMapper::open()); });
  GrantCopyBatch from_guest{backend, CopyDirection::kFromGuest, 8};
  GrantCopyBatch to_guest{backend, CopyDirection::kToGuest, 8};
  GuestRef ref{.domain = kGuest};

  SharedPages share(std::uint32_t pages, Access access = Access::kReadWrite) {
    auto shared = guest.share_consecutive(kBackend, pages, access);
    EXPECT_TRUE(shared.has_value());
    return std::move(*shared);
  }

  static std::vector<std::byte> pattern(std::size_t size, unsigned seed = 1) {
    std::vector<std::byte> bytes(size);
    unsigned value = seed;
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(value = value * 37 + 11);
    return bytes;
  }

  static std::vector<std::byte> content(const SharedBytes& bytes, std::size_t at,
                                        std::size_t size) {
    std::vector<std::byte> copy(size);
    bytes.copy_out(at, copy);
    return copy;
  }
};

TEST_F(GrantCopyTest, BringsBytesFromTheGuest) {
  SharedPages pages = share(1);
  const auto bytes = pattern(100);
  pages.bytes().copy_in(50, bytes);
  std::vector<std::byte> local(100);
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address()->checked_add(50), local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(local, bytes);
}

TEST_F(GrantCopyTest, TakesBytesToTheGuest) {
  SharedPages pages = share(1);
  auto bytes = pattern(100);
  CopyOutcome outcome = CopyOutcome::kOk;

  to_guest.add(ref, *pages.address()->checked_add(3996), bytes, outcome);
  to_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(content(pages.bytes(), 3996, 100), bytes);
}

TEST_F(GrantCopyTest, SplitsAtTheGuestsPageBordersAndStillMakesOneCall) {
  SharedPages pages = share(4);
  const auto bytes = pattern(2 * 4096 + 2);
  pages.bytes().copy_in(4095, bytes);
  auto local = AnonymousPages::create(bytes.size());
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address()->checked_add(4095), local->bytes().first(bytes.size()),
                 outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_TRUE(std::ranges::equal(local->bytes().first(bytes.size()), bytes));
  EXPECT_EQ(from_guest.metrics().calls, 1U);
  EXPECT_EQ(from_guest.metrics().segments, 4U);
  EXPECT_EQ(from_guest.metrics().bytes, bytes.size());
}

TEST_F(GrantCopyTest, ManyCopiesOfManyGuestsAreOneCall) {
  SharedPages pages = share(1);
  auto theirs = other.share(kBackend, 1, Access::kReadWrite);
  ASSERT_TRUE(theirs.has_value());
  pages.bytes().store<std::uint32_t>(0, 1);
  theirs->bytes().store<std::uint32_t>(0, 2);
  std::array<std::byte, 4> first{};
  std::array<std::byte, 4> second{};
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address(), first, outcome);
  from_guest.add({.domain = kOther}, *theirs->address(), second, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(first[0], std::byte{1});
  EXPECT_EQ(second[0], std::byte{2});
  EXPECT_EQ(xen.stats(kBackend).copy_calls, 1U);
}

TEST_F(GrantCopyTest, AFullBatchRunsEarlyAndLosesNothing) {
  SharedPages pages = share(1);
  const auto bytes = pattern(20);
  pages.bytes().copy_in(0, bytes);
  std::vector<std::byte> local(20);
  CopyOutcome outcome = CopyOutcome::kOk;

  for (std::uint32_t i = 0; i < 20; ++i) {
    from_guest.add(ref, *pages.address()->checked_add(i), std::span(local).subspan(i, 1), outcome);
  }
  from_guest.run();

  EXPECT_EQ(local, bytes);
  EXPECT_EQ(from_guest.metrics().calls, 3U);  // 8 + 8 + 4
  EXPECT_EQ(from_guest.pending_segments(), 0U);
}

TEST_F(GrantCopyTest, OneCopyLongerThanTheWholeBatchWorks) {
  SharedPages pages = share(20);
  const auto bytes = pattern(20 * 4096);
  pages.bytes().copy_in(0, bytes);
  std::vector<std::byte> local(bytes.size());
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address(), local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(local, bytes);
}

TEST_F(GrantCopyTest, AnEmptyTurnAndAnEmptyCopyMakeNoCall) {
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, GrantAddress::of(30000), {}, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(from_guest.metrics().calls, 0U);
}

TEST_F(GrantCopyTest, ABadReferenceFailsItsOwnCopyAlone) {
  SharedPages pages = share(1);
  std::array<std::byte, 8> local{};
  CopyOutcome before = CopyOutcome::kOk;
  CopyOutcome bad = CopyOutcome::kOk;
  CopyOutcome after = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address(), local, before);
  from_guest.add(ref, GrantAddress::of(30000), local, bad);
  from_guest.add(ref, *pages.address(), local, after);
  from_guest.run();

  EXPECT_EQ(before, CopyOutcome::kOk);
  EXPECT_EQ(bad, CopyOutcome::kNotGranted);
  EXPECT_EQ(after, CopyOutcome::kOk);
  EXPECT_EQ(from_guest.metrics().failed_segments, 1U);
  EXPECT_EQ(from_guest.metrics().failed_calls, 0U);
}

TEST_F(GrantCopyTest, ACopyFailsWhenTheLastOfItsPagesIsNotGranted) {
  SharedPages pages = share(2);
  const auto beyond = GrantAddress::of(pages.refs().back());
  std::vector<std::byte> local(2 * 4096);
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, beyond, local, outcome);  // its second page is nobody's
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kNotGranted);
}

TEST_F(GrantCopyTest, ARevokedReferenceIsNotGranted) {
  SharedPages pages = share(1);
  const GrantAddress address = *pages.address();
  pages.unshare();
  std::array<std::byte, 8> local{};
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, address, local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kNotGranted);
}

TEST_F(GrantCopyTest, AGuestThatDiedFailsItsOwnCopiesAlone) {
  SharedPages pages = share(1);
  auto theirs = other.share(kBackend, 1, Access::kReadWrite);
  ASSERT_TRUE(theirs.has_value());
  std::array<std::byte, 8> local{};
  CopyOutcome dead = CopyOutcome::kOk;
  CopyOutcome alive = CopyOutcome::kOk;
  xen.destroy_domain(kGuest);

  from_guest.add(ref, *pages.address(), local, dead);
  from_guest.add({.domain = kOther}, *theirs->address(), local, alive);
  from_guest.run();

  EXPECT_EQ(dead, CopyOutcome::kNotGranted);
  EXPECT_EQ(alive, CopyOutcome::kOk);
}

TEST_F(GrantCopyTest, AReadOnlyGrantIsReadAndNotWritten) {
  SharedPages pages = share(1, Access::kReadOnly);
  std::array<std::byte, 8> local{};
  CopyOutcome reading = CopyOutcome::kOk;
  CopyOutcome writing = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address(), local, reading);
  from_guest.run();
  to_guest.add(ref, *pages.address(), local, writing);
  to_guest.run();

  EXPECT_EQ(reading, CopyOutcome::kOk);
  EXPECT_EQ(writing, CopyOutcome::kNotGranted);
}

TEST_F(GrantCopyTest, AReferenceOfAnotherGuestIsNotThisGuests) {
  auto theirs = other.share(kBackend, 1, Access::kReadWrite);
  ASSERT_TRUE(theirs.has_value());
  std::array<std::byte, 8> local{};
  CopyOutcome outcome = CopyOutcome::kOk;
  // The same number in the other guest's table; this guest has not granted that many.
  ASSERT_FALSE(backend.map(kGuest, theirs->refs().front(), 1, Access::kReadOnly).has_value());

  from_guest.add(ref, *theirs->address(), local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kNotGranted);
}

TEST_F(GrantCopyTest, ARangeBeyondTheLastReferenceNeverReachesACall) {
  std::array<std::byte, 8> local{};
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, GrantAddress::of(0xffffffff, 4092), local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kBadRange);
  EXPECT_EQ(from_guest.metrics().bad_ranges, 1U);
  EXPECT_EQ(xen.stats(kBackend).copy_calls, 0U);
}

TEST_F(GrantCopyTest, AFailedCallFailsEveryCopyInIt) {
  SharedPages pages = share(1);
  std::array<std::byte, 8> local{};
  CopyOutcome first = CopyOutcome::kOk;
  CopyOutcome second = CopyOutcome::kOk;
  fail(kBackend, mock::Call::kXengnttabGrantCopy, EFAULT);

  from_guest.add(ref, *pages.address(), local, first);
  from_guest.add(ref, *pages.address(), local, second);
  from_guest.run();

  EXPECT_EQ(first, CopyOutcome::kFailed);
  EXPECT_EQ(second, CopyOutcome::kFailed);
  EXPECT_EQ(from_guest.metrics().failed_calls, 1U);
}

TEST_F(GrantCopyTest, AfterAFailureTheBatchIsAsGoodAsNew) {
  SharedPages pages = share(1);
  std::array<std::byte, 8> local{};
  CopyOutcome failed = CopyOutcome::kOk;
  CopyOutcome next = CopyOutcome::kOk;
  fail(kBackend, mock::Call::kXengnttabGrantCopy, EFAULT);
  from_guest.add(ref, *pages.address(), local, failed);
  from_guest.run();

  from_guest.add(ref, *pages.address(), local, next);
  from_guest.run();

  EXPECT_EQ(next, CopyOutcome::kOk);
}

TEST_F(GrantCopyTest, EachStatusOfASegmentIsItsOwn) {
  SharedPages pages = share(1);
  for (std::uint32_t nth = 0; nth < 4; ++nth) {
    std::array<std::byte, 8> local{};
    std::array<CopyOutcome, 4> outcomes{};
    fail(kBackend, mock::Call::kXengnttabGrantCopySegment, 9, nth);  // GNTST_bad_page

    for (CopyOutcome& outcome : outcomes) from_guest.add(ref, *pages.address(), local, outcome);
    from_guest.run();

    for (std::uint32_t i = 0; i < 4; ++i) {
      EXPECT_EQ(outcomes[i], i == nth ? CopyOutcome::kNotGranted : CopyOutcome::kOk)
          << "segment " << i << " when " << nth << " fails";
    }
  }
}

TEST_F(GrantCopyTest, SeveralCopiesMayShareAnOutcomeAndOneFailureShows) {
  SharedPages pages = share(1);
  std::array<std::byte, 8> local{};
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, GrantAddress::of(30000), local, outcome);
  from_guest.add(ref, *pages.address(), local, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kNotGranted);
}

// ---- shared regions -----------------------------------------------------------------------------

class SharedRegionsTest : public GrantCopyTest {
 protected:
  RegionBudget budget{20};
  SharedRegions regions{backend, budget, kGuest, {.regions = 2, .pages = 8}};
};

TEST_F(SharedRegionsTest, ACopyInsideARegionCostsNoCall) {
  SharedPages pages = share(2);
  ASSERT_TRUE(regions.share(1, *pages.address(), 2).has_value());
  ref.regions = &regions;
  auto bytes = pattern(5000);
  std::vector<std::byte> back(5000);
  CopyOutcome outcome = CopyOutcome::kOk;

  to_guest.add(ref, *pages.address()->checked_add(100), bytes, outcome);
  to_guest.run();
  from_guest.add(ref, *pages.address()->checked_add(100), back, outcome);
  from_guest.run();

  EXPECT_EQ(outcome, CopyOutcome::kOk);
  EXPECT_EQ(back, bytes);
  EXPECT_EQ(content(pages.bytes(), 100, 5000), bytes);
  EXPECT_EQ(xen.stats(kBackend).copy_calls, 0U);
  EXPECT_EQ(to_guest.metrics().region_copies, 1U);
}

TEST_F(SharedRegionsTest, ACopyThatLeavesTheRegionIsMadeByTheHypervisor) {
  SharedPages pages = share(3);
  ASSERT_TRUE(regions.share(1, *pages.address(), 2).has_value());
  ref.regions = &regions;
  const auto bytes = pattern(200);
  pages.bytes().copy_in(2 * 4096 - 100, bytes);
  std::vector<std::byte> local(200);
  CopyOutcome outcome = CopyOutcome::kOk;

  from_guest.add(ref, *pages.address()->checked_add(2 * 4096 - 100), local, outcome);
  from_guest.run();

  EXPECT_EQ(local, bytes);
  EXPECT_EQ(from_guest.metrics().region_copies, 0U);
  EXPECT_EQ(from_guest.metrics().segments, 2U);
}

TEST_F(SharedRegionsTest, FindsARangeInTheRightRegionOnly) {
  SharedPages pages = share(4);
  const GrantAddress base = *pages.address();
  ASSERT_TRUE(regions.share(7, *base.checked_add(2 * 4096), 2).has_value());
  ASSERT_TRUE(regions.share(1, base, 1).has_value());

  EXPECT_EQ(regions.find(base, 4096)->size(), 4096U);
  EXPECT_FALSE(regions.find(base, 4097).has_value());
  EXPECT_FALSE(regions.find(*base.checked_add(4096), 1).has_value());  // the gap
  EXPECT_TRUE(regions.find(*base.checked_add(3 * 4096), 4096).has_value());
  EXPECT_FALSE(regions.find(*base.checked_add(4 * 4096 - 1), 2).has_value());
  EXPECT_FALSE(regions.find(*base.checked_add(4 * 4096), 1).has_value());
}

TEST_F(SharedRegionsTest, AWithdrawnRegionIsNotFoundAndStaysMappedWhileItIsKept) {
  SharedPages pages = share(2);
  ASSERT_TRUE(regions.share(1, *pages.address(), 2).has_value());
  EXPECT_EQ(backend.mapped_pages(), 2U);
  EXPECT_EQ(budget.left(), 18U);
  const SharedBytes still_used = *regions.find(*pages.address(), 4);
  {
    const auto withdrawn = regions.withdraw(1);

    ASSERT_TRUE(withdrawn.has_value());
    EXPECT_FALSE(regions.find(*pages.address(), 1).has_value());
    EXPECT_EQ(regions.withdraw(1).error(), RegionError::kUnknown);
    pages.bytes().store<std::uint32_t>(0, 77);
    EXPECT_EQ(still_used.load<std::uint32_t>(0), 77U);
    EXPECT_EQ(backend.mapped_pages(), 2U);
    EXPECT_EQ(budget.left(), 18U);
  }
  EXPECT_EQ(backend.mapped_pages(), 0U);
  EXPECT_EQ(budget.left(), 20U);
}

TEST_F(SharedRegionsTest, TheOthersAreStillFoundWhenOneIsWithdrawn) {
  SharedPages pages = share(4);
  const GrantAddress base = *pages.address();
  ASSERT_TRUE(regions.share(1, base, 2).has_value());
  ASSERT_TRUE(regions.share(2, *base.checked_add(2 * 4096), 2).has_value());

  ASSERT_TRUE(regions.withdraw(1).has_value());

  EXPECT_TRUE(regions.find(*base.checked_add(2 * 4096), 4096).has_value());
  EXPECT_FALSE(regions.find(base, 1).has_value());
}

// What the workers do and the control thread does, at the same time: whatever a reader finds is
// memory of the region until the reader says that it is done with it.
TEST_F(SharedRegionsTest, ReadersOnOtherThreadsFindARegionOrNone) {
  SharedPages pages = share(2);
  const GrantAddress base = *pages.address();
  pages.bytes().store<std::uint32_t>(0, 11);
  pages.bytes().store<std::uint32_t>(4096, 22);
  std::atomic<std::uint32_t> turns{0};
  std::atomic<bool> is_over{false};
  std::atomic<std::uint32_t> found{0};
  std::atomic<std::uint32_t> wrong{0};
  std::jthread reader([&] {
    while (!is_over.load()) {
      for (const std::uint32_t page : {0U, 1U}) {
        const auto bytes = regions.find(*base.checked_add(std::uint64_t{page} * 4096), 4);
        if (!bytes) continue;
        found.fetch_add(1);
        if (bytes->load<std::uint32_t>(0) != (page + 1) * 11) wrong.fetch_add(1);
      }
      turns.fetch_add(1);
      std::this_thread::yield();
    }
  });
  const auto wait_for_a_turn = [&] {
    const std::uint32_t before = turns.load();
    while (turns.load() - before < 2) std::this_thread::yield();
  };

  for (int round = 0; round < 30; ++round) {
    ASSERT_TRUE(regions.share(1, base, 1).has_value());
    ASSERT_TRUE(regions.share(2, *base.checked_add(4096), 1).has_value());
    wait_for_a_turn();
    const auto first = regions.withdraw(1);
    const auto second = regions.withdraw(2);
    wait_for_a_turn();
  }
  is_over.store(true);
  reader.join();

  EXPECT_GT(found.load(), 0U);
  EXPECT_EQ(wrong.load(), 0U);
  EXPECT_EQ(backend.mapped_pages(), 0U);
}

TEST_F(SharedRegionsTest, TheBudgetOfAllGuestsIsKept) {
  SharedPages pages = share(8);
  SharedRegions others(backend, budget, kGuest, {.regions = 2, .pages = 100});
  ASSERT_TRUE(others.share(1, *pages.address(), 8).has_value());
  RegionBudget small(3);
  SharedRegions poor(backend, small, kGuest, {});

  EXPECT_EQ(poor.share(1, *pages.address(), 4).error(), RegionError::kLimit);
  EXPECT_TRUE(poor.share(1, *pages.address(), 3).has_value());
  EXPECT_EQ(small.left(), 0U);
  EXPECT_EQ(budget.left(), 12U);
}

TEST_F(SharedRegionsTest, RefusesRangesThatAreNone) {
  SharedPages pages = share(2);
  const GrantAddress base = *pages.address();
  ASSERT_TRUE(regions.share(1, base, 1).has_value());

  EXPECT_EQ(regions.share(2, base, 0).error(), RegionError::kBadRange);
  EXPECT_EQ(regions.share(2, *base.checked_add(4097), 1).error(), RegionError::kBadRange);
  EXPECT_EQ(regions.share(2, GrantAddress::of(0xffffffff), 2).error(), RegionError::kBadRange);
  EXPECT_EQ(regions.share(2, base, 2).error(), RegionError::kBadRange);  // overlaps
  EXPECT_EQ(regions.share(2, base, 1).error(), RegionError::kBadRange);
  EXPECT_EQ(regions.share(1, *base.checked_add(4096), 1).error(), RegionError::kBadRange);
  EXPECT_EQ(regions.size(), 1U);
}

TEST_F(SharedRegionsTest, RefusesARegionThatRunsIntoTheNext) {
  SharedPages pages = share(3);
  const GrantAddress base = *pages.address();
  ASSERT_TRUE(regions.share(1, *base.checked_add(4096), 1).has_value());

  EXPECT_EQ(regions.share(2, base, 2).error(), RegionError::kBadRange);
  EXPECT_TRUE(regions.share(2, base, 1).has_value());
}

TEST_F(SharedRegionsTest, RefusesARegionThatBeginsInsideAnother) {
  SharedPages pages = share(4);
  const GrantAddress base = *pages.address();
  ASSERT_TRUE(regions.share(1, base, 3).has_value());

  EXPECT_EQ(regions.share(2, *base.checked_add(2 * 4096), 2).error(), RegionError::kBadRange);
  EXPECT_TRUE(regions.share(2, *base.checked_add(3 * 4096), 1).has_value());
}

TEST_F(SharedRegionsTest, KeepsToItsLimits) {
  SharedPages pages = share(10);
  const GrantAddress base = *pages.address();

  EXPECT_EQ(regions.share(1, base, 9).error(), RegionError::kLimit);
  ASSERT_TRUE(regions.share(1, base, 6).has_value());
  EXPECT_EQ(regions.share(2, *base.checked_add(6 * 4096), 3).error(), RegionError::kLimit);
  ASSERT_TRUE(regions.share(2, *base.checked_add(6 * 4096), 2).has_value());
  ASSERT_TRUE(regions.withdraw(1).has_value());
  ASSERT_TRUE(regions.share(1, base, 1).has_value());
  EXPECT_EQ(regions.share(3, *base.checked_add(8 * 4096), 1).error(), RegionError::kLimit);
}

TEST_F(SharedRegionsTest, WhatDoesNotMapForWritingIsNoRegion) {
  SharedPages pages = share(1, Access::kReadOnly);

  EXPECT_EQ(regions.share(1, *pages.address(), 1).error(), RegionError::kNotMapped);
  EXPECT_EQ(regions.share(1, GrantAddress::of(30000), 1).error(), RegionError::kNotMapped);
  EXPECT_EQ(regions.pages(), 0U);
  EXPECT_EQ(budget.left(), 20U);
}

}  // namespace
}  // namespace vmsg::xen
