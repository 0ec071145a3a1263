// The driver side's pages, and the memory of a ring from both sides.
#include "xenbus-glue/grant_share.hpp"

#include <cerrno>

#include "tests/xenbus-glue/xen_world.hpp"
#include "transport/endian.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/ring_pages.hpp"

namespace vmsg::xen {
namespace {

class GrantShareTest : public XenWorld {
 protected:
  GrantSharer guest = in_domain(kGuest, [] { return opened(GrantSharer::open()); });
  GrantMapper backend = in_domain(kBackend, [] { return opened(GrantMapper::open()); });
};

TEST_F(GrantShareTest, PagesBeginEmpty) {
  const auto pages = guest.share(kBackend, 2, Access::kReadWrite);

  ASSERT_TRUE(pages.has_value());
  EXPECT_EQ(pages->refs().size(), 2U);
  EXPECT_EQ(pages->bytes().size(), 2 * kGrantPageSize);
  for (std::size_t at = 0; at < pages->bytes().size(); at += 8) {
    ASSERT_EQ(pages->bytes().load<std::uint64_t>(at), 0U);
  }
}

TEST_F(GrantShareTest, ConsecutivePagesHaveOneAddress) {
  const auto pages = guest.share_consecutive(kBackend, 5, Access::kReadOnly);

  ASSERT_TRUE(pages.has_value());
  EXPECT_EQ(pages->address(), GrantAddress::of(pages->refs().front()));
  for (std::size_t i = 1; i < 5; ++i) EXPECT_EQ(pages->refs()[i], pages->refs()[0] + i);
}

TEST_F(GrantShareTest, PagesWithScatteredReferencesHaveNoCommonAddress) {
  xen.set_scattered_references(true);

  const auto pages = guest.share(kBackend, 4, Access::kReadWrite);

  ASSERT_TRUE(pages.has_value());
  EXPECT_FALSE(pages->address().has_value());
}

TEST_F(GrantShareTest, WhatDoesNotFitIsTriedAgainAndGivenBack) {
  xen.set_scattered_references(true);

  EXPECT_EQ(guest.share_consecutive(kBackend, 4, Access::kReadWrite, 3).error(),
            (XenError{XenCall::kGntshrShare, ENOSPC, kBackend}));

  EXPECT_EQ(guest.shared_pages(), 0U);
}

// Linux hands out what was given back last: the references of an area come back in reverse. What
// does not fit must not use up the pages that a guest may share.
TEST_F(GrantShareTest, ConsecutiveReferencesAreFoundHoweverOthersWereGivenBack) {
  xen.set_newest_reference_first(true);
  xen.set_limit(kGuest, mock::Limit::kSharedPages, 100);
  for (const std::uint32_t pages : {64U, 40U, 3U, 40U, 17U, 40U}) {
    auto area = guest.share_consecutive(kBackend, pages, Access::kReadWrite);
    ASSERT_TRUE(area.has_value()) << pages;
    EXPECT_TRUE(area->address().has_value());
    EXPECT_EQ(guest.shared_pages(), pages);
    const auto other = guest.share(kBackend, 7, Access::kReadOnly);
    ASSERT_TRUE(other.has_value());
    area->unshare();
  }
}

TEST_F(GrantShareTest, UnsharedPagesAreGone) {
  auto pages = guest.share(kBackend, 3, Access::kReadWrite);
  ASSERT_TRUE(pages.has_value());
  EXPECT_EQ(guest.shared_pages(), 3U);

  SharedPages moved = std::move(*pages);
  EXPECT_EQ(guest.shared_pages(), 3U);
  moved.unshare();

  EXPECT_EQ(guest.shared_pages(), 0U);
  EXPECT_FALSE(pages->is_shared());
  EXPECT_FALSE(moved.address().has_value());
}

TEST_F(GrantShareTest, NoPagesAndAbsurdlyManyAreRefused) {
  EXPECT_EQ(guest.share(kBackend, 0, Access::kReadOnly).error().error, EINVAL);
  EXPECT_EQ(guest.share(kBackend, 65537, Access::kReadOnly).error().error, EINVAL);
}

TEST_F(GrantShareTest, ARefusalSaysForWhom) {
  fail(kGuest, mock::Call::kXengntshrSharePages, ENOSPC);

  EXPECT_EQ(guest.share(kBackend, 1, Access::kReadWrite).error(),
            (XenError{XenCall::kGntshrShare, ENOSPC, kBackend}));
  EXPECT_EQ(guest.shared_pages(), 0U);
}

TEST_F(GrantShareTest, UnsharingClearsTheByteAndNotifiesThePort) {
  EventChannels guest_events = in_domain(kGuest, [] { return opened(EventChannels::open()); });
  EventChannels our_events = in_domain(kBackend, [] { return opened(EventChannels::open()); });
  auto unbound = guest_events.alloc_unbound(kBackend);
  auto bound = our_events.bind_interdomain(
      kGuest, static_cast<RemotePort>(static_cast<std::uint32_t>(unbound->local())));
  ASSERT_TRUE(our_events.next_pending()->has_value());  // of the bind
  ASSERT_TRUE(bound->unmask().has_value());
  auto page = guest.share_with_notify(kBackend, Access::kReadWrite,
                                      {.clear_byte = 12, .notify = unbound->local()});
  ASSERT_TRUE(page.has_value());
  auto map = backend.map(kGuest, page->refs().front(), 1, Access::kReadWrite);
  ASSERT_TRUE(map.has_value());
  page->bytes().store<std::uint8_t>(12, 1);

  page->unshare();

  EXPECT_EQ(map->bytes().load<std::uint8_t>(12), 0U);
  EXPECT_EQ(our_events.next_pending()->value(), bound->local());
}

TEST_F(GrantShareTest, AByteOutsideThePageCannotBeCleared) {
  EXPECT_EQ(
      guest.share_with_notify(kBackend, Access::kReadWrite, {.clear_byte = 4096, .notify = {}})
          .error()
          .error,
      EINVAL);
}

// ---- rings ------------------------------------------------------------------------------------

class RingPagesTest : public GrantShareTest {
 protected:
  static constexpr std::uint32_t kMaxOrder = 4;

