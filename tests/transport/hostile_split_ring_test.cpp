// The rules of the split format alone: indices, heads, `next` links, in the ring and in tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::SizeIs;

class HostileSplitRing : public ::testing::Test {
 protected:
  void set_avail_idx(std::uint16_t value) {
    pair.driver.areas().driver.store_release16(vring::kRingIdx, value);
  }
  void set_avail_entry(std::uint32_t position, std::uint16_t head) {
    pair.driver.areas().driver.store_relaxed16(vring::kRingEntries + 2 * position, head);
  }

  QueuePair pair{{.format = QueueFormat::kSplit, .size = 4, .indirect = true}};
};

// rules: HOSTILE-3
TEST_F(HostileSplitRing, MoreAvailableThanTheQueueHas) {
  set_avail_idx(5);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kIndexRunaway, 5}));
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, AvailableIndexThatGoesBack) {
  pair.driver.chain().readable(1).publish();
  Chain taken = pair.take_one();
  set_avail_idx(0);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kIndexRunaway, 0xffff}));
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, HeadOutsideTheTable) {
  pair.driver.chain().readable(1).publish();
  set_avail_entry(0, 4);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadIndex, 4}));
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, NextOutsideTheTable) {
  pair.driver.chain().readable(1).writable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.tail = 4; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadIndex, 4}));
}

TEST_F(HostileSplitRing, NextWithoutTheFlagIsNotLookedAt) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.tail = 0xffff; });

  Chain taken = pair.take_one();
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, ChainThatBitesItsTail) {
  pair.driver.chain().readable(1).readable(1).publish();
  pair.driver.descriptor(1, [](Descriptor& d) { d.flags |= vring::kNext, d.tail = 0; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainLoop, 0}));
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, DescriptorThatFollowsItself) {
  pair.driver.chain().readable(1).publish();
  // Empty, so that nothing but the count of descriptors ends the walk.
  pair.driver.descriptor(0,
                         [](Descriptor& d) { d.flags |= vring::kNext, d.tail = 0, d.length = 0; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainLoop, 0}));
}

TEST_F(HostileSplitRing, ChainOfTheWholeRing) {
  pair.driver.chain().readable(1).readable(1).writable(1).writable(1).publish();

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), SizeIs(2));
  EXPECT_THAT(taken.writable(), SizeIs(2));
  pair.device.complete(std::move(taken), 0);
}

TEST_F(HostileSplitRing, UnknownFlags) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags = 8; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kUnknownFlags, 8}));
}

TEST_F(HostileSplitRing, HeadThatIsNotGivenBackYet) {
  pair.driver.chain().readable(1).publish();
  Chain taken = pair.take_one();
  set_avail_entry(1, 0);
  set_avail_idx(2);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kIdInFlight, 0}));
  pair.device.complete(std::move(taken), 0);
}

TEST_F(HostileSplitRing, HeadTwiceInOneTurn) {
  pair.driver.chain().readable(1).add();
  set_avail_entry(1, 0);
  set_avail_idx(2);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kIdInFlight, 0}));
}

// Two chains over the same descriptors: each looks fine, together they are more than there are.
TEST_F(HostileSplitRing, MoreDescriptorsOutThanTheRingHas) {
  pair.driver.chain().readable(1).readable(1).readable(1).publish();
  set_avail_entry(1, 1);
  set_avail_idx(2);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kTooManyInFlight, 5}));
}

TEST_F(HostileSplitRing, DirectDescriptorsBeforeATable) {
  // A device has to handle direct descriptors followed by one that refers to a table.
  pair.driver.chain().readable(1).readable(2).publish();
  const auto table = pair.driver.chain().readable(3).writable(4).indirect().add();
  const Segment link = pair.driver.table_of(table);
  pair.driver.descriptor(1, [&](Descriptor& d) {
    d.address = link.address.raw(), d.length = link.length, d.flags = vring::kIndirect;
  });

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(),
              ElementsAre(pair.driver.readable_of(0)[0], pair.driver.readable_of(table)[0]));
  EXPECT_THAT(taken.writable(), ElementsAre(pair.driver.writable_of(table)[0]));
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, ReadableInATableBehindAWritableDescriptor) {
  pair.driver.chain().writable(1).writable(2).publish();
  const auto table = pair.driver.chain().readable(3).indirect().add();
  const Segment link = pair.driver.table_of(table);
  pair.driver.descriptor(1, [&](Descriptor& d) {
    d.address = link.address.raw(), d.length = link.length, d.flags = vring::kIndirect;
  });

  EXPECT_EQ(pair.take_error().fault, QueueFault::kReadAfterWrite);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, TableThatIsTooLongWithTheDescriptorsBeforeIt) {
  QueuePair tight({.format = QueueFormat::kSplit, .size = 4, .indirect = true},
                  {.max_chain_segments = 2});
  tight.driver.chain().readable(1).readable(2).publish();
  const auto table = tight.driver.chain().readable(3).writable(4).indirect().add();
  const Segment link = tight.driver.table_of(table);
  tight.driver.descriptor(1, [&](Descriptor& d) {
    d.address = link.address.raw(), d.length = link.length, d.flags = vring::kIndirect;
  });

  EXPECT_EQ(tight.take_error(), (QueueError{QueueFault::kChainTooLong, 3}));
  EXPECT_EQ(tight.fetch.pending(), 0U);
}

