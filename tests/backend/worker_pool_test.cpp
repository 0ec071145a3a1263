// What the control thread may rely on when it waits for the workers to end their turns.
#include "backend/worker_pool.hpp"

#include <gtest/gtest.h>

#include <algorithm>

#include <chrono>
#include <functional>
#include <memory>
#include <vector>

#include "tests/mock-xen/mock_xen.hpp"

namespace vmsg {
namespace {

class WorkerPoolTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds kDeadline{20};

  std::unique_ptr<WorkerPool> make_pool(unsigned workers) {
    const auto in_backend = xen_.as_domain(0);
    auto pool = WorkerPool::create(context_, workers, {}, [](const WorkerReport&) {});
    EXPECT_TRUE(pool.has_value());
    (*pool)->start([](const xen::XenError& error) { ADD_FAILURE() << xen::to_string(error); });
    return std::move(*pool);
  }

  /// Runs the loop until `is_done`; false when that takes too long.
  template <typename Condition>
  bool run_until(Condition is_done) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!is_done()) {
      if (context_.run_one_until(deadline) == 0) return false;
      context_.restart();
    }
    return true;
  }

  mock::MockXen xen_;
  boost::asio::io_context context_{1};
};

TEST_F(WorkerPoolTest, SaysWhenAllTurnsHaveEnded) {
  for (const unsigned workers : {1U, 3U}) {
    const auto pool = make_pool(workers);
    int calls = 0;

    pool->after_all_turns([&] { ++calls; });

    EXPECT_EQ(calls, 0) << "from within the call";
    EXPECT_TRUE(run_until([&] { return calls > 0; }));
    EXPECT_EQ(calls, 1);
  }
}

TEST_F(WorkerPoolTest, EveryoneWhoWaitsIsToldInTheirOrder) {
  const auto pool = make_pool(2);
  std::vector<int> told;

  for (int i = 0; i < 50; ++i) pool->after_all_turns([&told, i] { told.push_back(i); });

  EXPECT_TRUE(run_until([&] { return told.size() == 50; }));
  EXPECT_TRUE(std::ranges::is_sorted(told));
}

TEST_F(WorkerPoolTest, WhatWaitsMayWaitAgain) {
  const auto pool = make_pool(2);
  int rounds = 0;
  std::function<void()> again = [&] {
    if (++rounds < 10) pool->after_all_turns([&] { again(); });
  };

  pool->after_all_turns([&] { again(); });

  EXPECT_TRUE(run_until([&] { return rounds == 10; }));
}

TEST_F(WorkerPoolTest, APoolThatEndsDropsWhatWaitsAfterItsWorkersEnded) {
  auto pool = make_pool(2);
  bool is_called = false;
  const auto witness = std::make_shared<int>(0);

  pool->after_all_turns([&is_called, kept = witness] { is_called = true; });
  pool.reset();

  EXPECT_FALSE(is_called);
  EXPECT_EQ(witness.use_count(), 1);
}

TEST_F(WorkerPoolTest, WithoutThreadsWhoeverRunsThemHasTheWorkersDoTheirWork) {
  const auto in_backend = xen_.as_domain(0);
  auto pool = WorkerPool::create(context_, 2, {}, [](const WorkerReport&) {});
  ASSERT_TRUE(pool.has_value());
  (*pool)->start([](const xen::XenError& error) { ADD_FAILURE() << xen::to_string(error); },
                 WorkerPool::Threads::kNone);
  bool is_called = false;

  (*pool)->after_all_turns([&] { is_called = true; });
  context_.poll();

  EXPECT_FALSE(is_called) << "before a worker had a turn";
  EXPECT_FALSE((*pool)->run_once()) << "a worker that has nothing to do would go on";
  context_.poll();
  EXPECT_TRUE(is_called);
}

}  // namespace
}  // namespace vmsg
