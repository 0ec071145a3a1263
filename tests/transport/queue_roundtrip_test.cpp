// What both formats do alike, with and without each feature: chains go over with their bytes, come
// back once with theirs, in every order that is allowed.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class QueueRoundtrip : public ::testing::TestWithParam<RingOptions> {
 protected:
  [[nodiscard]] static RingOptions ring(std::uint32_t size = 8) {
    RingOptions ring = GetParam();
    ring.size = size;
    return ring;
  }
  [[nodiscard]] static TestDriver::ChainToBe chain(QueuePair& pair) {
    return GetParam().indirect ? pair.driver.chain().indirect() : pair.driver.chain();
  }
};

INSTANTIATE_TEST_SUITE_P(AllFeatures, QueueRoundtrip, ::testing::ValuesIn(all_ring_options()),
                         [](const auto& variant) { return name_of(variant.param); });

TEST_P(QueueRoundtrip, AnEmptyRingHasNothing) {
  QueuePair pair(ring());

  EXPECT_THAT(*pair.take(), IsEmpty());
  EXPECT_FALSE(pair.device.publish());
  EXPECT_FALSE(pair.device.enable_notifications());
  EXPECT_FALSE(pair.driver.poll().has_value());
}

TEST_P(QueueRoundtrip, AChainHasItsSegmentsAndBytes) {
  QueuePair pair(ring());
  const auto request =
      chain(pair).at_offset(4090).readable(bytes(16)).readable(bytes(3, 100)).writable(512).add();
  EXPECT_TRUE(pair.driver.queue().publish());

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), ::testing::ElementsAreArray(pair.driver.readable_of(request)));
  EXPECT_THAT(taken.writable(), ::testing::ElementsAreArray(pair.driver.writable_of(request)));
  EXPECT_EQ(taken.readable_length(), 19U);
  EXPECT_EQ(taken.writable_length(), 512U);
  auto expected = bytes(16);
  for (const std::byte byte : bytes(3, 100)) expected.push_back(byte);
  EXPECT_EQ(pair.read(taken), expected);
  pair.device.complete(std::move(taken), 0);
}

TEST_P(QueueRoundtrip, ACompletionCarriesItsLengthAndBytes) {
  QueuePair pair(ring());
  chain(pair).readable(16).at_offset(4095).writable(2).writable(1).publish();
  Chain taken = pair.take_one();

  pair.write(taken, bytes(3, 7));
  pair.device.complete(std::move(taken), 3);
  EXPECT_TRUE(taken.is_empty());  // NOLINT(bugprone-use-after-move): completed is empty
  EXPECT_EQ(pair.device.in_flight(), 1U);
  EXPECT_TRUE(pair.device.publish());

  EXPECT_EQ(pair.device.in_flight(), 0U);
  EXPECT_EQ(pair.driver.poll(),
            (TestDriver::Used{.request = 0, .written = 3, .data = bytes(3, 7)}));
  EXPECT_FALSE(pair.driver.poll().has_value());
}

TEST_P(QueueRoundtrip, AChainMayHaveReadableOrWritableSegmentsOnly) {
  QueuePair pair(ring());
  chain(pair).readable(5).publish();
  chain(pair).writable(6).publish();

  auto chains = pair.take();

  ASSERT_THAT(*chains, SizeIs(2));
  EXPECT_EQ((*chains)[0].readable_length(), 5U);
  EXPECT_THAT((*chains)[0].writable(), IsEmpty());
  EXPECT_THAT((*chains)[1].readable(), IsEmpty());
  EXPECT_EQ((*chains)[1].writable_length(), 6U);
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
}

TEST_P(QueueRoundtrip, NothingIsSeenBeforePublish) {
  QueuePair pair(ring());
  chain(pair).readable(1).add();
  chain(pair).readable(1).add();
  EXPECT_THAT(*pair.take(), IsEmpty());

  EXPECT_TRUE(pair.driver.queue().publish());

  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(2));
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
  EXPECT_THAT(pair.driver.poll_all(), IsEmpty());
  EXPECT_TRUE(pair.device.publish());
  EXPECT_THAT(pair.driver.poll_all(), SizeIs(2));
}

