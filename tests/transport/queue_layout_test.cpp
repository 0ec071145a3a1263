// Where things lie: sizes and alignments, what a driver may ask for, and the bytes of each area as
// the virtio specification draws them, written down by hand.
#include "transport/queue_layout.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/support/queue_pair.hpp"

namespace vmsg {
namespace {

using test::FakeGuestMemory;
using test::QueuePair;
using test::TestDriver;
using ::testing::ElementsAreArray;

TEST(QueueLayout, SizesOfEachArea) {
  EXPECT_EQ(area_sizes(QueueFormat::kSplit, 1), (AreaNumbers{16, 8, 14}));
  EXPECT_EQ(area_sizes(QueueFormat::kSplit, 256), (AreaNumbers{4096, 518, 2054}));
  EXPECT_EQ(area_sizes(QueueFormat::kSplit, 32768), (AreaNumbers{524288, 65542, 262150}));
  EXPECT_EQ(area_sizes(QueueFormat::kPacked, 1), (AreaNumbers{16, 4, 4}));
  EXPECT_EQ(area_sizes(QueueFormat::kPacked, 32768), (AreaNumbers{524288, 4, 4}));
}

TEST(QueueLayout, SizesThatAQueueMayHave) {
  EXPECT_FALSE(is_valid_queue_size(QueueFormat::kSplit, 0));
  EXPECT_TRUE(is_valid_queue_size(QueueFormat::kSplit, 1));
  EXPECT_FALSE(is_valid_queue_size(QueueFormat::kSplit, 3));
  EXPECT_TRUE(is_valid_queue_size(QueueFormat::kSplit, 32768));
  EXPECT_FALSE(is_valid_queue_size(QueueFormat::kSplit, 65536));
  EXPECT_FALSE(is_valid_queue_size(QueueFormat::kPacked, 0));
  EXPECT_TRUE(is_valid_queue_size(QueueFormat::kPacked, 3));
  EXPECT_TRUE(is_valid_queue_size(QueueFormat::kPacked, 32768));
  EXPECT_FALSE(is_valid_queue_size(QueueFormat::kPacked, 32769));
}

constexpr AreaNumbers kGood{0x10000, 0x20004, 0x30004};

TEST(QueueLayout, AcceptsWhatIsAlignedAndFits) {
  EXPECT_EQ(find_layout_fault(QueueFormat::kSplit, 8, kGood), std::nullopt);
  EXPECT_EQ(find_layout_fault(QueueFormat::kSplit, 8, {0x10, 0x2, 0x4}), std::nullopt);
  EXPECT_EQ(find_layout_fault(QueueFormat::kPacked, 7, kGood), std::nullopt);
}

TEST(QueueLayout, NamesWhatIsWrongWithAnAddress) {
  const auto fault = [](QueueFormat format, const AreaNumbers& addresses) {
    return find_layout_fault(format, 8, addresses);
  };
  const auto split = QueueFormat::kSplit;
  const auto packed = QueueFormat::kPacked;

  EXPECT_EQ(fault(split, {0, 2, 4}), (QueueError{QueueFault::kBadAddress, 0}));
  EXPECT_EQ(fault(split, {16, 0, 4}), (QueueError{QueueFault::kBadAddress, 0}));
  EXPECT_EQ(fault(split, {16, 2, 0}), (QueueError{QueueFault::kBadAddress, 0}));
  EXPECT_EQ(fault(split, {8, 2, 4}), (QueueError{QueueFault::kMisaligned, 8}));
  EXPECT_EQ(fault(split, {16, 1, 4}), (QueueError{QueueFault::kMisaligned, 1}));
  EXPECT_EQ(fault(split, {16, 2, 2}), (QueueError{QueueFault::kMisaligned, 2}));
  EXPECT_EQ(fault(packed, {16, 2, 4}), (QueueError{QueueFault::kMisaligned, 2}));
  EXPECT_EQ(fault(packed, {16, 4, 2}), (QueueError{QueueFault::kMisaligned, 2}));
  EXPECT_EQ(find_layout_fault(split, 6, kGood), (QueueError{QueueFault::kBadSize, 6}));
}

TEST(QueueLayout, AnAreaMayEndAtTheEndOfTheAddressSpaceAndNotBehind) {
  const std::uint64_t end = 0;  // 2^64
  const auto split = QueueFormat::kSplit;

  EXPECT_EQ(find_layout_fault(split, 8, {end - 128, 2, 4}), std::nullopt);
  EXPECT_EQ(find_layout_fault(split, 8, {end - 112, 2, 4}),
            (QueueError{QueueFault::kRangeEnd, end - 112}));
  EXPECT_EQ(find_layout_fault(split, 8, {16, end - 22, 4}), std::nullopt);
  EXPECT_EQ(find_layout_fault(split, 8, {16, end - 20, 4}),
            (QueueError{QueueFault::kRangeEnd, end - 20}));
}

// ---- create ------------------------------------------------------------------------------------

class CreateQueue : public ::testing::Test {
 protected:
  [[nodiscard]] QueueError error(const QueueOptions& options) {
    const auto queue = DeviceQueue::create(options);
    return queue ? QueueError{QueueFault::kAbandoned} : queue.error();
  }

