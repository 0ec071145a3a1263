// The ring between two well-behaved sides: layout, order, wrap, room, notification, turns.
#include "transport/ring.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <vector>

#include "tests/transport/ring_memory.hpp"

namespace vmsg {
namespace {

using test::test_frame;
using test::TestRing;

using Bytes = std::vector<std::byte>;

Bytes peeked(RingConsumer& consumer) {
  static std::array<std::byte, kRingPageSize> scratch;
  const auto message = consumer.peek(scratch);
  if (!message.has_value() || !message->has_value()) return {};
  return Bytes((*message)->begin(), (*message)->end());
}

Bytes taken(RingConsumer& consumer) {
  Bytes frame = peeked(consumer);
  if (!frame.empty()) consumer.consume();
  return frame;
}

bool pushed(RingProducer& producer, const Bytes& frame) { return producer.push(frame).value(); }

// ---- set-up ------------------------------------------------------------------------------------

TEST(RingLayout, HalfTheSpanIsOneDirection) {
  const auto layout = RingLayout::create(4, 264).value();

  EXPECT_EQ(layout.page_count(), 16u);
  EXPECT_EQ(layout.span_bytes(), 65536u);
  EXPECT_EQ(layout.size(), 32768u);
}

TEST(RingLayout, OrderHasALimit) {
  EXPECT_TRUE(RingLayout::create(9, 264).has_value());
  EXPECT_EQ(RingLayout::create(10, 264).error(),
            (RingSetupFault{RingSetupError::kOrderTooLarge, 10}));
  EXPECT_EQ(RingLayout::create(0xffffffff, 264).error().error, RingSetupError::kOrderTooLarge);
}

TEST(RingLayout, MessageIsAtMostAQuarterOfADirection) {
  EXPECT_TRUE(RingLayout::create(0, 512).has_value());
  EXPECT_EQ(RingLayout::create(0, 513).error(),
            (RingSetupFault{RingSetupError::kMessageSizeTooLarge, 513}));
  EXPECT_TRUE(RingLayout::create(9, 65535).has_value());
  EXPECT_EQ(RingLayout::create(9, 65536).error(),
            (RingSetupFault{RingSetupError::kMessageSizeTooLarge, 65536}));
}

// rules: BUS-2, DRV-1
TEST(RingLayout, MessageIsAtLeastWhatEveryBusCarries) {
  EXPECT_TRUE(RingLayout::create(0, 52).has_value());
  EXPECT_EQ(RingLayout::create(0, 51).error(),
            (RingSetupFault{RingSetupError::kMessageSizeTooSmall, 51}));
}

class InterfacePages : public testing::TestWithParam<std::uint32_t> {};

TEST_P(InterfacePages, AreReadAsTheyWereWritten) {
  const TestRing ring(GetParam());
  std::vector<std::uint32_t> refs(ring.layout().page_count());
  for (std::uint32_t i = 0; i < refs.size(); ++i) refs[i] = 1000 + 3 * i;

  write_interface_page(ring.page(), ring.layout(), refs);
  const auto read = InterfacePage::read(ring.page(), kMaxRingPageOrder, 264);

  ASSERT_TRUE(read.has_value());
  EXPECT_EQ(read->layout(), ring.layout());
  EXPECT_TRUE(std::ranges::equal(read->refs(), refs));
}

INSTANTIATE_TEST_SUITE_P(AllOrders, InterfacePages,
                         testing::Range(std::uint32_t{0}, kMaxRingPageOrder + 1));

TEST(InterfacePage, LiesWhereTheBindingSays) {
  const TestRing ring(1);
  ring.page().store_relaxed32(0x004, 77);  // whatever was in the page goes
  const std::array<std::uint32_t, 2> refs{0x11223344, 0x55667788};

  write_interface_page(ring.page(), ring.layout(), refs);

  EXPECT_EQ((ring.page().load<std::array<char, 4>>(0x080)),
            (std::array<char, 4>{'V', 'M', 'S', 'X'}));
  EXPECT_EQ(ring.page().load_relaxed32(0x084), 1u);
  EXPECT_EQ(ring.page().load_relaxed32(0x100), 0x11223344u);
  EXPECT_EQ(ring.page().load_relaxed32(0x104), 0x55667788u);
  EXPECT_EQ(ring.page().load_relaxed32(0x004), 0u);
}

TEST(InterfacePage, WithoutMagicIsRefused) {
  const TestRing ring;
  ring.page().store_relaxed32(VMSG_XEN_IF_MAGIC, 0x58534d55);

  EXPECT_EQ(InterfacePage::read(ring.page(), 9, 264).error(),
            (RingSetupFault{RingSetupError::kBadMagic, 0x58534d55}));
}

TEST(InterfacePage, OrderBeyondWhatWasAdvertisedIsRefused) {
  const TestRing ring(5);

  EXPECT_TRUE(InterfacePage::read(ring.page(), 5, 264).has_value());
  EXPECT_EQ(InterfacePage::read(ring.page(), 4, 264).error(),
            (RingSetupFault{RingSetupError::kOrderTooLarge, 5}));
}

TEST(InterfacePage, OrderBeyondThePageIsRefusedWhateverWasAdvertised) {
  const TestRing ring;
  ring.page().store_relaxed32(VMSG_XEN_IF_RING_PAGE_ORDER, 10);

  EXPECT_EQ(InterfacePage::read(ring.page(), 0xffffffff, 264).error(),
            (RingSetupFault{RingSetupError::kOrderTooLarge, 10}));
}

// ---- who writes where --------------------------------------------------------------------------

struct DirectionCase {
  const char* name;
  RingSide producing;
  RingSide consuming;
  std::size_t prod;
  std::size_t prod_event;
  std::size_t cons;
  std::size_t cons_event;
  bool is_first_half;
};

class Directions : public testing::TestWithParam<DirectionCase> {};

TEST_P(Directions, UseTheFieldsAndTheHalfOfTheBinding) {
  const DirectionCase& fields = GetParam();
  const TestRing ring;
  RingProducer producer = ring.producer(fields.producing);
  RingConsumer consumer = ring.consumer(fields.consuming);
  const Bytes frame = test_frame(12, 3);

  ASSERT_TRUE(pushed(producer, frame));
  static_cast<void>(producer.publish());
  EXPECT_EQ(ring.page().load_relaxed32(fields.prod), 16u);

  EXPECT_EQ(taken(consumer), frame);
  static_cast<void>(consumer.publish());
  EXPECT_EQ(ring.page().load_relaxed32(fields.cons), 16u);

  EXPECT_TRUE(consumer.prepare_to_sleep().value());
  EXPECT_EQ(ring.page().load_relaxed32(fields.prod_event), 16u);

  EXPECT_TRUE(producer.arm_for_room(ring.layout().size() - 8).value());
  EXPECT_EQ(ring.page().load_relaxed32(fields.cons_event), 0u);

  Bytes in_memory(12);
  ring.data().copy_out(fields.is_first_half ? 0 : ring.layout().size(), in_memory);
  EXPECT_EQ(in_memory, frame);
}

INSTANTIATE_TEST_SUITE_P(Both, Directions,
                         testing::Values(DirectionCase{"In", RingSide::kDevice, RingSide::kDriver,
                                                       0x040, 0x008, 0x004, 0x04c, true},
                                         DirectionCase{"Out", RingSide::kDriver, RingSide::kDevice,
                                                       0x000, 0x048, 0x044, 0x00c, false}),
                         [](const auto& test) { return test.param.name; });

// ---- messages ----------------------------------------------------------------------------------

/// The driver side produces, the device side consumes.
struct Pair {
  TestRing ring;
  RingProducer producer = ring.producer(RingSide::kDriver);
  RingConsumer consumer = ring.consumer(RingSide::kDevice);
};

TEST(Ring, NothingIsSeenBeforeItIsPublished) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));

  EXPECT_TRUE(peeked(pair.consumer).empty());

  static_cast<void>(pair.producer.publish());
  EXPECT_EQ(peeked(pair.consumer), test_frame(12, 1));
}

