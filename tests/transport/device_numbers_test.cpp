// Device numbers of a bus: one device each, a rest after removal, the longest unused first.
#include "transport/device_numbers.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vmsg {
namespace {

using std::chrono::seconds;
using ::testing::Optional;

TEST(DeviceNumbers, BUS9ANumberIsTakenByOneDeviceOnly) {
  DeviceNumbers numbers;

  EXPECT_TRUE(numbers.take(0, seconds(1)));

  EXPECT_FALSE(numbers.take(0, seconds(2)));
  EXPECT_EQ(numbers.state(0, seconds(2)), NumberState::kTaken);
}

TEST(DeviceNumbers, BUS11AReleasedNumberRestsFifteenSeconds) {
  DeviceNumbers numbers;
  ASSERT_TRUE(numbers.take(7, seconds(0)));
  numbers.release(7, seconds(100));

  EXPECT_EQ(numbers.state(7, seconds(115) - Instant(1)), NumberState::kQuarantined);
  EXPECT_FALSE(numbers.take(7, seconds(115) - Instant(1)));
  EXPECT_TRUE(numbers.take(7, seconds(115)));
}

TEST(DeviceNumbers, TheQuarantineCanBeConfigured) {
  DeviceNumbers numbers(seconds(2));
  ASSERT_TRUE(numbers.take(7, seconds(0)));
  numbers.release(7, seconds(10));

  EXPECT_FALSE(numbers.take(7, seconds(11)));
  EXPECT_TRUE(numbers.take(7, seconds(12)));
}

TEST(DeviceNumbers, TheQuarantineStartsAnewWithEveryRelease) {
  DeviceNumbers numbers;
  ASSERT_TRUE(numbers.take(7, seconds(0)));
  numbers.release(7, seconds(0));
  ASSERT_TRUE(numbers.take(7, seconds(20)));
  numbers.release(7, seconds(30));

  EXPECT_FALSE(numbers.take(7, seconds(44)));
  EXPECT_TRUE(numbers.take(7, seconds(45)));
}

TEST(DeviceNumbers, FreshNumbersAreAllocatedBeforeUsedOnes) {
  DeviceNumbers numbers;
  ASSERT_THAT(numbers.take_any(seconds(0)), Optional(0));
  numbers.release(0, seconds(0));

  EXPECT_THAT(numbers.take_any(seconds(1000)), Optional(1));
}

TEST(DeviceNumbers, NumbersTakenByNameAreNotAllocated) {
  DeviceNumbers numbers;
  ASSERT_TRUE(numbers.take(0, seconds(0)));
  ASSERT_TRUE(numbers.take(2, seconds(0)));

  EXPECT_THAT(numbers.take_any(seconds(0)), Optional(1));
  EXPECT_THAT(numbers.take_any(seconds(0)), Optional(3));
}

// rules: BUS-11
TEST(DeviceNumbers, WhenAllWereUsedTheLongestUnusedComesFirst) {
  DeviceNumbers numbers;
  for (int i = 0; i < 65536; ++i) ASSERT_TRUE(numbers.take_any(seconds(0)).has_value());
  numbers.release(500, seconds(1));
  numbers.release(3, seconds(2));

  EXPECT_EQ(numbers.take_any(seconds(15)), std::nullopt);
  EXPECT_THAT(numbers.take_any(seconds(60)), Optional(500));
  EXPECT_THAT(numbers.take_any(seconds(60)), Optional(3));
  EXPECT_EQ(numbers.take_any(seconds(60)), std::nullopt);
}

}  // namespace
}  // namespace vmsg