  FakeGuestMemory memory;
  TestDriver driver{memory, {.format = QueueFormat::kSplit, .size = 8}};
  QueueOptions valid{.format = QueueFormat::kSplit, .size = 8, .areas = driver.areas()};
};

TEST_F(CreateQueue, TakesEverySizeOfBothFormats) {
  for (std::uint32_t size = 1; size <= kMaxQueueSize; size *= 2) {
    for (const auto format : {QueueFormat::kSplit, QueueFormat::kPacked}) {
      QueuePair pair({.format = format, .size = size}, {.max_chain_segments = 2});
      ASSERT_EQ(pair.device.size(), size);
      static_cast<void>(pair.driver.chain().writable(1).publish());
      pair.device.complete(pair.take_one(), 1);
      ASSERT_TRUE(pair.device.publish());
      ASSERT_TRUE(pair.driver.poll().has_value());
    }
  }
}

TEST_F(CreateQueue, RefusesAreasThatAreTooSmall) {
  QueueOptions options = valid;
  options.areas.descriptors = options.areas.descriptors.sub(0, 127);
  EXPECT_EQ(error(options), (QueueError{QueueFault::kAreaTooSmall, 127}));

  options = valid;
  options.areas.driver = options.areas.driver.sub(0, 21);
  EXPECT_EQ(error(options), (QueueError{QueueFault::kAreaTooSmall, 21}));

  options = valid;
  options.areas.device = options.areas.device.sub(0, 69);
  EXPECT_EQ(error(options), (QueueError{QueueFault::kAreaTooSmall, 69}));
}

TEST_F(CreateQueue, RefusesAreasThatAreMisaligned) {
  const GrantAddress at = memory.allocate(4096);
  QueueOptions options = valid;
  options.areas.descriptors = memory.shared(at, 4096).sub(8, 128);
  EXPECT_EQ(error(options), (QueueError{QueueFault::kMisaligned, 16}));

  options = valid;
  options.areas.device = memory.shared(at, 4096).sub(2, 128);
  EXPECT_EQ(error(options), (QueueError{QueueFault::kMisaligned, 4}));
}

TEST_F(CreateQueue, RefusesSizesAndLimits) {
  QueueOptions options = valid;
  options.size = 6;
  EXPECT_EQ(error(options), (QueueError{QueueFault::kBadSize, 6}));

  options = valid;
  options.max_chain_segments = 0;
  EXPECT_EQ(error(options), (QueueError{QueueFault::kBadLimit, 0}));
  options.max_chain_segments = 32769;
  EXPECT_EQ(error(options), (QueueError{QueueFault::kBadLimit, 32769}));

  options = valid;
  options.max_in_flight = 9;
  EXPECT_EQ(error(options), (QueueError{QueueFault::kBadLimit, 9}));
}

// ---- bytes -------------------------------------------------------------------------------------

using Bytes = std::vector<std::uint8_t>;

Bytes dump(const SharedBytes& area, std::size_t offset, std::size_t size) {
  Bytes copy(size);
  area.copy_out(offset, std::as_writable_bytes(std::span(copy)));
  return copy;
}

void poke(const SharedBytes& area, std::size_t offset, const Bytes& bytes) {
  area.copy_in(offset, std::as_bytes(std::span(bytes)));
}

// Reference 0x12345, offset 0x678: 0x8000'0000'1234'5678.
const Segment kRead{GrantAddress::of(0x12345, 0x678), 0x200};
const Segment kWritten{GrantAddress::of(0xabcde, 0xff0), 0x01020304};

TEST(SplitBytes, OfAChainAndItsCompletion) {
  QueuePair pair({.format = QueueFormat::kSplit, .size = 4});
  const auto& areas = pair.driver.areas();

  pair.driver.chain().readable_at(kRead).writable_at(kWritten).publish();

  EXPECT_THAT(dump(areas.descriptors, 0, 32),
              ElementsAreArray({0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x80,  // address
                                0x00, 0x02, 0x00, 0x00,                          // length
                                0x01, 0x00, 0x01, 0x00,                          // NEXT, next 1
                                0xf0, 0xef, 0xcd, 0xab, 0x00, 0x00, 0x00, 0x80,  //
                                0x04, 0x03, 0x02, 0x01,                          //
                                0x02, 0x00, 0x00, 0x00}));                       // WRITE
  EXPECT_THAT(dump(areas.driver, 0, 8), ElementsAreArray({0, 0, 1, 0, 0, 0, 0, 0}));

  pair.device.complete(pair.take_one(), 0x00aabbcc);
  static_cast<void>(pair.device.publish());

  EXPECT_THAT(dump(areas.device, 0, 12),
              ElementsAreArray({0, 0, 1, 0, 0, 0, 0, 0, 0xcc, 0xbb, 0xaa, 0x00}));
}

TEST(SplitBytes, AreReadAsDrawn) {
  QueuePair pair({.format = QueueFormat::kSplit, .size = 4});
  const auto& areas = pair.driver.areas();
  // Entry 2 goes on at entry 3; entry 2 is the first available.
  poke(areas.descriptors, 32, {0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x80,  //
                               0x00, 0x02, 0x00, 0x00, 0x01, 0x00, 0x03, 0x00,  //
                               0xf0, 0xef, 0xcd, 0xab, 0x00, 0x00, 0x00, 0x80,  //
                               0x04, 0x03, 0x02, 0x01, 0x02, 0x00, 0x00, 0x00});
  poke(areas.driver, 0, {0, 0, 1, 0, 2, 0});

  Chain taken = pair.take_one();

  EXPECT_EQ(taken.head(), 2);
  EXPECT_THAT(taken.readable(), ElementsAreArray({kRead}));
  EXPECT_THAT(taken.writable(), ElementsAreArray({kWritten}));
  pair.device.complete(std::move(taken), 0);
}

TEST(SplitBytes, OfEventsAndFlags) {
  QueuePair flags({.format = QueueFormat::kSplit, .size = 4});
  flags.device.disable_notifications();
  flags.driver.queue().disable_callbacks();
  EXPECT_THAT(dump(flags.driver.areas().device, 0, 2), ElementsAreArray({1, 0}));
  EXPECT_THAT(dump(flags.driver.areas().driver, 0, 2), ElementsAreArray({1, 0}));

  QueuePair events({.format = QueueFormat::kSplit, .size = 4, .event_idx = true});
  events.driver.chain().writable(1).publish();
  events.device.complete(events.take_one(), 1);
  static_cast<void>(events.device.publish());
  static_cast<void>(events.driver.poll());
  static_cast<void>(events.device.enable_notifications());
  static_cast<void>(events.driver.queue().enable_callbacks());
  EXPECT_THAT(dump(events.driver.areas().device, 4 + 4 * 8, 2), ElementsAreArray({1, 0}));
  EXPECT_THAT(dump(events.driver.areas().driver, 4 + 4 * 2, 2), ElementsAreArray({1, 0}));

  // Behind what the driver fills next.
  events.device.disable_notifications();
  EXPECT_THAT(dump(events.driver.areas().device, 4 + 4 * 8, 2), ElementsAreArray({0, 0}));
}

TEST(SplitBytes, OfAWishThatTheDriverHasPassedAlready) {
  QueuePair pair({.format = QueueFormat::kSplit, .size = 4, .event_idx = true});
  static_cast<void>(pair.device.enable_notifications());
  pair.driver.chain().writable(1).publish();
  pair.driver.areas().device.store(4 + 4 * 8, std::uint8_t{0x5a});

  // Nothing is written: a line of memory that both sides use stays where it is.
  pair.device.disable_notifications();

  EXPECT_THAT(dump(pair.driver.areas().device, 4 + 4 * 8, 1), ElementsAreArray({0x5a}));
  pair.device.complete(pair.take_one(), 0);
}

TEST(PackedBytes, OfAChainAndItsCompletion) {
  QueuePair pair({.format = QueueFormat::kPacked, .size = 3});
  const auto& areas = pair.driver.areas();

  pair.driver.chain().readable_at(kRead).writable_at(kWritten).publish();

  EXPECT_THAT(dump(areas.descriptors, 0, 32),
              ElementsAreArray({0x78, 0x56, 0x34, 0x12, 0x00, 0x00, 0x00, 0x80,  // address
                                0x00, 0x02, 0x00, 0x00,                          // length
                                0x00, 0x00, 0x81, 0x00,                          // id, AVAIL NEXT
                                0xf0, 0xef, 0xcd, 0xab, 0x00, 0x00, 0x00, 0x80,  //
                                0x04, 0x03, 0x02, 0x01,                          //
                                0x00, 0x00, 0x82, 0x00}));                       // AVAIL WRITE

  pair.device.complete(pair.take_one(), 0x00aabbcc);
  static_cast<void>(pair.device.publish());

  EXPECT_THAT(dump(areas.descriptors, 8, 8),
              ElementsAreArray({0xcc, 0xbb, 0xaa, 0x00, 0x00, 0x00, 0x82, 0x80}));
}

TEST(PackedBytes, OfTheSecondLap) {
  QueuePair pair({.format = QueueFormat::kPacked, .size = 2});
  const auto& areas = pair.driver.areas();
  for (int i = 0; i < 2; ++i) {
    pair.driver.chain().readable(1).publish();
    pair.device.complete(pair.take_one(), 0);
    static_cast<void>(pair.device.publish());
    static_cast<void>(pair.driver.poll());
  }

  pair.driver.chain().readable(1).publish();
  EXPECT_THAT(dump(areas.descriptors, 14, 2), ElementsAreArray({0x00, 0x80}));  // USED alone

  pair.device.complete(pair.take_one(), 0);
  static_cast<void>(pair.device.publish());
  EXPECT_THAT(dump(areas.descriptors, 14, 2), ElementsAreArray({0x00, 0x00}));  // neither
}

TEST(PackedBytes, OfEventsAndFlags) {
  QueuePair flags({.format = QueueFormat::kPacked, .size = 4});
  flags.device.disable_notifications();
  flags.driver.queue().disable_callbacks();
  EXPECT_THAT(dump(flags.driver.areas().device, 0, 4), ElementsAreArray({0, 0, 1, 0}));
  EXPECT_THAT(dump(flags.driver.areas().driver, 0, 4), ElementsAreArray({0, 0, 1, 0}));

  QueuePair events({.format = QueueFormat::kPacked, .size = 4, .event_idx = true});
  events.driver.chain().writable(1).publish();
  events.device.complete(events.take_one(), 1);
  static_cast<void>(events.device.publish());
  static_cast<void>(events.driver.poll());
  static_cast<void>(events.device.enable_notifications());
  static_cast<void>(events.driver.queue().enable_callbacks());
  EXPECT_THAT(dump(events.driver.areas().device, 0, 4), ElementsAreArray({1, 0x80, 2, 0}));
  EXPECT_THAT(dump(events.driver.areas().driver, 0, 4), ElementsAreArray({1, 0x80, 2, 0}));
}

}  // namespace
}  // namespace vmsg
