// Once a queue is enabled nothing is allocated any more: not for a chain, not for a message.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <memory>
#include <vector>

#include "tests/support/allocation_count.hpp"
#include "tests/support/fake_device.hpp"
#include "tests/support/fake_queue_host.hpp"
#include "tests/support/protocol_driver.hpp"
#include "tests/support/queue_pair.hpp"
#include "tests/support/recording_sink.hpp"
#include "transport/device_endpoint.hpp"

namespace vmsg::test {
namespace {

TEST(AllocationCount, SeesAnAllocation) {
  const std::size_t before = allocations();
  const auto something = std::make_unique<int>(1);
  EXPECT_EQ(allocations(), before + 1);
  EXPECT_EQ(*something, 1);
}

// ---- queues ------------------------------------------------------------------------------------

/// Copies at once, and keeps no book.
class PlainBatch final : public CopyBatch {
 public:
  explicit PlainBatch(FakeGuestMemory& memory) : memory_(memory) {}
  void add(const GuestRef& /*guest*/, GrantAddress address, std::span<std::byte> local,
           CopyOutcome& /*outcome*/) override {
    std::memcpy(local.data(), memory_.bytes(address, local.size()).data(), local.size());
  }
  void run() override {}
  [[nodiscard]] CopyDirection direction() const override { return CopyDirection::kFromGuest; }

 private:
  FakeGuestMemory& memory_;
};

class QueueAllocations : public ::testing::TestWithParam<RingOptions> {};

INSTANTIATE_TEST_SUITE_P(AllFeatures, QueueAllocations, ::testing::ValuesIn(all_ring_options()),
                         [](const auto& variant) { return name_of(variant.param); });

TEST_P(QueueAllocations, ChainsAreTakenAndGivenBackWithoutAny) {
  constexpr std::size_t kBatch = 8;
  RingOptions ring = GetParam();
  ring.size = 32;
  QueuePair pair(ring);
  PlainBatch fetch(pair.memory);
  std::vector<Chain> held(kBatch);

  // More rounds than the ring has entries, so that it wraps.
  for (int round = 0; round < 12; ++round) {
    for (std::size_t i = 0; i < kBatch; ++i) {
      auto chain = pair.driver.chain();
      if (ring.indirect && i % 2 == 1) {
        std::move(chain).indirect().readable(16).writable(4096).writable(1).add();
      } else {
        std::move(chain).readable(16).writable(4096).writable(1).add();
      }
    }
    static_cast<void>(pair.driver.queue().publish());

    const std::size_t before = allocations();
    pair.device.disable_notifications();
    const auto heads = pair.device.take_heads(fetch, GuestRef{}, kBatch);
    fetch.run();
    const auto taken = pair.device.finish_take();
    ASSERT_TRUE(heads && taken && taken->size() == kBatch);
    for (std::size_t i = 0; i < kBatch; ++i) held[i] = std::move((*taken)[i]);
    for (Chain& chain : held) pair.device.complete(std::move(chain), 4097);
    static_cast<void>(pair.device.publish());
    static_cast<void>(pair.device.enable_notifications());
    ASSERT_EQ(allocations(), before) << "round " << round;

    ASSERT_EQ(pair.driver.poll_all().size(), kBatch);
  }
}

// ---- messages ----------------------------------------------------------------------------------

/// What the driver reads while the device is set up, and afterwards only a count.
class CountingSink final : public FrameSink {
 public:
  explicit CountingSink(RecordingSink& recording) : recording_(recording) {}
  bool has_room(std::size_t bytes) override { return recording_.has_room(bytes); }
  void send(std::span<const std::byte> frame) override {
    if (is_counting) {
      ++count;
    } else {
      recording_.send(frame);
    }
  }

  bool is_counting = false;
  std::size_t count = 0;

 private:
  RecordingSink& recording_;
};

/// No book either.
class IdleQueueHost final : public QueueHost {
 public:
  [[nodiscard]] bool enable(const QueueSetup& /*setup*/) override { return true; }
  void go_live() override {}
  void kick(std::uint32_t /*index*/, std::uint32_t /*hint*/) override { ++kicks; }
  void stop() override {}
  [[nodiscard]] Release release(std::uint32_t /*index*/) override { return Release::kDone; }
  [[nodiscard]] Release release_all() override { return Release::kDone; }

  std::size_t kicks = 0;
};

TEST(EndpointAllocations, ALiveDeviceHandlesAndSendsWithoutAny) {
  FakeDevice device;
  IdleQueueHost queues;
  RecordingSink recording;
  CountingSink sink(recording);
  const auto endpoint = DeviceEndpoint::create(5, device, queues, sink, {}).value();
  ProtocolDriver driver(5, recording,
                        [&](std::span<const std::byte> frame) { endpoint->on_frame(frame); });
  driver.to_live({0, 1});

  std::array<std::byte, 64> buffer;
  const auto deliver = [&](const auto& message) {
    endpoint->on_frame(*encode(std::span<std::byte>(buffer), {.dev_num = 5, .token = 1}, message));
  };
  const std::array<std::byte, 4> value{};
  sink.is_counting = true;
  const std::size_t before = allocations();
  for (std::uint32_t round = 0; round < 100; ++round) {
    deliver(EventAvail{.vq_index = round % 2});
    deliver(GetConfigRequest{.offset = 0, .length = 8});
    deliver(SetConfigRequest{.generation = 0, .offset = 0, .data = value});
    deliver(GetDeviceStatusRequest{});
    deliver(GetVqueueRequest{.index = 0});
    endpoint->used(round % 2);
    endpoint->config_changed();
  }
  EXPECT_EQ(allocations(), before);
  EXPECT_EQ(queues.kicks, 100U);
  EXPECT_EQ(sink.count, 600U);  // four answers and two events a round
}

}  // namespace
}  // namespace vmsg::test
