// Both ends of a ring on two threads, asleep whenever they may be: no message is lost, changed or
// overtaken, and no wake-up is lost. ThreadSanitizer reads along.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <semaphore>
#include <thread>

#include "tests/transport/ring_memory.hpp"
#include "transport/ring.hpp"

namespace vmsg {
namespace {

using test::test_frame;
using test::TestRing;

constexpr std::uint32_t kMessages = 60'000;
// Only a lost wake-up lasts this long.
constexpr std::chrono::seconds kDeadline{30};

using Doorbell = std::counting_semaphore<>;

std::uint32_t size_of(std::uint32_t i) { return 8 + i * 37 % 257; }

bool wait(Doorbell& doorbell) { return doorbell.try_acquire_for(kDeadline); }

/// Sends in bursts of different length; waits for room when there is none.
void produce(RingProducer producer, Doorbell& to_peer, Doorbell& to_us) {
  for (std::uint32_t i = 0; i < kMessages;) {
    bool is_full = false;
    for (const std::uint32_t burst_end = i + 1 + i % 9; i < burst_end && i < kMessages; ++i) {
      const auto frame = test_frame(size_of(i), i);
      is_full = !producer.push(frame).value();
      if (is_full) break;
    }
    if (producer.publish()) to_peer.release();
    if (!is_full) continue;
    while (!producer.arm_for_room(ring_space(size_of(i))).value()) {
      ASSERT_TRUE(wait(to_us)) << "nobody told of room for message " << i;
    }
  }
}

/// Takes turns of a few messages; sleeps when there is none.
void consume(RingConsumer consumer, Doorbell& to_peer, Doorbell& to_us) {
  std::array<std::byte, 264> scratch;
  std::uint32_t next = 0;
  while (next < kMessages) {
    const auto turn = take_turn(consumer, 5, scratch, [&](std::span<const std::byte> frame) {
      const auto expected = test_frame(size_of(next), next);
      EXPECT_TRUE(std::ranges::equal(frame, expected)) << "message " << next;
      ++next;
      return true;
    });
    ASSERT_TRUE(turn.has_value());
    if (turn->notify) to_peer.release();
    if (!turn->is_empty) continue;
    while (next < kMessages && consumer.prepare_to_sleep().value()) {
      ASSERT_TRUE(wait(to_us)) << "nobody told of message " << next;
    }
  }
}

void run_both(std::uint32_t page_order, RingSide producing, RingSide consuming) {
  TestRing ring(page_order);
  ring.start_at(0xffff0000);  // the indices wrap under way
  Doorbell to_consumer{0};
  Doorbell to_producer{0};
  std::jthread consumer([&] { consume(ring.consumer(consuming), to_producer, to_consumer); });
  produce(ring.producer(producing), to_consumer, to_producer);
}

// rules: BUS-26
TEST(RingStress, OutOnASmallRing) { run_both(0, RingSide::kDriver, RingSide::kDevice); }

TEST(RingStress, InOnASmallRing) { run_both(0, RingSide::kDevice, RingSide::kDriver); }

TEST(RingStress, OutOnALargeRing) { run_both(4, RingSide::kDriver, RingSide::kDevice); }

}  // namespace
}  // namespace vmsg
