// Both sides in threads of their own, as two domains are: first as good peers that sleep until
// they are notified (a lost wake-up hangs, and the test's time limit says so), then with a third
// thread that rewrites everything the device reads while it reads it.
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <random>
#include <thread>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

/// An event channel: pending until it is waited for.
class Doorbell {
 public:
  void ring() {
    pending_.store(true, std::memory_order_release);
    pending_.notify_one();
  }
  void wait() {
    pending_.wait(false, std::memory_order_acquire);
    pending_.store(false, std::memory_order_relaxed);
  }

 private:
  std::atomic<bool> pending_{false};
};

constexpr std::uint64_t kRequests = 4000;

class QueueThreads : public ::testing::TestWithParam<RingOptions> {
 protected:
  /// Takes, checks, answers with the sum of the request's bytes; sleeps when there is nothing.
  void serve(QueuePair& pair) {
    std::mt19937 random(1);
    std::uint64_t served = 0;
    std::vector<Chain> held;
    while (served < kRequests) {
      pair.device.disable_notifications();
      auto chains = pair.take(1 + random() % 8);
      ASSERT_TRUE(chains.has_value());
      const bool found = !chains->empty();
      for (Chain& chain : *chains) held.push_back(std::move(chain));
      while (!held.empty() && (!found || random() % 3 != 0)) {
        const std::size_t which = random() % held.size();
        Chain chain = std::move(held[which]);
        held.erase(held.begin() + static_cast<std::ptrdiff_t>(which));
        std::byte sum{0};
        for (const std::byte byte : pair.read(chain)) sum ^= byte;
        pair.write(chain, {&sum, 1});
        pair.device.complete(std::move(chain), 1);
        ++served;
      }
      if (pair.device.publish()) to_driver.ring();
      if (found || !held.empty() || served == kRequests) continue;
      if (!pair.device.enable_notifications()) to_device.wait();
    }
  }

  void drive(QueuePair& pair) {
    std::mt19937 random(2);
    std::uint64_t added = 0;
    std::uint64_t returned = 0;
    while (returned < kRequests) {
      pair.driver.queue().disable_callbacks();
      bool moved = false;
      for (std::size_t n = random() % 6; n != 0 && added < kRequests; --n) {
        auto chain = pair.driver.chain();
        static_cast<void>(
            std::move(chain).readable(bytes(1 + added % 50, first_byte(added))).writable(1));
        if (GetParam().indirect && random() % 2 == 0)
          static_cast<void>(std::move(chain).indirect());
        if (std::move(chain).try_add() != AddOutcome::kAdded) break;
        ++added;
        moved = true;
      }
      if (pair.driver.queue().publish()) to_device.ring();
      while (const auto used = pair.driver.poll()) {
        ASSERT_EQ(used->written, 1U);
        std::byte sum{0};
        for (const std::byte byte : bytes(1 + used->request % 50, first_byte(used->request))) {
          sum ^= byte;
        }
        ASSERT_EQ(used->data.front(), sum);
        ++returned;
        moved = true;
      }
      const bool may_wait = !moved && (added == kRequests || random() % 2 == 0);
      if (may_wait && added > returned && !pair.driver.queue().enable_callbacks()) {
        to_driver.wait();
      }
    }
  }

  static std::uint8_t first_byte(std::uint64_t request) {
    return static_cast<std::uint8_t>(request * 7);
  }

  Doorbell to_device;
  Doorbell to_driver;
};

INSTANTIATE_TEST_SUITE_P(AllFeatures, QueueThreads, ::testing::ValuesIn(all_ring_options()),
                         [](const auto& variant) { return name_of(variant.param); });

TEST_P(QueueThreads, NoRequestAndNoWakeUpIsLost) {
  QueuePair pair(GetParam());

  std::thread device([&] { serve(pair); });
  drive(pair);
  device.join();

  EXPECT_EQ(pair.driver.queue().outstanding(), 0U);
}

/// Everything that the device checked must still hold of what it hands out.
void check_and_complete(DeviceQueue& device, Chain chain) {
  std::uint64_t readable = 0;
  for (const Segment& segment : chain.readable()) {
    ASSERT_NE(segment.length, 0U);
    ASSERT_TRUE(segment.address.holds(segment.length));
    readable += segment.length;
  }
  std::uint64_t writable = 0;
  for (const Segment& segment : chain.writable()) {
    ASSERT_NE(segment.length, 0U);
    ASSERT_TRUE(segment.address.holds(segment.length));
    writable += segment.length;
  }
  ASSERT_EQ(readable, chain.readable_length());
  ASSERT_EQ(writable, chain.writable_length());
  ASSERT_LE(readable + writable, 0xffffffffU);
  ASSERT_LE(chain.readable().size() + chain.writable().size(), 64U);
  device.complete(std::move(chain), 0);
}