  OfferedRing offer(std::uint32_t order) {
    return opened(OfferedRing::create(guest, kBackend, order));
  }
  Result<MappedRing, RingPagesError> map(const OfferedRing& ring) {
    return MappedRing::map(backend, kGuest, ring.ring_ref(), kMaxOrder);
  }
};

TEST_F(RingPagesTest, TheDeviceSideSeesTheDriverSidesRing) {
  for (std::uint32_t order = 0; order <= kMaxOrder; ++order) {
    OfferedRing offered = offer(order);
    const std::size_t size = kGrantPageSize << order;
    offered.data().store<std::uint32_t>(size - 4, 0xfeed);
    offered.interface_page().store_release32(VMSG_XEN_IF_OUT_PROD, 64);

    const auto mapped = map(offered);

    ASSERT_TRUE(mapped.has_value()) << "order " << order;
    EXPECT_EQ(mapped->order(), order);
    EXPECT_EQ(mapped->data().size(), size);
    EXPECT_EQ(mapped->data().load<std::uint32_t>(size - 4), 0xfeedU);
    EXPECT_EQ(mapped->interface_page().load_acquire32(VMSG_XEN_IF_OUT_PROD), 64U);
  }
}

TEST_F(RingPagesTest, TheReferencesOfARingNeedNotBeConsecutive) {
  xen.set_scattered_references(true);
  OfferedRing ring = offer(2);
  ring.data().store<std::uint32_t>(3 * kGrantPageSize, 3);

  const auto mapped = map(ring);

  ASSERT_TRUE(mapped.has_value());
  EXPECT_EQ(mapped->data().load<std::uint32_t>(3 * kGrantPageSize), 3U);
}

TEST_F(RingPagesTest, ConstantFieldsAreWhereTheDocumentPutsThem) {
  OfferedRing ring = offer(1);
  const SharedBytes page = ring.interface_page();

  EXPECT_EQ(page.load<std::uint8_t>(0x080), 'V');
  EXPECT_EQ(page.load<std::uint8_t>(0x083), 'X');
  EXPECT_EQ(page.load<Le32>(0x084).get(), 1U);
  const GrantRef first = page.load<Le32>(0x100).get();
  auto map_of_first = backend.map(kGuest, first, 1, Access::kReadWrite);
  ASSERT_TRUE(map_of_first.has_value());
  ring.data().store<std::uint32_t>(0, 77);
  EXPECT_EQ(map_of_first->bytes().load<std::uint32_t>(0), 77U);
}

TEST_F(RingPagesTest, AWrongMagicIsRefusedAndNamed) {
  OfferedRing ring = offer(0);
  ring.interface_page().store(VMSG_XEN_IF_MAGIC, Le32(0x31415926));

  EXPECT_EQ(map(ring).error(), (RingPagesError{RingFault::kMagic, 0x31415926, std::nullopt}));
  EXPECT_EQ(backend.mapped_pages(), 0U);
}

TEST_F(RingPagesTest, AnOrderBeyondTheOfferIsRefusedAndNamed) {
  OfferedRing ring = offer(0);
  for (const std::uint32_t order : {kMaxOrder + 1, 10U, 32U, 0xffffffffU}) {
    ring.interface_page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(order));

    EXPECT_EQ(map(ring).error(), (RingPagesError{RingFault::kOrder, order, std::nullopt}));
  }
}

TEST_F(RingPagesTest, TheInterfacePageHasRoomForTheLargestOrderOnly) {
  OfferedRing ring = offer(0);
  ring.interface_page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(10));

