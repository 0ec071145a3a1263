// virtio-rng (virtio 1.3, "Entropy Device"): one queue, device-writable buffers only, at least one
// byte for each.
#include "devices/rng/rng_device.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>

#include "tests/support/service_bench.hpp"

namespace vmsg::rng {
namespace {

using test::RingOptions;

constexpr Nanoseconds kSecond = 1'000'000'000;

/// Counts up, and gives no more than the test lets it.
class CountingSource final : public EntropySource {
 public:
  std::size_t fill(std::span<std::byte> out) override {
    ++calls;
    const std::size_t size = std::min(out.size(), at_most);
    for (std::byte& byte : out.first(size)) byte = std::byte{next++};
    return size;
  }

  std::size_t at_most = SIZE_MAX;
  int calls = 0;
  std::uint8_t next = 1;
};

class RngQueueTest : public ::testing::TestWithParam<RingOptions> {
 protected:
  RngQueueTest() : bench_(GetParam()) {}

  void start(const RngOptions& options = {}) {
    device_.emplace(options, source_);
    bench_.serve(device_->open_queue({setup_, no_io(), bench_.waker}));
  }
  test::TestDriver& driver() { return bench_.queues.driver; }

  CountingSource source_;
  std::optional<RngDevice> device_;
  test::ServiceBench bench_;

 private:
  static IoRing& no_io() {
    // The entropy device never submits anything; the ring is there because every queue gets one.
    static const std::unique_ptr<IoRing> ring = IoRing::create(4).value();
    return *ring;
  }
  QueueSetup setup_;
};

INSTANTIATE_TEST_SUITE_P(Rings, RngQueueTest, ::testing::ValuesIn(test::all_ring_options()),
                         [](const auto& ring) { return test::name_of(ring.param); });

TEST_P(RngQueueTest, FillsABuffer) {
  start();
  driver().chain().writable(4).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, 4U);
  EXPECT_EQ(used->data, test::bytes(4));
}

TEST_P(RngQueueTest, FillsABufferOfSeveralSegments) {
  start();
  driver().chain().writable(3).writable(5).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, 8U);
  EXPECT_EQ(used->data, test::bytes(8));
}

TEST_P(RngQueueTest, DrawsOnceForAllBuffersOfATurn) {
  start();
  driver().chain().writable(4).add();
  driver().chain().writable(4).add();
  driver().chain().writable(4).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(driver().poll_all().size(), 3U);
  EXPECT_EQ(source_.calls, 1);
}

TEST_P(RngQueueTest, ALargeBufferGetsSomeBytes) {
  start();
  driver().chain().writable(100'000).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_GE(used->written, 1U);
  EXPECT_LT(used->written, 100'000U);
}

TEST_P(RngQueueTest, ABufferWithoutWritableBytesIsABadRequest) {
  start();
  driver().chain().readable(8).publish();

  EXPECT_EQ(bench_.turn(), ServiceFault::kBadRequest);
  EXPECT_FALSE(driver().poll().has_value());
}

TEST_P(RngQueueTest, ABufferThatIsNotGrantedIsAFault) {
  start();
  const auto request = driver().chain().writable(8).add();
  static_cast<void>(driver().queue().publish());
  bench_.queues.memory.revoke(driver().writable_of(request)[0].address, 8);

  EXPECT_EQ(bench_.turn(), ServiceFault::kNotGranted);
}

TEST_P(RngQueueTest, AnEmptySourceKeepsTheBufferAndAsksForATurn) {
  start();
  source_.at_most = 0;
  driver().chain().writable(8).publish();

  EXPECT_EQ(bench_.turn(kSecond), std::nullopt);

  EXPECT_FALSE(driver().poll().has_value());
  ASSERT_TRUE(bench_.service().wants_turn_at().has_value());
  source_.at_most = 8;
  EXPECT_EQ(bench_.turn(*bench_.service().wants_turn_at()), std::nullopt);
  EXPECT_TRUE(driver().poll().has_value());
  EXPECT_FALSE(bench_.service().wants_turn_at().has_value());
}

TEST_P(RngQueueTest, ASourceThatGivesLessServesTheFirstBuffers) {
  start();
  source_.at_most = 6;
  driver().chain().writable(4).add();
  driver().chain().writable(4).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 2U);
  EXPECT_EQ(used[0].written, 4U);
  EXPECT_EQ(used[1].written, 2U);
}

TEST_P(RngQueueTest, ARateLimitHoldsBuffersUntilTheirTime) {
  start({.bytes_per_second = 10});
  driver().chain().writable(10).add();
  driver().chain().writable(10).publish();

  EXPECT_EQ(bench_.turn(kSecond), std::nullopt);
  EXPECT_EQ(driver().poll_all().size(), 1U);

  ASSERT_TRUE(bench_.service().wants_turn_at().has_value());
  EXPECT_GT(*bench_.service().wants_turn_at(), kSecond);
  EXPECT_EQ(bench_.turn(2 * kSecond), std::nullopt);
  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 1U);
  EXPECT_EQ(used[0].written, 10U);
}

TEST_P(RngQueueTest, AbandonedBuffersAreNotPublished) {
  start({.bytes_per_second = 1});
  driver().chain().writable(1).add();
  driver().chain().writable(1).publish();
  EXPECT_EQ(bench_.turn(kSecond), std::nullopt);
  EXPECT_EQ(driver().poll_all().size(), 1U);

  bench_.abandon();

  EXPECT_FALSE(driver().poll().has_value());
}

TEST(RngDevice, IsAnEntropyDeviceWithOneQueueAndNoConfiguration) {
  KernelEntropy source;
  const RngDevice device({}, source);

  EXPECT_EQ(device.identity().device_id, 4U);
  EXPECT_EQ(device.identity().max_virtqueues, 1U);
  EXPECT_EQ(device.identity().config_size, 0U);
  EXPECT_NE(device.max_queue_size(0), 0U);
  EXPECT_EQ(device.max_queue_size(1), 0U);
}

TEST(KernelEntropy, GivesDifferentBytesEachTime) {
  KernelEntropy source;
  std::array<std::byte, 32> first{};
  std::array<std::byte, 32> second{};

  EXPECT_EQ(source.fill(first), first.size());
  EXPECT_EQ(source.fill(second), second.size());

  EXPECT_NE(first, second);
}

}  // namespace
}  // namespace vmsg::rng
