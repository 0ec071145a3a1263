// Maps of a guest's pages, and one guest's memory by grant address.
#include "xenbus-glue/grant_map.hpp"

#include <cerrno>
#include <iostream>
#include <vector>

#include "tests/xenbus-glue/xen_world.hpp"
#include "xenbus-glue/grant_share.hpp"

namespace vmsg::xen {
namespace {

class GrantMapTest : public XenWorld {
 protected:
  GrantSharer guest = in_domain(kGuest, [] { return opened(GrantSharer::open()); });
  GrantMapper backend = in_domain(kBackend, [] { return opened(GrantMapper::open()); });

  /// Pages of the guest, each beginning with its own number.
  SharedPages share(std::uint32_t pages, Access access = Access::kReadWrite) {
    auto shared = guest.share_consecutive(kBackend, pages, access);
    EXPECT_TRUE(shared.has_value());
    for (std::uint32_t page = 0; page < pages; ++page) {
      shared->bytes().store<std::uint32_t>(std::size_t{page} * kGrantPageSize, page);
    }
    return std::move(*shared);
  }

  static std::uint32_t page_number(const SharedBytes& bytes, std::size_t page) {
    return bytes.load<std::uint32_t>(page * kGrantPageSize);
  }
};

TEST_F(GrantMapTest, ConsecutiveReferencesAreOneSpan) {
  SharedPages pages = share(3);

  const auto map = backend.map(kGuest, pages.refs().front(), 3, Access::kReadWrite);

  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(map->bytes().size(), 3 * kGrantPageSize);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(page_number(map->bytes(), i), i);
  EXPECT_EQ(backend.mapped_pages(), 3U);
}

TEST_F(GrantMapTest, AnyReferencesAreOneSpanInTheirOrder) {
  SharedPages pages = share(3);
  const std::vector<GrantRef> refs{pages.refs()[2], pages.refs()[0], pages.refs()[1]};

  const auto map = backend.map_refs(kGuest, refs, Access::kReadWrite);

  ASSERT_TRUE(map.has_value());
  EXPECT_EQ(page_number(map->bytes(), 0), 2U);
  EXPECT_EQ(page_number(map->bytes(), 1), 0U);
  EXPECT_EQ(page_number(map->bytes(), 2), 1U);
}

TEST_F(GrantMapTest, BothSidesSeeOneMemory) {
  SharedPages pages = share(1);
  auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());

  map->bytes().store<std::uint32_t>(100, 0x12345678);

  EXPECT_EQ(pages.bytes().load<std::uint32_t>(100), 0x12345678U);
}

TEST_F(GrantMapTest, AReadOnlyGrantMapsReadOnlyAlone) {
  SharedPages pages = share(1, Access::kReadOnly);

  EXPECT_FALSE(backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite).has_value());
  EXPECT_TRUE(backend.map(kGuest, pages.refs().front(), 1, Access::kReadOnly).has_value());
  EXPECT_EQ(backend.mapped_pages(), 0U);
}

TEST_F(GrantMapTest, OneBadReferenceAmongGoodOnesMapsNothing) {
  SharedPages pages = share(2);
  const std::vector<GrantRef> refs{pages.refs()[0], 30000, pages.refs()[1]};

  const auto map = backend.map_refs(kGuest, refs, Access::kReadWrite);

  ASSERT_FALSE(map.has_value());
  EXPECT_EQ(map.error().call, XenCall::kGnttabMap);
  EXPECT_EQ(map.error().domain, kGuest);
  EXPECT_EQ(backend.mapped_pages(), 0U);
}

TEST_F(GrantMapTest, ARevokedReferenceDoesNotMap) {
  SharedPages pages = share(1);
  const GrantRef ref = pages.refs().front();
  pages.unshare();

  EXPECT_FALSE(backend.map(kGuest, ref, 1, Access::kReadOnly).has_value());
}

TEST_F(GrantMapTest, AReferenceGrantedToAnotherDomainDoesNotMap) {
  auto pages = guest.share(kOther, 1, Access::kReadWrite);
  ASSERT_TRUE(pages.has_value());

  EXPECT_FALSE(backend.map(kGuest, pages->refs().front(), 1, Access::kReadOnly).has_value());
}

TEST_F(GrantMapTest, ARangeIsRefusedBeforeAnyCallWhenItIsNone) {
  const auto refused = [&](GrantRef first, std::uint32_t count) {
    const auto map = backend.map(kGuest, first, count, Access::kReadOnly);
    return map.has_value() ? 0 : map.error().error;
  };

  EXPECT_EQ(refused(8, 0), EINVAL);
  EXPECT_EQ(refused(0xffffffff, 2), EINVAL);
  EXPECT_EQ(refused(8, 65537), E2BIG);
  EXPECT_EQ(backend.map_refs(kGuest, {}, Access::kReadOnly).error().error, EINVAL);
  EXPECT_EQ(xen.stats(kBackend).map_calls, 0U);
}

TEST_F(GrantMapTest, AMovedMapIsUnmappedOnce) {
  SharedPages pages = share(2);
  auto map = backend.map(kGuest, pages.refs().front(), 2, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());

  GrantMap moved = std::move(*map);
  EXPECT_FALSE(map->is_mapped());
  EXPECT_EQ(backend.mapped_pages(), 2U);
  moved = GrantMap();

  EXPECT_EQ(backend.mapped_pages(), 0U);
  EXPECT_EQ(xen.stats(kBackend).unmap_calls, 1U);
}

