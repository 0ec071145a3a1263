// Random workloads, device side against driver side, in every combination of features: each buffer
// comes back exactly once with the right bytes, in-order queues keep the order, and nobody who
// asked for a notification goes without one. Seeds are fixed: a failure names its step.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <utility>
#include <vector>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

std::byte pattern(std::uint64_t request, std::size_t i) {
  return static_cast<std::byte>(request * 31 + i);
}

/// Both sides and a model of what each of them has promised the other.
class Workload {
 public:
  Workload(const RingOptions& ring, std::uint32_t max_in_flight, std::uint64_t seed)
      : ring_(ring),
        pair_(ring, {.max_chain_segments = 8, .max_in_flight = max_in_flight}),
        random_(seed) {}

  void step() {
    switch (pick(0, 7)) {
      case 0:
      case 1:
        return add();
      case 2:
        return publish_added();
      case 3:
        return take();
      case 4:
        return complete();
      case 5:
        return publish_used();
      case 6:
        return poll();
      default:
        return ask();
    }
  }

  /// Lets everything come back.
  void drain() {
    for (int i = 0; i < 10000 && !requests_.empty(); ++i) {
      publish_added();
      take();
      complete();
      publish_used();
      poll();
    }
    EXPECT_TRUE(requests_.empty());
    EXPECT_EQ(pair_.device.in_flight(), 0U);
    EXPECT_EQ(pair_.driver.queue().outstanding(), 0U);
    EXPECT_EQ(pair_.driver.queue().free_descriptors(), ring_.size);
  }

  [[nodiscard]] std::uint64_t returned() const { return returned_; }

 private:
  struct Request {
    std::size_t readable = 0;
    std::size_t writable = 0;
    std::uint32_t written = 0;
    bool is_taken = false;
    bool is_completed = false;
  };

  std::size_t pick(std::size_t from, std::size_t to) {
    return std::uniform_int_distribution<std::size_t>(from, to)(random_);
  }

  void add() {
    auto chain = pair_.driver.chain();
    Request request;
    const std::size_t readable = pick(0, 3);
    const std::size_t writable = pick(readable == 0 ? 1 : 0, 3);
    const std::uint64_t number = next_request_;
    for (std::size_t i = 0; i < readable; ++i) {
      std::vector<std::byte> data(pick(0, 9) == 0 ? pick(4000, 9000) : pick(0, 40));
      for (std::byte& byte : data) byte = pattern(number, request.readable++);
      static_cast<void>(std::move(chain).at_offset(offset()).readable(data));
    }
    for (std::size_t i = 0; i < writable; ++i) {
      const std::size_t size = pick(0, 9) == 0 ? pick(4000, 9000) : pick(0, 40);
      request.writable += size;
      static_cast<void>(std::move(chain).at_offset(offset()).writable(size));
    }
    if (ring_.indirect && pick(0, 2) != 0) static_cast<void>(std::move(chain).indirect(offset()));
    if (std::move(chain).try_add() != AddOutcome::kAdded) return;
    requests_[number] = request;
    added_.push_back(number);
    ++next_request_;
    ++unpublished_;
  }

  std::uint32_t offset() { return static_cast<std::uint32_t>(pick(0, 4095)); }

  void publish_added() {
    const bool kicked = pair_.driver.queue().publish();
    if (unpublished_ != 0 && device_waits_) {
      EXPECT_TRUE(kicked) << "the device sleeps for ever";
      device_waits_ = false;
    }
    unpublished_ = 0;
  }

  void take() {
    device_waits_ = false;
    auto chains = pair_.take(pick(0, 5));
    ASSERT_TRUE(chains.has_value()) << name(chains.error().fault);
    for (Chain& chain : *chains) {
      // Chains come in the order in which they were added.
      ASSERT_FALSE(added_.empty());
      const std::uint64_t number = added_.front();
      added_.pop_front();
      Request& request = requests_.at(number);
      ASSERT_FALSE(std::exchange(request.is_taken, true));
      ASSERT_EQ(chain.readable_length(), request.readable);
      ASSERT_EQ(chain.writable_length(), request.writable);
      const auto data = pair_.read(chain);
      for (std::size_t i = 0; i < data.size(); ++i) ASSERT_EQ(data[i], pattern(number, i));
      in_flight_.emplace_back(number, std::move(chain));
    }
  }

