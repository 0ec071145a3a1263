// The driver side on its own: what it refuses, what it does with a device that lies, batches of an
// in-order device, and the notification data.
#include "transport/driver_queue.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

using ::testing::SizeIs;

const Segment kByte{GrantAddress::of(1), 1};
const std::array kBytes{kByte, kByte, kByte};

class DriverSide : public ::testing::TestWithParam<QueueFormat> {
 protected:
  [[nodiscard]] TestDriver make(const RingOptions& options) {
    RingOptions made = options;
    made.format = GetParam();
    made.size = 4;
    return {memory, made};
  }
  /// Writes a used entry at `position` as a device would; split devices move the index by `count`.
  void use(TestDriver& driver, std::uint32_t position, std::uint32_t id, std::uint32_t written,
           std::uint16_t count = 1) {
    const QueueAreas& areas = driver.areas();
    if (GetParam() == QueueFormat::kSplit) {
      areas.device.store_relaxed32(4 + 8 * (position % 4), id);
      areas.device.store_relaxed32(4 + 8 * (position % 4) + 4, written);
      areas.device.store_release16(2, static_cast<std::uint16_t>(position + count));
    } else {
      driver.descriptor(position % 4, [&](Descriptor& d) {
        d.tail = static_cast<std::uint16_t>(id);
        d.length = written;
        d.flags = position / 4 % 2 == 0 ? 0x8082 : 0x0002;
      });
    }
  }

  FakeGuestMemory memory;
};

INSTANTIATE_TEST_SUITE_P(BothFormats, DriverSide,
                         ::testing::Values(QueueFormat::kSplit, QueueFormat::kPacked),
                         [](const auto& variant) {
                           return variant.param == QueueFormat::kSplit ? "Split" : "Packed";
                         });

TEST_P(DriverSide, RefusesWhatCanNeverBeAdded) {
  TestDriver driver = make({.indirect = false});
  const IndirectTable table{GrantAddress::of(8), memory.shared(memory.allocate(4096), 4096)};
  const std::vector<Segment> five(5, kByte);
  const std::array huge{Segment{GrantAddress::of(1), 0xffffffffU}, kByte};

  EXPECT_EQ(driver.queue().add({}, {}, 0), AddOutcome::kRefused);
  EXPECT_EQ(driver.queue().add(five, {}, 0), AddOutcome::kRefused);
  EXPECT_EQ(driver.queue().add(kBytes, {}, 0, &table), AddOutcome::kRefused);
  EXPECT_EQ(driver.queue().add(huge, {}, 0), AddOutcome::kRefused);
  EXPECT_EQ(driver.queue().outstanding(), 0U);
  EXPECT_EQ(driver.queue().free_descriptors(), 4U);
}

TEST_P(DriverSide, RefusesATableThatIsTooSmall) {
  TestDriver driver = make({.indirect = true});
  const IndirectTable small{GrantAddress::of(8), memory.shared(memory.allocate(4096), 47)};

  EXPECT_EQ(driver.queue().add(kBytes, {}, 0, &small), AddOutcome::kRefused);
}

TEST_P(DriverSide, IsFullWhenTheDescriptorsAreOut) {
  TestDriver driver = make({.indirect = true});
  EXPECT_EQ(driver.queue().add(kBytes, {}, 0), AddOutcome::kAdded);
  EXPECT_EQ(driver.queue().free_descriptors(), 1U);

  EXPECT_EQ(driver.queue().add({kBytes.data(), 2}, {}, 1), AddOutcome::kFull);

  // A table takes one descriptor whatever it holds.
  EXPECT_EQ(driver.chain().indirect().readable_times(9, kByte).try_add(), AddOutcome::kAdded);
  EXPECT_EQ(driver.queue().outstanding(), 2U);
}