TEST_F(HostileSplitRing, TableEntriesMayFollowEachOtherInAnyOrder) {
  const auto request = pair.driver.chain().readable(1).readable(2).readable(3).indirect().add();
  pair.driver.table_entry(request, 0, [](Descriptor& d) { d.tail = 2; });
  pair.driver.table_entry(request, 2, [](Descriptor& d) { d.flags |= vring::kNext, d.tail = 1; });
  pair.driver.table_entry(request, 1, [](Descriptor& d) { d.flags = 0; });
  static_cast<void>(pair.driver.queue().publish());

  Chain taken = pair.take_one();

  const auto& parts = pair.driver.readable_of(request);
  EXPECT_THAT(taken.readable(), ElementsAre(parts[0], parts[2], parts[1]));
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, TableEntryThatFollowsItself) {
  const auto request = pair.driver.chain().readable(1).readable(2).indirect().add();
  pair.driver.table_entry(request, 1, [](Descriptor& d) { d.flags |= vring::kNext, d.tail = 1; });
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error().fault, QueueFault::kChainLoop);
}

// rules: HOSTILE-3
TEST_F(HostileSplitRing, TableEntryThatNamesOneBehindTheTable) {
  const auto request = pair.driver.chain().readable(1).readable(2).indirect().add();
  pair.driver.table_entry(request, 0, [](Descriptor& d) { d.tail = 2; });
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadIndex, 2}));
}

TEST_F(HostileSplitRing, UnknownFlagsInATable) {
  const auto request = pair.driver.chain().readable(1).indirect().add();
  pair.driver.table_entry(request, 0, [](Descriptor& d) { d.flags |= 0x80; });
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kUnknownFlags, 0x80}));
}

TEST_F(HostileSplitRing, InOrderHeadsAreNeighbours) {
  QueuePair ordered({.format = QueueFormat::kSplit, .size = 4, .in_order = true});
  ordered.driver.chain().readable(1).readable(1).publish();
  ordered.driver.chain().readable(1).publish();
  ordered.driver.areas().driver.store_relaxed16(vring::kRingEntries + 2, 3);

  EXPECT_EQ(ordered.take_error(), (QueueError{QueueFault::kOutOfOrder, 3}));
}

TEST_F(HostileSplitRing, InOrderChainsAreNeighbours) {
  QueuePair ordered({.format = QueueFormat::kSplit, .size = 4, .in_order = true});
  ordered.driver.chain().readable(1).readable(1).publish();
  ordered.driver.descriptor(0, [](Descriptor& d) { d.tail = 2; });

  EXPECT_EQ(ordered.take_error(), (QueueError{QueueFault::kOutOfOrder, 2}));
}

// What the driver owns alone is mapped read-only, so that a write would end the process.
TEST_F(HostileSplitRing, TheDeviceNeverWritesTableOrAvailableRing) {
  const auto& areas = pair.driver.areas();
  const auto snapshot = [](const SharedBytes& area) {
    std::vector<std::byte> copy(area.size());
    area.copy_out(0, copy);
    return copy;
  };
  pair.driver.chain().readable(1).writable(1).publish();
  pair.driver.chain().writable(1).indirect().publish();
  const auto table = snapshot(areas.descriptors);
  const auto available = snapshot(areas.driver);

  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(2));
  for (Chain& each : *chains) pair.device.complete(std::move(each), 1);
  static_cast<void>(pair.device.publish());
  pair.device.disable_notifications();
  static_cast<void>(pair.device.enable_notifications());

  EXPECT_EQ(snapshot(areas.descriptors), table);
  EXPECT_EQ(snapshot(areas.driver), available);
}

}  // namespace
}  // namespace vmsg::test
