// Notification decisions: the arithmetic exhaustively on small rings against a model that counts
// positions, then both sides of both formats.
#include "transport/event_index.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/queue_pair.hpp"

namespace vmsg {
namespace {

using test::QueuePair;
using test::TestDriver;
using ::testing::SizeIs;

// ---- arithmetic --------------------------------------------------------------------------------

TEST(PassesEvent, IsTrueForExactlyTheEntriesThatWereAdded) {
  // Around the wrap of the 16-bit index and around 0, every event and every step up to 8 entries.
  for (const std::uint32_t start : {0xfff0U, 0xfffbU, 0xffffU, 0U, 5U, 0x7ffcU, 0x8000U}) {
    for (std::uint32_t added = 0; added <= 8; ++added) {
      const auto before = static_cast<std::uint16_t>(start);
      const auto after = static_cast<std::uint16_t>(start + added);
      for (std::uint32_t event = 0; event <= 0xffff; ++event) {
        const bool is_among = static_cast<std::uint16_t>(event - start) < added;
        ASSERT_EQ(passes_event(static_cast<std::uint16_t>(event), before, after), is_among)
            << start << " + " << added << ", event " << event;
      }
    }
  }
}

TEST(PassesEvent, HoldsForTheLargestQueue) {
  EXPECT_TRUE(passes_event(0, 0, 0x8000));
  EXPECT_TRUE(passes_event(0x7fff, 0, 0x8000));
  EXPECT_FALSE(passes_event(0x8000, 0, 0x8000));
  EXPECT_FALSE(passes_event(0xffff, 0, 0x8000));
}

/// Slots count on for ever in the model: position p is slot p % size in lap p / size.
RingPosition position(std::uint32_t p, std::uint32_t size) {
  return {.slot = static_cast<std::uint16_t>(p % size), .wrap = p / size % 2 == 0};
}

TEST(WantsPackedEvent, IsTrueForExactlyTheSlotsThatWereFilled) {
  for (std::uint32_t size = 1; size <= 7; ++size) {
    for (std::uint32_t before = 2 * size; before < 4 * size; ++before) {
      for (std::uint32_t count = 1; count <= size; ++count) {
        // Everything that the other side can have meant: the present lap and the one before. A slot
        // ahead in the same lap lies behind if its lap is read as the one before last.
        const std::uint32_t now = before + count;
        const std::uint32_t lap = now / size;
        for (std::uint32_t event = (lap - 1) * size; event < (lap + 1) * size; ++event) {
          const std::uint32_t suppression =
              position(event, size).encoded() | std::uint32_t{vring::kEventDescriptor} << 16;
          const bool is_among = event >= before && event < now;
          ASSERT_EQ(wants_packed_event(suppression, true, position(now, size), count, size),
                    is_among)
              << "size " << size << ", " << before << " to " << now << ", event " << event;
        }
      }
    }
  }
}

TEST(WantsPackedEvent, FlagsSayYesOrNo) {
  const RingPosition now{.slot = 3, .wrap = true};

  EXPECT_TRUE(
      wants_packed_event(std::uint32_t{vring::kEventEnable} << 16 | 0x7777, true, now, 1, 8));
  EXPECT_FALSE(wants_packed_event(std::uint32_t{vring::kEventDisable} << 16, true, now, 1, 8));
}

TEST(WantsPackedEvent, WhatTheFormatDoesNotDefineMeansYes) {
  const RingPosition now{.slot = 3, .wrap = true};
  const std::uint32_t far_slot = 7 | vring::kEventWrapBit;

  // An event that was not passed, but the feature is off; a value that is reserved.
  EXPECT_TRUE(wants_packed_event(std::uint32_t{vring::kEventDescriptor} << 16 | far_slot, false,
                                 now, 1, 8));
  EXPECT_TRUE(wants_packed_event(std::uint32_t{3} << 16 | far_slot, true, now, 1, 8));
  EXPECT_TRUE(wants_packed_event(0xffffffffU, true, now, 1, 8));
}

TEST(WantsPackedEvent, ASlotThatTheRingDoesNotHaveIsNeverPassed) {
  for (std::uint32_t slot = 8; slot < 0x8000; ++slot) {
    const std::uint32_t suppression =
        slot | vring::kEventWrapBit | std::uint32_t{vring::kEventDescriptor} << 16;
    ASSERT_FALSE(wants_packed_event(suppression, true, {.slot = 3, .wrap = true}, 3, 8));
  }
}

TEST(RingPosition, AdvancesAroundRingsOfEverySize) {
  for (std::uint32_t size = 1; size <= 9; ++size) {
    for (std::uint32_t from = 0; from < 2 * size; ++from) {
      for (std::uint32_t count = 0; count <= size; ++count) {
        RingPosition at = position(from, size);
        at.advance(count, size);
        ASSERT_EQ(at, position(from + count, size)) << size << ": " << from << " + " << count;
      }
    }
  }
}

TEST(RingPosition, AdvancesAroundTheLargestRing) {
  RingPosition at{.slot = 32767, .wrap = true};

  at.advance(32768, 32768);

  EXPECT_EQ(at, (RingPosition{.slot = 32767, .wrap = false}));
}

// ---- both sides --------------------------------------------------------------------------------

class Notifications : public ::testing::TestWithParam<std::tuple<QueueFormat, bool>> {
 protected:
  void publish_chain() { kicked = pair.driver.chain().writable(1).publish(); }
  void finish_one() {
    pair.device.complete(pair.take_one(), 1);
    notified = pair.device.publish();
  }