TEST_P(DriverSide, CookiesComeBackWithTheirBuffer) {
  TestDriver driver = make({});
  const std::uint64_t cookie = 0xfedcba9876543210U;
  ASSERT_EQ(driver.queue().add({}, kBytes, cookie), AddOutcome::kAdded);
  ASSERT_TRUE(driver.queue().publish());

  use(driver, 0, 0, 3);

  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{cookie, 3}));
  EXPECT_EQ(driver.queue().free_descriptors(), 4U);
}

// ---- a device that lies ------------------------------------------------------------------------

TEST_P(DriverSide, UsedIdThatDoesNotExist) {
  TestDriver driver = make({});
  driver.chain().writable_at(kByte).publish();

  use(driver, 0, 4, 0);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedUnknownId, 4}));
  // Putting it right afterwards does not help: the queue has an error.
  use(driver, 0, 0, 0);
  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedUnknownId, 4}));
}

TEST_P(DriverSide, UsedIdThatIsNotOut) {
  TestDriver driver = make({});
  driver.chain().writable_at(kByte).publish();

  use(driver, 0, 2, 0);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedUnknownId, 2}));
}

TEST_P(DriverSide, UsedTwice) {
  TestDriver driver = make({});
  driver.chain().writable_at(kByte).publish();
  driver.chain().writable_at(kByte).publish();
  use(driver, 0, 1, 1);
  ASSERT_EQ(*driver.queue().poll_used(), (UsedBuffer{1, 1}));

  use(driver, 1, 1, 1);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedUnknownId, 1}));
}

TEST_P(DriverSide, MoreWrittenThanThereIsRoom) {
  TestDriver driver = make({});
  driver.chain().readable_at(kByte).writable_at({GrantAddress::of(1), 100}).publish();

  use(driver, 0, 0, 101);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedLength, 101}));
}

TEST_P(DriverSide, WrittenToTheLastByteIsFine) {
  TestDriver driver = make({});
  driver.chain().readable_at(kByte).writable_at({GrantAddress::of(1), 100}).publish();

  use(driver, 0, 0, 100);

  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{0, 100}));
}

TEST(SplitDriverSide, UsedIndexThatRunsAway) {
  FakeGuestMemory memory;
  TestDriver driver(memory, {.format = QueueFormat::kSplit, .size = 4});
  driver.chain().writable_at(kByte).publish();

  driver.areas().device.store_release16(2, 2);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedRunaway, 2}));
}

TEST(SplitDriverSide, TheSharedTableIsWrittenAndNeverRead) {
  QueuePair pair({.format = QueueFormat::kSplit, .size = 4});
  pair.driver.chain().readable(1).readable(1).writable(1).publish();
  pair.device.complete(pair.take_one(), 1);
  static_cast<void>(pair.device.publish());

  // A device that scribbles over the links before the driver takes the chain back.
  for (std::uint32_t i = 0; i < 4; ++i) {
    pair.driver.descriptor(i, [](Descriptor& d) { d.tail = 0xffff, d.flags = 0xffff; });
  }

  EXPECT_EQ(pair.driver.poll()->written, 1U);
  EXPECT_EQ(pair.driver.queue().free_descriptors(), 4U);
  pair.driver.chain().readable(1).readable(1).readable(1).writable(1).publish();
  Chain taken = pair.take_one();
  EXPECT_THAT(taken.readable(), SizeIs(3));
  pair.device.complete(std::move(taken), 0);
}

TEST(PackedDriverSide, WithoutWriteTheLengthMeansNothing) {
  FakeGuestMemory memory;
  TestDriver driver(memory, {.format = QueueFormat::kPacked, .size = 4});
  driver.chain().writable_at({GrantAddress::of(1), 100}).publish();

  driver.descriptor(0, [](Descriptor& d) { d.flags = 0x8080, d.length = 0xffffffffU; });

  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{0, 0}));
}

// ---- in-order batches --------------------------------------------------------------------------