TEST(Ring, MessagesComeInOrder) {
  Pair pair;
  for (std::uint32_t i = 0; i < 5; ++i) ASSERT_TRUE(pushed(pair.producer, test_frame(8 + i, i)));
  static_cast<void>(pair.producer.publish());

  for (std::uint32_t i = 0; i < 5; ++i) EXPECT_EQ(taken(pair.consumer), test_frame(8 + i, i));
  EXPECT_TRUE(taken(pair.consumer).empty());
}

TEST(Ring, PeekedMessageStaysUntilItIsConsumed) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 2)));
  static_cast<void>(pair.producer.publish());

  EXPECT_EQ(peeked(pair.consumer), test_frame(12, 1));
  EXPECT_EQ(peeked(pair.consumer), test_frame(12, 1));
  pair.consumer.consume();
  EXPECT_EQ(peeked(pair.consumer), test_frame(12, 2));
}

// rules: BUS-25
TEST(Ring, PaddingIsZero) {
  Pair pair;
  std::array<std::byte, 16> dirty;
  dirty.fill(std::byte{0xee});
  pair.ring.data().copy_in(pair.ring.layout().size(), dirty);

  ASSERT_TRUE(pushed(pair.producer, test_frame(9, 1)));

  Bytes padding(7);
  pair.ring.data().copy_out(pair.ring.layout().size() + 9, padding);
  EXPECT_EQ(padding, Bytes(7));
}