  bool kicked = false;
  bool notified = false;
  QueuePair pair{
      {.format = std::get<0>(GetParam()), .size = 4, .event_idx = std::get<1>(GetParam())}};
};

INSTANTIATE_TEST_SUITE_P(
    AllForms, Notifications,
    ::testing::Combine(::testing::Values(QueueFormat::kSplit, QueueFormat::kPacked),
                       ::testing::Bool()),
    [](const auto& variant) {
      return std::string(std::get<0>(variant.param) == QueueFormat::kSplit ? "Split" : "Packed") +
             (std::get<1>(variant.param) ? "EventIdx" : "Flags");
    });

TEST_P(Notifications, AFreshQueueWantsTheFirstOfBothKinds) {
  publish_chain();
  EXPECT_TRUE(kicked);

  finish_one();
  EXPECT_TRUE(notified);
}

TEST_P(Notifications, ADeviceThatDisabledThemIsNotKicked) {
  publish_chain();
  finish_one();
  pair.device.disable_notifications();

  for (int i = 0; i < 3; ++i) {
    publish_chain();
    EXPECT_FALSE(kicked);
  }
}

TEST_P(Notifications, ADeviceThatEnabledThemIsKickedByTheNextChain) {
  for (int lap = 0; lap < 9; ++lap) {
    pair.device.disable_notifications();
    EXPECT_FALSE(pair.device.enable_notifications());
    publish_chain();
    EXPECT_TRUE(kicked);
    finish_one();
    static_cast<void>(pair.driver.poll());
  }
}

TEST_P(Notifications, EnablingSeesAChainThatCameMeanwhile) {
  pair.device.disable_notifications();
  publish_chain();

  EXPECT_TRUE(pair.device.enable_notifications());

  finish_one();
  EXPECT_FALSE(pair.device.enable_notifications());
}

TEST_P(Notifications, ADriverThatDisabledThemIsNotNotified) {
  publish_chain();
  finish_one();
  static_cast<void>(pair.driver.poll());
  pair.driver.queue().disable_callbacks();

  for (int i = 0; i < 3; ++i) {
    publish_chain();
    finish_one();
    EXPECT_FALSE(notified);
    static_cast<void>(pair.driver.poll());
  }
}

TEST_P(Notifications, ADriverThatEnabledThemIsNotifiedByTheNextUsedBuffer) {
  for (int lap = 0; lap < 9; ++lap) {
    pair.driver.queue().disable_callbacks();
    EXPECT_FALSE(pair.driver.queue().enable_callbacks());
    publish_chain();
    finish_one();
    EXPECT_TRUE(notified);
    static_cast<void>(pair.driver.poll());
  }
}

TEST_P(Notifications, EnablingSeesABufferThatCameMeanwhile) {
  pair.driver.queue().disable_callbacks();
  publish_chain();
  finish_one();

  EXPECT_TRUE(pair.driver.queue().enable_callbacks());

  static_cast<void>(pair.driver.poll());
  EXPECT_FALSE(pair.driver.queue().enable_callbacks());
}

TEST_P(Notifications, ABatchIsOneDecision) {
  for (int i = 0; i < 3; ++i) static_cast<void>(pair.driver.chain().writable(1).add());
  EXPECT_TRUE(pair.driver.queue().publish());
  auto chains = pair.take();
  ASSERT_THAT(*chains, SizeIs(3));

  for (Chain& each : *chains) pair.device.complete(std::move(each), 1);

  // The event is the first entry of the batch, long passed by the last.
  EXPECT_TRUE(pair.device.publish());
  EXPECT_FALSE(pair.device.publish());
  EXPECT_FALSE(pair.driver.queue().publish());
}

class EventIndex : public ::testing::TestWithParam<QueueFormat> {};

INSTANTIATE_TEST_SUITE_P(BothFormats, EventIndex,
                         ::testing::Values(QueueFormat::kSplit, QueueFormat::kPacked),
                         [](const auto& variant) {
                           return variant.param == QueueFormat::kSplit ? "Split" : "Packed";
                         });

TEST_P(EventIndex, OneRequestBringsOneNotification) {
  QueuePair pair({.format = GetParam(), .size = 4, .event_idx = true});
  ASSERT_FALSE(pair.device.enable_notifications());
  ASSERT_FALSE(pair.driver.queue().enable_callbacks());

  EXPECT_TRUE(pair.driver.chain().writable(1).publish());
  EXPECT_FALSE(pair.driver.chain().writable(1).publish());

  pair.device.complete(pair.take_one(), 1);
  EXPECT_TRUE(pair.device.publish());
  pair.device.complete(pair.take_one(), 1);
  EXPECT_FALSE(pair.device.publish());
}

}  // namespace
}  // namespace vmsg
