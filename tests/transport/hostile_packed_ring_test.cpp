// The rules of the packed format alone: wrap counters, buffer ids, chains in ring order, tables.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class HostilePackedRing : public ::testing::Test {
 protected:
  QueuePair pair{{.format = QueueFormat::kPacked, .size = 4, .indirect = true}};
};

TEST_F(HostilePackedRing, BothBitsOfThisLapAreNotAvailable) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags |= vring::kPackedUsed; });

  EXPECT_THAT(*pair.take(), IsEmpty());
}

TEST_F(HostilePackedRing, TheBitsOfTheOtherLapAreNotAvailable) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags = vring::kPackedUsed; });

  EXPECT_THAT(*pair.take(), IsEmpty());
}

// rules: HOSTILE-3
TEST_F(HostilePackedRing, ChainIntoADescriptorThatIsNotAvailable) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags |= vring::kNext; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kNotAvailable, 1}));
}

// rules: HOSTILE-3
TEST_F(HostilePackedRing, ChainAroundTheWholeRingIntoItself) {
  pair.driver.chain().readable(1).readable(1).readable(1).readable(1).publish();
  pair.driver.descriptor(3, [](Descriptor& d) { d.flags |= vring::kNext; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainLoop, 0}));
}

TEST_F(HostilePackedRing, ChainOfTheWholeRing) {
  pair.driver.chain().readable(1).readable(1).writable(1).writable(1).publish();

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), SizeIs(2));
  EXPECT_THAT(taken.writable(), SizeIs(2));
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_F(HostilePackedRing, BufferIdOutsideTheRing) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.tail = 4; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadIndex, 4}));
}

TEST_F(HostilePackedRing, OnlyTheLastDescriptorsIdCounts) {
  pair.driver.chain().readable(1).readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.tail = 0xffff; });

  Chain taken = pair.take_one();

  EXPECT_EQ(taken.head(), 0);
  pair.device.complete(std::move(taken), 0);
}

TEST_F(HostilePackedRing, BufferIdThatIsNotGivenBackYet) {
  pair.driver.chain().readable(1).publish();
  Chain taken = pair.take_one();
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(1, [](Descriptor& d) { d.tail = 0; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kIdInFlight, 0}));
  pair.device.complete(std::move(taken), 0);
}

// The next lap over a descriptor that was not used yet.
TEST_F(HostilePackedRing, MoreDescriptorsOutThanTheRingHas) {
  for (int i = 0; i < 2; ++i) pair.driver.chain().readable(1).readable(1).publish();
  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(2));
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags = vring::kPackedUsed, d.tail = 3; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kTooManyInFlight, 5}));
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
}

TEST_F(HostilePackedRing, UnknownFlags) {
  pair.driver.chain().readable(1).publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags |= 8; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kUnknownFlags, 8 | vring::kPackedAvail}));
}

// rules: HOSTILE-3
TEST_F(HostilePackedRing, TableBehindADirectDescriptor) {
  pair.driver.chain().readable(1).readable(2).publish();
  pair.driver.descriptor(1, [](Descriptor& d) { d.flags |= vring::kIndirect; });

  EXPECT_EQ(pair.take_error().fault, QueueFault::kIndirectAndNext);
}

TEST_F(HostilePackedRing, FlagsWithoutMeaningInATableAreIgnored) {
  const auto request = pair.driver.chain().readable(1).readable(2).indirect().add();
  pair.driver.table_entry(request, 0, [](Descriptor& d) { d.flags |= 0x80f9, d.tail = 0xffff; });
  static_cast<void>(pair.driver.queue().publish());

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), ElementsAreArray(pair.driver.readable_of(request)));
  pair.device.complete(std::move(taken), 0);
}

TEST_F(HostilePackedRing, SizesNeedNotBePowersOfTwo) {
  QueuePair odd({.format = QueueFormat::kPacked, .size = 7});

  for (int lap = 0; lap < 50; ++lap) {
    odd.driver.chain().readable(1).writable(1).writable(1).publish();
    odd.driver.chain().readable(1).writable(1).publish();
    auto chains = odd.take();
    ASSERT_THAT(*chains, SizeIs(2));
    odd.device.complete(std::move((*chains)[1]), 1);
    odd.device.complete(std::move((*chains)[0]), 2);
    static_cast<void>(odd.device.publish());
    ASSERT_THAT(odd.driver.poll_all(), SizeIs(2));
  }
}

TEST_F(HostilePackedRing, TheDeviceNeverWritesTheDriverArea) {
  pair.driver.queue().disable_callbacks();
  const auto before = pair.driver.areas().driver.load_relaxed32(0);
  pair.driver.chain().writable(1).publish();

  pair.device.complete(pair.take_one(), 1);
  EXPECT_FALSE(pair.device.publish());
  pair.device.disable_notifications();
  static_cast<void>(pair.device.enable_notifications());

  EXPECT_EQ(pair.driver.areas().driver.load_relaxed32(0), before);
}

}  // namespace
}  // namespace vmsg::test