/// Rewrites places that matter with values that are nearly right, for as long as it is asked to.
class Rewriter {
 public:
  Rewriter(const TestDriver& driver, GrantAddress memory)
      : areas_(driver.areas()),
        size_(driver.options().size),
        is_split_(driver.options().format == QueueFormat::kSplit),
        memory_(memory) {}

  void run(const std::atomic<bool>& is_done) {
    while (!is_done.load(std::memory_order_relaxed)) {
      for (std::uint32_t i = 0; i < size_; ++i) make_valid(i);
      areas_.driver.store_release16(is_split_ ? 2 : 0, below(size_));
      for (int i = 0; i < 20; ++i) break_something();
    }
  }

 private:
  std::uint16_t below(std::uint32_t limit) { return static_cast<std::uint16_t>(random_() % limit); }

  void make_valid(std::uint32_t index) {
    const std::size_t at = std::size_t{index} * 16;
    areas_.descriptors.store_relaxed64(at, memory_.raw());
    areas_.descriptors.store_relaxed32(at + 8, 16);
    const auto number = static_cast<std::uint16_t>(index);
    if (is_split_) {
      areas_.descriptors.store_relaxed16(at + 12, 0);
      areas_.descriptors.store_relaxed16(at + 14, static_cast<std::uint16_t>(number + 1));
      areas_.driver.store_relaxed16(vring::kRingEntries + 2 * std::size_t{index}, number);
    } else {
      areas_.descriptors.store_relaxed16(at + 12, number);
      areas_.descriptors.store_release16(at + 14, vring::kPackedAvail);
    }
  }

  void break_something() {
    const std::size_t at = std::size_t{below(size_)} * 16;
    const std::size_t flags_at = at + (is_split_ ? 12 : 14);
    const std::size_t tail_at = at + (is_split_ ? 14 : 12);
    switch (below(6)) {
      case 0:
        return areas_.descriptors.store_relaxed64(
            at, GrantAddress::of(memory_.reference() + below(6), below(4096)).raw());
      case 1:
        return areas_.descriptors.store_relaxed32(at + 8, below(100) * 16U);
      case 2:
        return areas_.descriptors.store_relaxed16(
            flags_at,
            static_cast<std::uint16_t>(below(8) | (is_split_ ? 0U : below(0xffff) & 0x8080U)));
      case 3:
        return areas_.descriptors.store_relaxed16(tail_at, below(size_ + 1));
      case 4:
        return areas_.driver.store_relaxed16(is_split_ ? 2 : 0, below(size_ + 2));
      default:
        return areas_.driver.store_relaxed16(
            below(static_cast<std::uint32_t>(areas_.driver.size() / 2)) * std::size_t{2},
            below(size_ + 1));
    }
  }

  QueueAreas areas_;
  std::uint32_t size_;
  bool is_split_;
  GrantAddress memory_;
  std::mt19937 random_{3};
};

// rules: HOSTILE-3
TEST_P(QueueThreads, MemoryThatChangesWhileItIsReadIsAnErrorOrAChain) {
  FakeGuestMemory memory;
  RingOptions ring = GetParam();
  ring.size = 16;
  TestDriver driver(memory, ring);
  const GrantAddress tables = memory.allocate(4 * kGrantPageSize);
  std::ranges::fill(memory.bytes(tables, 4 * kGrantPageSize), std::byte{1});
  FakeCopyBatch fetch(CopyDirection::kFromGuest, memory);
  std::atomic<bool> is_done{false};
  std::thread rewriter([&] { Rewriter(driver, tables).run(is_done); });

  std::size_t errors = 0;
  std::size_t chains = 0;
  // Until enough was seen of both; how long that takes is up to the scheduler.
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(40);
  while ((errors < 100 || chains < 100) && std::chrono::steady_clock::now() < deadline) {
    auto device = DeviceQueue::create({.format = ring.format,
                                       .size = ring.size,
                                       .areas = driver.areas(),
                                       .event_idx = ring.event_idx,
                                       .indirect = ring.indirect,
                                       .in_order = ring.in_order,
                                       .max_chain_segments = 64});
    ASSERT_TRUE(device.has_value());
    for (int turn = 0; turn < 20; ++turn) {
      const auto count = (*device)->take_heads(fetch, GuestRef{}, 16);
      fetch.run();
      const auto taken = (*device)->finish_take();
      if (!count || !taken) {
        ++errors;
        break;
      }
      for (Chain& chain : *taken) check_and_complete(**device, std::move(chain));
      chains += taken->size();
      static_cast<void>((*device)->publish());
      static_cast<void>((*device)->enable_notifications());
    }
    (*device)->abandon();
    std::this_thread::yield();
  }
  is_done.store(true, std::memory_order_relaxed);
  rewriter.join();

  EXPECT_GE(errors, 100U);
  EXPECT_GE(chains, 100U);
}

}  // namespace
}  // namespace vmsg::test
