// When a worker looks once more and when it sleeps: with the clock in the test's hand.
#include "backend/poll_policy.hpp"

#include <gtest/gtest.h>

namespace vmsg {
namespace {

constexpr std::uint64_t kMicrosecond = 1000;

class PollPolicyTest : public ::testing::Test {
 protected:
  static constexpr PollPolicy::Options kOptions{.window_ns = 50 * kMicrosecond,
                                                .share_percent = 50};

  /// Work comes `pause` after the last; the worker looks every microsecond as long as it may. How
  /// long it looked.
  std::uint64_t work_after(std::uint64_t pause) {
    std::uint64_t looked = 0;
    bool is_looking = true;
    for (std::uint64_t passed = 0; passed < pause; passed += kMicrosecond) {
      is_looking = is_looking && policy.may_look_on(now + passed);
      if (is_looking) looked = passed + kMicrosecond;
    }
    now += pause;
    policy.found_work(now);
    return looked;
  }

  PollPolicy policy{kOptions};
  std::uint64_t now = 1'000'000'000;
};

TEST_F(PollPolicyTest, LooksOnUntilWorkThatComesSoon) {
  policy.found_work(now);
  for (int i = 0; i < 100; ++i) {
    now += 100 * kMicrosecond;  // the work itself
    EXPECT_EQ(work_after(20 * kMicrosecond), 20 * kMicrosecond);
  }
}

TEST_F(PollPolicyTest, GivesUpAfterTheWindow) {
  policy.found_work(now);

  EXPECT_EQ(work_after(1000 * kMicrosecond), 50 * kMicrosecond);
}

TEST_F(PollPolicyTest, DoesNotLookWhenWorkUsuallyComesLater) {
  policy.found_work(now);
  for (int i = 0; i < 30; ++i) work_after(1000 * kMicrosecond);

  EXPECT_EQ(work_after(1000 * kMicrosecond), 0U);
}

TEST_F(PollPolicyTest, LooksAgainWhenWorkComesSoonAgain) {
  policy.found_work(now);
  for (int i = 0; i < 30; ++i) work_after(1000 * kMicrosecond);
  for (int i = 0; i < 30; ++i) work_after(10 * kMicrosecond);

  EXPECT_EQ(work_after(10 * kMicrosecond), 10 * kMicrosecond);
}

TEST_F(PollPolicyTest, WithoutAnyWorkItLooksOnceAndNeverAgain) {
  policy.found_work(now);
  std::uint64_t looks = 0;
  for (int i = 0; i < 100000; ++i) {
    now += kMicrosecond;
    if (policy.may_look_on(now)) ++looks;
  }
  EXPECT_LE(looks, 50U);
}

TEST_F(PollPolicyTest, NeverTakesMoreThanItsShare) {
  policy.found_work(now);
  const std::uint64_t begin = now;
  std::uint64_t looked = 0;
  // Nothing but pauses that are worth it: it would look all the time.
  while (now - begin < 2'000'000'000) looked += work_after(40 * kMicrosecond);

  EXPECT_LE(looked, (now - begin) * 51 / 100);
  EXPECT_GE(looked, (now - begin) * 40 / 100);
}

TEST_F(PollPolicyTest, AWindowOfNothingIsNever) {
  policy = PollPolicy({.window_ns = 0, .share_percent = 100});
  policy.found_work(now);

  EXPECT_EQ(work_after(10 * kMicrosecond), 0U);
}

TEST_F(PollPolicyTest, AShareOfNothingIsNever) {
  policy = PollPolicy({.window_ns = 50 * kMicrosecond, .share_percent = 0});
  policy.found_work(now);

  EXPECT_EQ(work_after(10 * kMicrosecond), 0U);
}

}  // namespace
}  // namespace vmsg
