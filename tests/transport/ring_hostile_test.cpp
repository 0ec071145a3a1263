// The ring with a peer that is broken or hostile: every impossible index, size and length is an
// error that names it, and nothing changes under a reader's hands.
#include <gtest/gtest.h>

#include <array>
#include <stop_token>
#include <thread>
#include <vector>

#include "tests/transport/ring_memory.hpp"
#include "transport/endian.hpp"
#include "transport/ring.hpp"

namespace vmsg {
namespace {

using test::test_frame;
using test::TestRing;

/// The device side reads what a hostile driver side wrote; one honest message lies in *out*.
struct HostileRing : testing::Test {
  HostileRing() {
    RingProducer honest = ring.producer(RingSide::kDriver);
    EXPECT_TRUE(honest.push(test_frame(16, 1)).value());
    static_cast<void>(honest.publish());
  }

  void set_out_prod(std::uint32_t value) const {
    ring.page().store_relaxed32(VMSG_XEN_IF_OUT_PROD, value);
  }
  void set_in_cons(std::uint32_t value) const {
    ring.page().store_relaxed32(VMSG_XEN_IF_IN_CONS, value);
  }
  void set_msg_size(std::uint32_t value) const {
    ring.data().store(ring.layout().size() + VIRTIO_MSG_HDR_MSG_SIZE,
                      Le16(static_cast<std::uint16_t>(value)));
  }
  RingError peek_error() {
    const auto message = consumer.peek(scratch);
    EXPECT_FALSE(message.has_value());
    return message ? RingError{} : message.error();
  }

