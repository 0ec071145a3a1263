#include "backend/retry_timer.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace vmsg {
namespace {

using std::chrono::milliseconds;

constexpr RetryTimer::Pace kSoon{.first = milliseconds(1), .last = milliseconds(2)};

TEST(RetryTimerTest, WhatFailsIsTriedUntilItDoesNot) {
  boost::asio::io_context context;
  int failures_left = 5;
  int tries = 0;
  std::unique_ptr<RetryTimer> timer;
  timer = std::make_unique<RetryTimer>(
      context,
      [&] {
        ++tries;
        if (--failures_left > 0) timer->arm();
      },
      kSoon);
  context.run();
  EXPECT_EQ(tries, 0) << "nothing has failed yet";

  timer->arm();
  context.restart();
  context.run();
  EXPECT_EQ(tries, 5);
}

TEST(RetryTimerTest, OneTryIsForAllThatFailsUntilThen) {
  boost::asio::io_context context;
  int tries = 0;
  RetryTimer timer(context, [&] { ++tries; }, kSoon);
  for (int i = 0; i < 10; ++i) timer.arm();
  context.run();
  EXPECT_EQ(tries, 1);
}

TEST(RetryTimerTest, ATryMayEndIt) {
  boost::asio::io_context context;
  std::unique_ptr<RetryTimer> timer;
  timer = std::make_unique<RetryTimer>(context, [&] { timer.reset(); }, kSoon);
  timer->arm();
  context.run();
  EXPECT_EQ(timer, nullptr);
}

TEST(RetryTimerTest, NothingIsTriedAfterItsEnd) {
  boost::asio::io_context context;
  int tries = 0;
  {
    RetryTimer timer(context, [&] { ++tries; }, kSoon);
    timer.arm();
  }
  context.run();
  EXPECT_EQ(tries, 0);
}

}  // namespace
}  // namespace vmsg