TEST_P(DriverSide, InOrderDevicesMayNameOnlyTheLastOfABatch) {
  TestDriver driver = make({.in_order = true});
  driver.chain().writable_at({GrantAddress::of(1), 10}).add();
  driver.chain().readable_at(kByte).writable_at({GrantAddress::of(2), 20}).add();
  driver.chain().writable_at({GrantAddress::of(3), 30}).add();
  ASSERT_TRUE(driver.queue().publish());
  // The last of the three has the last id: 3 in a split ring (its head), 2 in a packed one.
  const std::uint32_t last = GetParam() == QueueFormat::kSplit ? 3 : 2;

  use(driver, 0, last, 7, 3);

  // The skipped ones were used completely; only the named one can be short.
  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{0, 10}));
  EXPECT_TRUE(driver.queue().enable_callbacks());
  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{1, 20}));
  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{2, 7}));
  EXPECT_EQ(*driver.queue().poll_used(), std::nullopt);
  EXPECT_FALSE(driver.queue().enable_callbacks());
  EXPECT_EQ(driver.queue().free_descriptors(), 4U);
}

TEST_P(DriverSide, TheEntryAfterABatchLiesBehindAllOfIt) {
  TestDriver driver = make({.in_order = true});
  for (int i = 0; i < 3; ++i) driver.chain().writable_at(kByte).publish();

  use(driver, 0, 1, 1, 2);
  ASSERT_EQ(driver.queue().poll_used().value()->cookie, 0U);
  ASSERT_EQ(driver.queue().poll_used().value()->cookie, 1U);
  use(driver, 2, 2, 1);

  EXPECT_EQ(*driver.queue().poll_used(), (UsedBuffer{2, 1}));
}

TEST(SplitDriverSide, InOrderBatchBeyondTheUsedIndex) {
  FakeGuestMemory memory;
  TestDriver driver(memory, {.format = QueueFormat::kSplit, .size = 4, .in_order = true});
  for (int i = 0; i < 3; ++i) driver.chain().writable_at(kByte).publish();

  // The third buffer, but the index says that only two were used.
  driver.areas().device.store_relaxed32(4, 2);
  driver.areas().device.store_release16(2, 2);

  EXPECT_EQ(driver.queue().poll_used().error(), (QueueError{QueueFault::kUsedOrder, 2}));
}

// ---- notification data -------------------------------------------------------------------------

TEST(SplitDriverSide, NotificationDataIsTheAvailableIndex) {
  QueuePair pair({.format = QueueFormat::kSplit, .size = 4});
  EXPECT_EQ(pair.driver.queue().notification_data(), 0U);

  for (std::uint32_t i = 1; i <= 0x10002; ++i) {
    pair.driver.chain().writable(1).publish();
    ASSERT_EQ(pair.driver.queue().notification_data(), i & 0xffff);
    pair.device.complete(pair.take_one(), 0);
    static_cast<void>(pair.device.publish());
    static_cast<void>(pair.driver.poll());
  }
}

TEST(PackedDriverSide, NotificationDataIsTheNextSlotAndItsWrapCounter) {
  QueuePair pair({.format = QueueFormat::kPacked, .size = 3});
  const std::uint32_t wrap = std::uint32_t{1} << 31;
  EXPECT_EQ(pair.driver.queue().notification_data(), wrap | 0);

  std::vector<std::uint32_t> seen;
  for (int i = 0; i < 4; ++i) {
    pair.driver.chain().readable(1).writable(1).publish();
    seen.push_back(pair.driver.queue().notification_data());
    pair.device.complete(pair.take_one(), 0);
    static_cast<void>(pair.device.publish());
    static_cast<void>(pair.driver.poll());
  }

  EXPECT_THAT(seen, ::testing::ElementsAre(wrap | 2, 1, wrap | 0, wrap | 2));
}

TEST_P(DriverSide, NotificationDataIsOfWhatWasPublished) {
  TestDriver driver = make({});
  const std::uint32_t before = driver.queue().notification_data();

  driver.chain().writable_at(kByte).add();

  EXPECT_EQ(driver.queue().notification_data(), before);
}

}  // namespace
}  // namespace vmsg::test
