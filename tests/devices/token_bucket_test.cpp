// Rate limits with a clock of the test's own.
#include "devices/token_bucket.hpp"

#include <gtest/gtest.h>

namespace vmsg {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

TEST(TokenBucket, WithoutALimitEverythingIsAvailable) {
  TokenBucket bucket(0);

  bucket.spend(1'000'000);

  EXPECT_EQ(bucket.available(1'000'000, 0), 1'000'000U);
  EXPECT_FALSE(bucket.is_limited());
}

TEST(TokenBucket, StartsWithOneSecondsWorth) {
  TokenBucket bucket(100);

  EXPECT_EQ(bucket.available(1000, 0), 100U);
}

TEST(TokenBucket, RefillsInProportionToTime) {
  TokenBucket bucket(100);
  bucket.spend(100);

  EXPECT_EQ(bucket.available(1000, kSecond / 4), 25U);
}

TEST(TokenBucket, NeverHoldsMoreThanOneSecondsWorth) {
  TokenBucket bucket(100);

  EXPECT_EQ(bucket.available(1000, 50 * kSecond), 100U);
}

TEST(TokenBucket, SmallStepsOfTimeAddUp) {
  TokenBucket bucket(10);
  bucket.spend(10);
  for (std::uint64_t step = 1; step < 100; ++step) {
    static_cast<void>(bucket.available(1, step * kSecond / 1000));
  }

  EXPECT_EQ(bucket.available(10, kSecond / 10), 1U);
}

TEST(TokenBucket, WhatIsTooLittleForATokenStaysEarned) {
  TokenBucket bucket(10);
  bucket.spend(10);

  EXPECT_EQ(bucket.available(10, 150 * kSecond / 1000), 1U);
  EXPECT_EQ(bucket.available(10, 300 * kSecond / 1000), 3U);
}

TEST(TokenBucket, SaysWhenTheNextTokenComes) {
  TokenBucket bucket(10);
  EXPECT_EQ(bucket.available(10, kSecond), 10U);
  bucket.spend(10);

  const std::uint64_t at = bucket.next_token_at();

  EXPECT_EQ(bucket.available(1, at - kSecond / 100), 0U);
  EXPECT_EQ(bucket.available(1, at), 1U);
}

TEST(TokenBucket, ADebtIsPaidOffBeforeAnythingIsAvailable) {
  TokenBucket bucket(100);
  bucket.spend(150);

  EXPECT_EQ(bucket.available(1, kSecond / 2), 0U);
  EXPECT_EQ(bucket.available(1, bucket.next_token_at()), 1U);
  EXPECT_EQ(bucket.available(1000, kSecond), 50U);
}

TEST(TokenBucket, AClockThatDoesNotMoveGivesNothing) {
  TokenBucket bucket(100);
  EXPECT_EQ(bucket.available(100, 7 * kSecond), 100U);
  bucket.spend(100);

  EXPECT_EQ(bucket.available(100, 7 * kSecond), 0U);
}

TEST(TokenBucket, ADebtIsPaidBeforeAnAmountIsThere) {
  TokenBucket bucket(1000);
  ASSERT_EQ(bucket.available(1000, 0), 1000U);

  bucket.spend(1500);

  EXPECT_GE(bucket.available_at(100), 600'000'000U);
}

}  // namespace
}  // namespace vmsg