class RingOrders : public testing::TestWithParam<std::uint32_t> {};

TEST_P(RingOrders, CarryTheLargestMessageAcrossTheEnd) {
  const std::uint32_t size = kRingPageSize / 2 << GetParam();
  const std::uint32_t max = std::min<std::uint32_t>(size / 4, 65535);
  TestRing ring(GetParam(), max);
  ring.start_at(size - 8);
  RingProducer producer = ring.producer(RingSide::kDevice);
  RingConsumer consumer = ring.consumer(RingSide::kDriver);
  Bytes scratch(max);

  ASSERT_TRUE(pushed(producer, test_frame(max, 9)));
  static_cast<void>(producer.publish());

  const auto message = consumer.peek(scratch);
  EXPECT_TRUE(std::ranges::equal(**message, test_frame(max, 9)));
}

INSTANTIATE_TEST_SUITE_P(AllOrders, RingOrders,
                         testing::Range(std::uint32_t{0}, kMaxRingPageOrder + 1));

// Every start offset with every size whose end falls before, on and after the wrap; at the indices'
// own wrap too, as it comes last.
TEST(Ring, MessagesWrapAtEveryOffset) {
  TestRing ring;
  for (std::uint32_t start = 0U - ring.layout().size(); start != 8; start += 8) {
    ring.start_at(start);
    RingProducer producer = ring.producer(RingSide::kDriver);
    RingConsumer consumer = ring.consumer(RingSide::kDevice);
    for (const std::uint32_t size : {8U, 9U, 15U, 16U, 17U, 52U, 255U, 256U, 257U, 264U}) {
      ASSERT_TRUE(pushed(producer, test_frame(size, start)));
    }
    static_cast<void>(producer.publish());
    for (const std::uint32_t size : {8U, 9U, 15U, 16U, 17U, 52U, 255U, 256U, 257U, 264U}) {
      ASSERT_EQ(taken(consumer), test_frame(size, start)) << "start " << start << " size " << size;
    }
    static_cast<void>(consumer.publish());
  }
}

TEST(Ring, DirectionsDoNotMeet) {
  Pair pair;
  RingProducer in = pair.ring.producer(RingSide::kDevice);
  RingConsumer in_end = pair.ring.consumer(RingSide::kDriver);
  for (std::uint32_t i = 0; i < 7; ++i) {
    ASSERT_TRUE(pushed(pair.producer, test_frame(264, i)));
    ASSERT_TRUE(pushed(in, test_frame(264, 100 + i)));
  }
  static_cast<void>(pair.producer.publish());
  static_cast<void>(in.publish());

  for (std::uint32_t i = 0; i < 7; ++i) {
    EXPECT_EQ(taken(pair.consumer), test_frame(264, i));
    EXPECT_EQ(taken(in_end), test_frame(264, 100 + i));
  }
}

// ---- room --------------------------------------------------------------------------------------

