// How much a guest may ask for in a second.
#include "backend/guest_budget.hpp"

#include <gtest/gtest.h>

#include <cstdint>
#include <thread>
#include <vector>

namespace vmsg {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;
constexpr std::uint64_t kStart = 50 * kSecond;

TEST(GuestBudget, WithoutALimitNobodyWaits) {
  GuestBudget budget({});

  budget.spend(1'000'000, std::uint64_t{1} << 40, kStart);
  EXPECT_LE(budget.free_at(kStart), kStart);
}

TEST(GuestBudget, WhatWasTakenTooMuchIsWaitedFor) {
  GuestBudget budget({.requests_per_second = 1000, .bytes_per_second = 0});

  budget.spend(600, 1 << 30, kStart);
  // A tenth of a second was saved up.
  EXPECT_EQ(budget.free_at(kStart), kStart + kSecond / 2);
}

TEST(GuestBudget, TheTighterLimitCounts) {
  GuestBudget budget({.requests_per_second = 1000, .bytes_per_second = 1000});

  budget.spend(10, 1100, kStart);
  EXPECT_EQ(budget.free_at(kStart), kStart + kSecond);
}

TEST(GuestBudget, NoMoreThanATenthOfASecondIsSavedUp) {
  GuestBudget budget({.requests_per_second = 1000, .bytes_per_second = 0});

  budget.spend(1, 0, kStart);
  budget.spend(1100, 0, kStart + 100 * kSecond);
  EXPECT_EQ(budget.free_at(0), kStart + 101 * kSecond);
}

TEST(GuestBudget, TheRateIsKeptOverALongWhile) {
  GuestBudget budget({.requests_per_second = 12345, .bytes_per_second = 0});
  std::uint64_t now = kStart;
  std::uint64_t spent = 0;

  while (now < kStart + 20 * kSecond) {
    now = std::max(now + 1000, budget.free_at(now));
    budget.spend(32, 0, now);
    spent += 32;
  }
  EXPECT_NEAR(static_cast<double>(spent), 20.1 * 12345, 64);
}

TEST(GuestBudget, WorkersShareIt) {
  constexpr std::uint64_t kEach = 10'000;
  GuestBudget budget({.requests_per_second = 1000, .bytes_per_second = 0});

  {
    std::vector<std::jthread> workers;
    for (int i = 0; i < 4; ++i) {
      workers.emplace_back([&] {
        for (std::uint64_t k = 0; k < kEach; ++k) budget.spend(1, 0, kStart);
      });
    }
  }
  EXPECT_EQ(budget.free_at(kStart), kStart - kSecond / 10 + 40 * kSecond);
}

}  // namespace
}  // namespace vmsg