  void complete() {
    if (in_flight_.empty()) return;
    const std::size_t which = pick(0, in_flight_.size() - 1);
    auto [number, chain] = std::move(in_flight_[which]);
    in_flight_.erase(in_flight_.begin() + static_cast<std::ptrdiff_t>(which));
    Request& request = requests_.at(number);
    request.written = static_cast<std::uint32_t>(pick(0, request.writable));
    std::vector<std::byte> data(request.written);
    for (std::size_t i = 0; i < data.size(); ++i) data[i] = pattern(number + 7, i);
    pair_.write(chain, data);
    request.is_completed = true;
    pair_.device.complete(std::move(chain), request.written);
  }

  void publish_used() {
    const std::size_t before = pair_.device.in_flight();
    const bool notified = pair_.device.publish();
    if (pair_.device.in_flight() != before && driver_waits_) {
      EXPECT_TRUE(notified) << "the driver sleeps for ever";
      driver_waits_ = false;
    }
  }

  void poll() {
    driver_waits_ = false;
    for (std::size_t left = pick(0, 5); left != 0; --left) {
      const auto used = pair_.driver.poll();
      if (!used) return;
      const auto request = requests_.find(used->request);
      ASSERT_NE(request, requests_.end()) << "came back twice";
      ASSERT_TRUE(request->second.is_completed);
      ASSERT_EQ(used->written, request->second.written);
      for (std::size_t i = 0; i < used->data.size(); ++i) {
        ASSERT_EQ(used->data[i], i < used->written ? pattern(used->request + 7, i) : std::byte{0});
      }
      if (ring_.in_order) {
        ASSERT_EQ(used->request, returned_);
      }
      requests_.erase(request);
      ++returned_;
    }
  }

  void ask() {
    if (pick(0, 1) == 0) {
      device_waits_ = !pair_.device.enable_notifications();
    } else {
      driver_waits_ = !pair_.driver.queue().enable_callbacks();
    }
    if (pick(0, 3) == 0) {
      pair_.device.disable_notifications();
      device_waits_ = false;
    }
    if (pick(0, 3) == 0) {
      pair_.driver.queue().disable_callbacks();
      driver_waits_ = false;
    }
  }

  RingOptions ring_;
  QueuePair pair_;
  std::mt19937_64 random_;
  std::map<std::uint64_t, Request> requests_;  // added and not yet returned
  std::deque<std::uint64_t> added_;            // not yet taken
  std::vector<std::pair<std::uint64_t, Chain>> in_flight_;
  std::uint64_t next_request_ = 0;
  std::uint64_t returned_ = 0;
  std::size_t unpublished_ = 0;
  bool device_waits_ = false;
  bool driver_waits_ = false;
};

class QueueProperty : public ::testing::TestWithParam<RingOptions> {};

INSTANTIATE_TEST_SUITE_P(AllFeatures, QueueProperty, ::testing::ValuesIn(all_ring_options()),
                         [](const auto& variant) { return name_of(variant.param); });

TEST_P(QueueProperty, EveryBufferComesBackOnceWithItsBytes) {
  std::uint64_t returned = 0;
  for (const std::uint32_t size : {1U, 2U, 4U, 8U, 16U, 64U, 3U, 5U, 13U}) {
    RingOptions ring = GetParam();
    ring.size = size;
    if (!is_valid_queue_size(ring.format, size)) continue;
    for (const std::uint32_t max_in_flight : {0U, 1U, size / 2}) {
      Workload workload(ring, max_in_flight, size * 1000 + max_in_flight);
      for (int step = 0; step < 2000; ++step) {
        workload.step();
        ASSERT_FALSE(HasFailure()) << "size " << size << ", step " << step;
      }
      workload.drain();
      returned += workload.returned();
    }
  }
  EXPECT_GT(returned, 1000U);  // the workload does work
}

}  // namespace
}  // namespace vmsg::test