TEST(RingRoom, FullRingTakesNothingAndChangesNothing) {
  Pair pair;
  while (pushed(pair.producer, test_frame(256, 5))) {
  }
  static_cast<void>(pair.producer.publish());

  EXPECT_EQ(pair.producer.free_space().value(), 0u);
  EXPECT_FALSE(pushed(pair.producer, test_frame(8, 6)));
  EXPECT_FALSE(pair.producer.publish());
  for (int i = 0; i < 8; ++i) EXPECT_EQ(taken(pair.consumer), test_frame(256, 5));
  EXPECT_TRUE(taken(pair.consumer).empty());
}

TEST(RingRoom, IsThereAgainWhenTheConsumerPublished) {
  Pair pair;
  while (pushed(pair.producer, test_frame(256, 5))) {
  }
  static_cast<void>(pair.producer.publish());
  static_cast<void>(taken(pair.consumer));

  EXPECT_FALSE(pair.producer.has_room(8).value());

  static_cast<void>(pair.consumer.publish());
  EXPECT_TRUE(pair.producer.has_room(256).value());
  EXPECT_FALSE(pair.producer.has_room(264).value());
}

TEST(RingRoom, CountsWhatIsPushedButNotPublished) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(9, 1)));

  EXPECT_EQ(pair.producer.free_space().value(), pair.ring.layout().size() - 16);
}

TEST(RingRoom, SpaceOfAMessageIsRoundedUp) {
  EXPECT_EQ(ring_space(8), 8u);
  EXPECT_EQ(ring_space(9), 16u);
  EXPECT_EQ(ring_space(264), 264u);
  EXPECT_EQ(ring_space(65535), 65536u);
}

// ---- notification ------------------------------------------------------------------------------

// "Notify me when the index passes this": exactly when the move goes from at or before the event to
// beyond it. All events of a whole ring before and after, all moves of up to 64 steps.
TEST(RingNotification, ProducerNotifiesExactlyWhenTheEventIsPassed) {
  const std::uint32_t base = 0xfffffc00;  // the indices wrap on the way
  TestRing ring;
  const Bytes smallest = test_frame(8, 0);
  for (std::uint32_t steps = 1; steps <= 64; ++steps) {
    for (std::uint32_t back = 0; back <= 512; ++back) {
      const std::uint32_t event = base + 2048 - 8 * back;
      ring.start_at(base);
      RingProducer producer = ring.producer(RingSide::kDriver);
      ring.page().store_relaxed32(VMSG_XEN_IF_OUT_PROD_EVENT, event);
      for (std::uint32_t i = 0; i < steps; ++i) ASSERT_TRUE(pushed(producer, smallest));

      bool is_passed = false;
      for (std::uint32_t i = 0; i < steps; ++i) is_passed |= event == base + 8 * i;
      ASSERT_EQ(producer.publish(), is_passed) << steps << " steps, event " << event - base;
    }
  }
}

TEST(RingNotification, ConsumerNotifiesExactlyWhenTheEventIsPassed) {
  const std::uint32_t base = 0xfffffc00;
  TestRing ring;
  for (std::uint32_t steps = 1; steps <= 16; ++steps) {
    for (std::uint32_t back = 0; back <= 512; ++back) {
      const std::uint32_t event = base + 2048 - 8 * back;
      ring.start_at(base);
      RingProducer producer = ring.producer(RingSide::kDriver);
      RingConsumer consumer = ring.consumer(RingSide::kDevice);
      ring.page().store_relaxed32(VMSG_XEN_IF_OUT_CONS_EVENT, event);
      for (std::uint32_t i = 0; i < steps; ++i) ASSERT_TRUE(pushed(producer, test_frame(8, 0)));
      static_cast<void>(producer.publish());
      for (std::uint32_t i = 0; i < steps; ++i) static_cast<void>(taken(consumer));

      bool is_passed = false;
      for (std::uint32_t i = 0; i < steps; ++i) is_passed |= event == base + 8 * i;
      ASSERT_EQ(consumer.publish(), is_passed) << steps << " steps, event " << event - base;
    }
  }
}

TEST(RingNotification, SleeperIsWokenOnceAndThenLeftAlone) {
  Pair pair;
  ASSERT_TRUE(pair.consumer.prepare_to_sleep().value());

  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));
  EXPECT_TRUE(pair.producer.publish());
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 2)));
  EXPECT_FALSE(pair.producer.publish());
}

TEST(RingNotification, SleepIsRefusedWhenAMessageIsThere) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));
  static_cast<void>(pair.producer.publish());

  EXPECT_FALSE(pair.consumer.prepare_to_sleep().value());
}