TEST_P(QueueRoundtrip, TakesNoMoreThanAskedFor) {
  QueuePair pair(ring());
  for (int i = 0; i < 3; ++i) chain(pair).readable(1).publish();

  auto first = pair.take(2);
  auto rest = pair.take();

  EXPECT_THAT(*first, SizeIs(2));
  EXPECT_THAT(*rest, SizeIs(1));
  for (Chain& each : *first) pair.device.complete(std::move(each), 0);
  for (Chain& each : *rest) pair.device.complete(std::move(each), 0);
}

TEST_P(QueueRoundtrip, AtMaxInFlightChainsStayInTheRing) {
  QueuePair pair(ring(), {.max_in_flight = 2});
  for (int i = 0; i < 3; ++i) chain(pair).readable(1).publish();
  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(2));
  EXPECT_FALSE(pair.device.has_room());
  EXPECT_THAT(*pair.take(), IsEmpty());

  // Completed is not enough: its record is in use until the driver has seen it.
  pair.device.complete(std::move((*chains)[0]), 0);
  EXPECT_THAT(*pair.take(), IsEmpty());
  EXPECT_TRUE(pair.device.publish());

  EXPECT_TRUE(pair.device.enable_notifications());
  auto last = pair.take();
  ASSERT_THAT(*last, SizeIs(1));
  pair.device.complete(std::move((*chains)[1]), 0);
  pair.device.complete(std::move((*last)[0]), 0);
}

TEST_P(QueueRoundtrip, FillsTheWholeRing) {
  QueuePair pair(ring(4));
  for (int i = 0; i < 4; ++i) chain(pair).writable(1).add();
  EXPECT_EQ(pair.driver.queue().free_descriptors(), 0U);
  EXPECT_EQ(chain(pair).writable(1).try_add(), AddOutcome::kFull);
  EXPECT_TRUE(pair.driver.queue().publish());

  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(4));
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
  EXPECT_TRUE(pair.device.publish());

  EXPECT_THAT(pair.driver.poll_all(), SizeIs(4));
  EXPECT_EQ(pair.driver.queue().free_descriptors(), 4U);
}

// What woke the device may have been anything, so the wish may still lie ahead of the driver.
TEST_P(QueueRoundtrip, AWishForANotificationIsTakenBack) {
  QueuePair pair(ring());
  EXPECT_FALSE(pair.device.enable_notifications());

  pair.device.disable_notifications();

  chain(pair).writable(1).add();
  EXPECT_FALSE(pair.driver.queue().publish());
  for (int i = 0; i < 3; ++i) chain(pair).writable(1).add();
  EXPECT_FALSE(pair.driver.queue().publish());
  EXPECT_TRUE(pair.device.enable_notifications());
  auto chains = pair.take();
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
}

TEST_P(QueueRoundtrip, AWishForANotificationIsTakenBackAtEveryPlaceOfTheRing) {
  QueuePair pair(ring(4));

  // More than 2^16 entries: the indices pass their end too.
  for (int i = 0; i < 66000; ++i) {
    ASSERT_FALSE(pair.device.enable_notifications());
    pair.device.disable_notifications();
    chain(pair).writable(1).add();
    ASSERT_FALSE(pair.driver.queue().publish());
    pair.device.complete(pair.take_one(), 1);
    static_cast<void>(pair.device.publish());
    ASSERT_TRUE(pair.driver.poll().has_value());
  }
}

TEST_P(QueueRoundtrip, AWishThatWasTakenBackIsExpressedAgain) {
  QueuePair pair(ring());
  EXPECT_FALSE(pair.device.enable_notifications());
  pair.device.disable_notifications();

  EXPECT_FALSE(pair.device.enable_notifications());

  chain(pair).writable(1).add();
  EXPECT_TRUE(pair.driver.queue().publish());
  pair.device.complete(pair.take_one(), 0);
}