  TestRing ring;
  RingConsumer consumer = ring.consumer(RingSide::kDevice);
  RingProducer producer = ring.producer(RingSide::kDevice);
  std::array<std::byte, 264> scratch{};
};

TEST_F(HostileRing, MoreThanTheRingHoldsIsOutOfRange) {
  ASSERT_TRUE(consumer.peek(scratch)->has_value());
  consumer.consume();
  set_out_prod(16 + 2048 + 8);

  EXPECT_EQ(peek_error(), (RingError{RingErrorKind::kOutOfRange, 2072, 16, 0}));
}

TEST_F(HostileRing, ProducerBehindTheConsumerIsOutOfRange) {
  ASSERT_TRUE(consumer.peek(scratch)->has_value());
  consumer.consume();
  set_out_prod(8);

  EXPECT_EQ(peek_error(), (RingError{RingErrorKind::kOutOfRange, 8, 16, 0}));
}

TEST_F(HostileRing, UnalignedProducerIsMisaligned) {
  ASSERT_TRUE(consumer.peek(scratch)->has_value());
  consumer.consume();
  set_out_prod(20);

  EXPECT_EQ(peek_error(), (RingError{RingErrorKind::kMisaligned, 20, 16, 0}));
}

TEST_F(HostileRing, EveryImpossibleSizeIsBad) {
  for (const std::uint32_t size : {0U, 1U, 7U, 265U, 2048U, 65535U}) {
    set_msg_size(size);
    EXPECT_EQ(peek_error(), (RingError{RingErrorKind::kBadSize, 16, 0, size}));
  }
}

TEST_F(HostileRing, MessageBeyondTheProducerIsIncomplete) {
  set_msg_size(17);

  EXPECT_EQ(peek_error(), (RingError{RingErrorKind::kIncomplete, 16, 0, 17}));
}

TEST_F(HostileRing, SizeIsCheckedAgainstTheAgreedMaximumNotTheRing) {
  TestRing small(0, 52);
  small.page().store_relaxed32(VMSG_XEN_IF_OUT_PROD, 64);
  small.data().store(small.layout().size() + VIRTIO_MSG_HDR_MSG_SIZE, Le16(std::uint16_t{53}));
  RingConsumer reader = small.consumer(RingSide::kDevice);

  EXPECT_EQ(reader.peek(scratch).error(), (RingError{RingErrorKind::kBadSize, 64, 0, 53}));
}

TEST_F(HostileRing, ErrorLeavesNothingToConsume) {
  set_msg_size(0);
  static_cast<void>(peek_error());

  EXPECT_DEATH(consumer.consume(), "peeked_space_");
}

TEST_F(HostileRing, ConsumerAheadOfTheProducerIsOutOfRange) {
  set_in_cons(8);

  EXPECT_EQ(producer.free_space().error(), (RingError{RingErrorKind::kOutOfRange, 0, 8, 0}));
  EXPECT_EQ(producer.arm_for_room(8).error().kind, RingErrorKind::kOutOfRange);
}

TEST_F(HostileRing, ConsumerThatDoesNotAlignIsMisaligned) {
  set_in_cons(0xfffffffc);

  EXPECT_EQ(producer.free_space().error(),
            (RingError{RingErrorKind::kMisaligned, 0, 0xfffffffc, 0}));
}

TEST_F(HostileRing, BadConsumerIsFoundByThePushThatNeedsTheRoom) {
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(producer.push(test_frame(256, 0)).value());
  static_cast<void>(producer.publish());
  set_in_cons(4096);

  EXPECT_EQ(producer.push(test_frame(8, 0)).error(),
            (RingError{RingErrorKind::kOutOfRange, 2048, 4096, 0}));
}

// The peer may write our fields; they are read when attaching and never again.
TEST_F(HostileRing, OurOwnIndicesInMemoryDoNotMatter) {
  ring.page().store_relaxed32(VMSG_XEN_IF_OUT_CONS, 0x12345);
  ring.page().store_relaxed32(VMSG_XEN_IF_IN_PROD, 0x54321);

  EXPECT_TRUE(consumer.peek(scratch)->has_value());
  consumer.consume();
  static_cast<void>(consumer.publish());
  EXPECT_TRUE(producer.push(test_frame(8, 0)).value());
  static_cast<void>(producer.publish());

  EXPECT_EQ(ring.page().load_relaxed32(VMSG_XEN_IF_OUT_CONS), 16u);
  EXPECT_EQ(ring.page().load_relaxed32(VMSG_XEN_IF_IN_PROD), 8u);
}

TEST_F(HostileRing, ImpossibleIndicesAreFoundWhenAttaching) {
  set_out_prod(0x80000000);

  EXPECT_EQ(RingConsumer::attach(RingSide::kDevice, ring.memory(), ring.layout()).error(),
            (RingError{RingErrorKind::kOutOfRange, 0x80000000, 0, 0}));

  ring.page().store_relaxed32(VMSG_XEN_IF_IN_PROD, 3);
  EXPECT_EQ(RingProducer::attach(RingSide::kDevice, ring.memory(), ring.layout()).error(),
            (RingError{RingErrorKind::kMisaligned, 3, 0, 0}));
}

TEST_F(HostileRing, SleepFindsAnImpossibleIndex) {
  ASSERT_TRUE(consumer.peek(scratch)->has_value());
  consumer.consume();
  static_cast<void>(consumer.publish());
  set_out_prod(5000);

  EXPECT_EQ(consumer.prepare_to_sleep().error(),
            (RingError{RingErrorKind::kOutOfRange, 5000, 16, 0}));
}

// The whole space of one index: whatever the peer writes, the answer is a message, none, or an
// error; the sanitizers watch the rest.
TEST_F(HostileRing, EveryLowIndexIsAnsweredWithoutHarm) {
  std::uint32_t messages = 0;
  for (std::uint32_t prod = 0; prod < 3 * 2048; ++prod) {
    set_out_prod(0);
    RingConsumer reader = ring.consumer(RingSide::kDevice);
    set_out_prod(prod);
    const auto message = reader.peek(scratch);
    if (message && message->has_value()) ++messages;
  }

  // Aligned, far enough for the 16 bytes, and not more than the ring.
  EXPECT_EQ(messages, (2048u - 16) / 8 + 1);
}

// A peer that rewrites the header all the time: what is returned has one size, and it is checked.
TEST_F(HostileRing, HeaderThatChangesWhileReadIsReadOnce) {
#ifdef __SANITIZE_THREAD__
  GTEST_SKIP() << "the race is the point of this test";
#endif
  set_out_prod(2048);
  consumer = ring.consumer(RingSide::kDevice);
  std::jthread peer([&](const std::stop_token& end) {
    for (std::uint32_t size = 0; !end.stop_requested(); ++size) set_msg_size(size % 300);
  });

  std::uint32_t frames = 0;
  // The peer may be late to begin: it has to have been at it for a while.
  for (int i = 0; i < 200'000 || frames < 1000; ++i) {
    const auto message = consumer.peek(scratch);
    if (!message) continue;
    ++frames;
    const std::span<const std::byte> frame = **message;
    const auto stated =
        std::to_integer<std::uint32_t>(frame[6]) | std::to_integer<std::uint32_t>(frame[7]) << 8U;
    ASSERT_EQ(stated, frame.size());
    ASSERT_LE(frame.size(), 264u);
  }
}

}  // namespace
}  // namespace vmsg