TEST_F(GrantMapTest, AGuestThatDiesLeavesUsItsPagesUntilWeGiveThemBack) {
  SharedPages pages = share(1);
  pages.bytes().store<std::uint32_t>(8, 0x5151);
  auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());

  xen.destroy_domain(kGuest);

  EXPECT_EQ(map->bytes().load<std::uint32_t>(8), 0x5151U);
  EXPECT_TRUE(xen.is_dying(kGuest));
  map->unmap();
  EXPECT_FALSE(xen.is_dying(kGuest));
}

TEST_F(GrantMapTest, AnUnmapThatFailsIsCounted) {
  SharedPages pages = share(1);
  auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());
  fail(kBackend, mock::Call::kXengnttabUnmap, EINVAL);
  xen.is_leak_expected = true;

  map->unmap();

  EXPECT_EQ(backend.failed_unmaps(), 1U);
}

// ---- one guest's memory -------------------------------------------------------------------------

class GuestMemoryTest : public GrantMapTest {
 protected:
  static constexpr std::uint32_t kPageLimit = 4;
  GrantGuestMemory memory{backend, kGuest, kPageLimit};
};

TEST_F(GuestMemoryTest, ShowsExactlyTheBytesAskedFor) {
  SharedPages pages = share(2);
  pages.bytes().store<std::uint32_t>(4000, 0xabcd);

  const auto range = memory.map(*pages.address()->checked_add(4000), 200, Access::kReadWrite);

  ASSERT_TRUE(range.has_value());
  EXPECT_EQ((*range)->bytes().size(), 200U);
  EXPECT_EQ((*range)->bytes().load<std::uint32_t>(0), 0xabcdU);
  EXPECT_EQ((*range)->bytes().load<std::uint32_t>(96), 1U);  // the number of the second page
  EXPECT_EQ(memory.mapped_pages(), 2U);
}

TEST_F(GuestMemoryTest, AnEmptyRangeAndOneBeyondTheLastReferenceAreBadRanges) {
  const auto last = GrantAddress::of(0xffffffff, 0);

  EXPECT_EQ(memory.map(last, 0, Access::kReadOnly).error(), MemoryError::kBadRange);
  EXPECT_EQ(memory.map(last, 4097, Access::kReadOnly).error(), MemoryError::kBadRange);
  EXPECT_EQ(memory.map(last, ~std::uint64_t{0}, Access::kReadOnly).error(), MemoryError::kBadRange);
}

TEST_F(GuestMemoryTest, WhatTheGuestDidNotGrantIsNotGranted) {
  EXPECT_EQ(memory.map(GrantAddress::of(30000), 16, Access::kReadOnly).error(),
            MemoryError::kNotGranted);

  SharedPages pages = share(1, Access::kReadOnly);
  EXPECT_EQ(memory.map(*pages.address(), 16, Access::kReadWrite).error(), MemoryError::kNotGranted);
}

TEST_F(GuestMemoryTest, WhatWeLackIsNotTheGuestsFault) {
  SharedPages pages = share(1);
  fail(kBackend, mock::Call::kXengnttabMapDomainGrantRefs, ENOMEM);

  EXPECT_EQ(memory.map(*pages.address(), 16, Access::kReadOnly).error(), MemoryError::kFailed);
}

TEST_F(GuestMemoryTest, AGuestMapsUpToItsLimitAndNotAPageMore) {
  SharedPages pages = share(5);
  auto first = memory.map(*pages.address(), 3 * kGrantPageSize, Access::kReadOnly);
  ASSERT_TRUE(first.has_value());

  EXPECT_EQ(memory.map(*pages.address(), kGrantPageSize + 1, Access::kReadOnly).error(),
            MemoryError::kLimit);
  EXPECT_TRUE(memory.map(*pages.address(), kGrantPageSize, Access::kReadOnly).has_value());
  first->reset();
  EXPECT_TRUE(memory.map(*pages.address(), 4 * kGrantPageSize, Access::kReadOnly).has_value());
  EXPECT_EQ(memory.mapped_pages(), 0U);
}

TEST_F(GuestMemoryTest, TwoBytesOnAPageBorderCountAsTwoPages) {
  SharedPages pages = share(5);
  const auto three = memory.map(*pages.address(), 3 * kGrantPageSize, Access::kReadOnly);
  ASSERT_TRUE(three.has_value());

  EXPECT_EQ(memory.map(*pages.address()->checked_add(4095), 2, Access::kReadOnly).error(),
            MemoryError::kLimit);
}

TEST_F(GuestMemoryTest, TheLargestRangeThatThereIsMeetsTheLimit) {
  EXPECT_EQ(memory.map(GrantAddress::of(0), std::uint64_t{1} << 44, Access::kReadOnly).error(),
            MemoryError::kLimit);
}

using GrantMapDeathTest = GrantMapTest;

TEST_F(GrantMapDeathTest, WritingThroughAReadOnlyMapFaults) {
  SharedPages pages = share(1);
  const auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadOnly);
  ASSERT_TRUE(map.has_value());

  EXPECT_DEATH(map->bytes().store<std::uint32_t>(0, 1), "");
}

TEST_F(GrantMapDeathTest, AViewThatOutlivesItsMapFaults) {
  SharedPages pages = share(1);
  auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());
  const SharedBytes view = map->bytes();
  map->unmap();

  EXPECT_DEATH(std::cerr << view.load<std::uint32_t>(0), "");
}

TEST_F(GrantMapDeathTest, AMapperThatIsDestroyedUnderItsMapsIsOurBug) {
  SharedPages pages = share(1);
  const auto map = backend.map(kGuest, pages.refs().front(), 1, Access::kReadWrite);

  EXPECT_DEATH({ const GrantMapper gone = std::move(backend); }, "maps == 0");
}

}  // namespace
}  // namespace vmsg::xen