TEST(RingNotification, PublishingNothingNotifiesNobody) {
  Pair pair;
  ASSERT_TRUE(pair.consumer.prepare_to_sleep().value());

  EXPECT_FALSE(pair.producer.publish());
  EXPECT_FALSE(pair.consumer.publish());
}

TEST(RingNotification, WaiterForRoomIsToldWhenThereIsEnoughAndNotBefore) {
  Pair pair;
  while (pushed(pair.producer, test_frame(256, 5))) {
  }
  static_cast<void>(pair.producer.publish());
  EXPECT_FALSE(pair.producer.arm_for_room(600).value());

  std::vector<bool> told;
  for (int i = 0; i < 4; ++i) {
    static_cast<void>(taken(pair.consumer));
    told.push_back(pair.consumer.publish());
  }

  EXPECT_EQ(told, (std::vector<bool>{false, false, true, false}));
}

// ---- going on after a restart ------------------------------------------------------------------

TEST(RingRestart, WhatWasConsumedButNotPublishedIsSeenAgain) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 2)));
  static_cast<void>(pair.producer.publish());
  static_cast<void>(taken(pair.consumer));
  static_cast<void>(pair.consumer.publish());
  static_cast<void>(taken(pair.consumer));

  RingConsumer successor = pair.ring.consumer(RingSide::kDevice);

  EXPECT_EQ(taken(successor), test_frame(12, 2));
  EXPECT_TRUE(taken(successor).empty());
}

TEST(RingRestart, ProducerGoesOnBehindWhatWasPublished) {
  Pair pair;
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 1)));
  static_cast<void>(pair.producer.publish());
  ASSERT_TRUE(pushed(pair.producer, test_frame(12, 99)));

  RingProducer successor = pair.ring.producer(RingSide::kDriver);
  ASSERT_TRUE(pushed(successor, test_frame(12, 2)));
  static_cast<void>(successor.publish());

  EXPECT_EQ(taken(pair.consumer), test_frame(12, 1));
  EXPECT_EQ(taken(pair.consumer), test_frame(12, 2));
}

// ---- turns -------------------------------------------------------------------------------------

struct TurnTest : testing::Test {
  void fill(std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) ASSERT_TRUE(pushed(pair.producer, test_frame(12, i)));
    static_cast<void>(pair.producer.publish());
  }

  template <typename Handler>
  RingTurn turn(std::uint32_t limit, Handler&& handler) {
    return take_turn(pair.consumer, limit, scratch, handler).value();
  }

  Pair pair;
  std::array<std::byte, 264> scratch{};
  std::vector<Bytes> seen;
  std::function<bool(std::span<const std::byte>)> take_all = [this](auto frame) {
    seen.emplace_back(frame.begin(), frame.end());
    return true;
  };
};

TEST_F(TurnTest, TakesAtMostItsLimit) {
  fill(5);

  const RingTurn first = turn(3, take_all);
  const RingTurn second = turn(3, take_all);

  EXPECT_EQ(first.taken, 3u);
  EXPECT_FALSE(first.is_empty);
  EXPECT_EQ(second.taken, 2u);
  EXPECT_TRUE(second.is_empty);
  EXPECT_EQ(seen.back(), test_frame(12, 4));
}

TEST_F(TurnTest, MessageThatIsPutOffComesAgain) {
  fill(2);

  const RingTurn put_off = turn(10, [](auto) { return false; });
  const RingTurn after = turn(10, take_all);

  EXPECT_EQ(put_off.taken, 0u);
  EXPECT_FALSE(put_off.is_empty);
  EXPECT_EQ(after.taken, 2u);
  EXPECT_EQ(seen.front(), test_frame(12, 0));
}

TEST_F(TurnTest, NotifiesAWaitingProducerOnce) {
  while (pushed(pair.producer, test_frame(256, 5))) {
  }
  static_cast<void>(pair.producer.publish());
  ASSERT_FALSE(pair.producer.arm_for_room(256).value());

  EXPECT_TRUE(turn(2, take_all).notify);
  EXPECT_FALSE(turn(2, take_all).notify);
}

}  // namespace
}  // namespace vmsg
