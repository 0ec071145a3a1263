// Lines that a guest causes are limited, and what was held back is told.
#include "backend/log.hpp"

#include <gtest/gtest.h>

namespace vmsg {
namespace {

TEST(GuestLineLimit, ABurstIsAllowed) {
  GuestLineLimit limit;
  std::uint64_t held_back = 0;

  for (std::uint32_t i = 0; i < GuestLineLimit::kBurst; ++i) {
    EXPECT_TRUE(limit.allow(1000, held_back));
  }
  EXPECT_FALSE(limit.allow(1000, held_back));
  EXPECT_EQ(held_back, 0U);
}

TEST(GuestLineLimit, OneMoreAfterAWhileAndItSaysHowManyWereNot) {
  GuestLineLimit limit;
  std::uint64_t held_back = 0;
  for (std::uint32_t i = 0; i < GuestLineLimit::kBurst; ++i) {
    ASSERT_TRUE(limit.allow(1000, held_back));
  }
  for (int i = 0; i < 5; ++i) ASSERT_FALSE(limit.allow(1000, held_back));

  EXPECT_FALSE(limit.allow(1000 + GuestLineLimit::kPerLine - 1, held_back));
  EXPECT_TRUE(limit.allow(1000 + GuestLineLimit::kPerLine, held_back));
  EXPECT_EQ(held_back, 6U);
  EXPECT_FALSE(limit.allow(1000 + GuestLineLimit::kPerLine, held_back));
  EXPECT_EQ(limit.total_held_back(), 7U);
}

TEST(GuestLineLimit, AQuietGuestHasItsWholeBurstAgain) {
  GuestLineLimit limit;
  std::uint64_t held_back = 0;
  for (std::uint32_t i = 0; i < GuestLineLimit::kBurst; ++i) {
    ASSERT_TRUE(limit.allow(1000, held_back));
  }

  const std::uint64_t later = 1000 + GuestLineLimit::kBurst * GuestLineLimit::kPerLine;
  for (std::uint32_t i = 0; i < GuestLineLimit::kBurst; ++i) {
    EXPECT_TRUE(limit.allow(later, held_back));
  }
  EXPECT_FALSE(limit.allow(later, held_back));
}

}  // namespace
}  // namespace vmsg