  const auto mapped = MappedRing::map(backend, kGuest, ring.ring_ref(), 31);

  EXPECT_EQ(mapped.error().fault, RingFault::kOrder);
}

TEST_F(RingPagesTest, ADataPageThatDoesNotMapGivesEverythingBack) {
  OfferedRing ring = offer(1);
  ring.interface_page().store(VMSG_XEN_IF_RING_REFS + 4, Le32(30000));

  const auto mapped = map(ring);

  ASSERT_FALSE(mapped.has_value());
  EXPECT_EQ(mapped.error().fault, RingFault::kDataPages);
  EXPECT_EQ(mapped.error().xen->domain, kGuest);
  EXPECT_EQ(backend.mapped_pages(), 0U);
}

TEST_F(RingPagesTest, ARingRefThatDoesNotMapIsNamed) {
  const auto mapped = MappedRing::map(backend, kGuest, 30000, kMaxOrder);

  EXPECT_EQ(mapped.error().fault, RingFault::kInterfacePage);
}

TEST_F(RingPagesTest, AReadOnlyInterfacePageIsRefused) {
  auto page = guest.share(kBackend, 1, Access::kReadOnly);
  ASSERT_TRUE(page.has_value());

  EXPECT_EQ(MappedRing::map(backend, kGuest, page->refs().front(), kMaxOrder).error().fault,
            RingFault::kInterfacePage);
}

TEST_F(RingPagesTest, WhatTheGuestChangesAfterwardsDoesNotMatter) {
  OfferedRing ring = offer(1);
  const auto mapped = map(ring);
  ASSERT_TRUE(mapped.has_value());

  ring.interface_page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(9));
  ring.interface_page().store(VMSG_XEN_IF_RING_REFS, Le32(30000));

  EXPECT_EQ(mapped->order(), 1U);
  EXPECT_EQ(mapped->data().size(), 2 * kGrantPageSize);
}

}  // namespace
}  // namespace vmsg::xen