TEST_P(QueueRoundtrip, IndicesWrapManyTimes) {
  QueuePair pair(ring(4));
  std::uint64_t next = 0;

  // More than 2^16 entries, in laps that never fit the ring evenly.
  for (int lap = 0; lap < 22000; ++lap) {
    for (int i = 0; i < 3; ++i) chain(pair).writable(1).add();
    static_cast<void>(pair.driver.queue().publish());
    auto chains = pair.take();
    ASSERT_THAT(*chains, SizeIs(3));
    for (Chain& each : *chains) pair.device.complete(std::move(each), 1);
    static_cast<void>(pair.device.publish());
    for (int i = 0; i < 3; ++i) ASSERT_EQ(pair.driver.poll()->request, next++);
  }
  EXPECT_EQ(pair.driver.queue().outstanding(), 0U);
}

TEST_P(QueueRoundtrip, UsedOrderIsCompletionOrderUnlessInOrder) {
  QueuePair pair(ring());
  for (int i = 0; i < 3; ++i) chain(pair).writable(4).add();
  static_cast<void>(pair.driver.queue().publish());
  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(3));

  pair.device.complete(std::move((*chains)[2]), 3);
  static_cast<void>(pair.device.publish());
  const auto early = pair.driver.poll();
  pair.device.complete(std::move((*chains)[0]), 1);
  pair.device.complete(std::move((*chains)[1]), 2);
  static_cast<void>(pair.device.publish());

  std::vector<std::uint32_t> written;
  if (early) written.push_back(early->written);
  for (const auto& used : pair.driver.poll_all()) written.push_back(used.written);
  if (ring().in_order) {
    EXPECT_FALSE(early.has_value());
    EXPECT_THAT(written, ElementsAre(1, 2, 3));
  } else {
    EXPECT_THAT(written, ElementsAre(3, 1, 2));
  }
}

TEST_P(QueueRoundtrip, AbandonedChainsMayBeDroppedAndCompleted) {
  QueuePair pair(ring());
  for (int i = 0; i < 3; ++i) chain(pair).writable(4).publish();
  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(3));
  pair.device.complete(std::move((*chains)[0]), 4);

  pair.device.abandon();

  EXPECT_EQ(pair.device.in_flight(), 0U);
  EXPECT_EQ(pair.device.outstanding(), 2U);
  pair.device.complete(std::move((*chains)[1]), 4);
  chains->clear();
  EXPECT_EQ(pair.device.outstanding(), 0U);
  EXPECT_FALSE(pair.device.publish());
  EXPECT_THAT(pair.driver.poll_all(), IsEmpty());
  EXPECT_EQ(pair.take_error().fault, QueueFault::kAbandoned);
}

TEST_P(QueueRoundtrip, AbandonDropsATurnThatIsNotFinished) {
  QueuePair pair(ring());
  chain(pair).writable(4).publish();
  ASSERT_EQ(*pair.device.take_heads(pair.fetch, GuestRef{}, 10), 1U);

  pair.device.abandon();

  EXPECT_EQ(pair.device.outstanding(), 0U);
  pair.fetch.run();
  EXPECT_FALSE(pair.device.finish_take().has_value());
}

TEST_P(QueueRoundtrip, ADroppedChainIsOurBug) {
  QueuePair pair(ring());
  chain(pair).writable(4).publish();

  EXPECT_DEATH({ const Chain lost = pair.take_one(); }, "is_abandoned_");
}

TEST_P(QueueRoundtrip, MoreWrittenThanWritableIsOurBug) {
  QueuePair pair(ring());
  chain(pair).writable(4).publish();

  EXPECT_DEATH(pair.device.complete(pair.take_one(), 5), "writable_length");
}

}  // namespace
}  // namespace vmsg::test
