#include "tools/vmsg/created_guests.hpp"

#include <gmock/gmock.h>

#include "tests/support/temporary_directory.hpp"

namespace vmsg::tool {
namespace {

TEST(CreatedGuests, AClaimIsSeenByOthersUntilItEnds) {
  const test::TemporaryDirectory folder;
  CreatedGuests mine(folder.path());
  CreatedGuests others(folder.path());

  {
    const auto claim = mine.claim("guest1");
    ASSERT_TRUE(claim);
    EXPECT_TRUE(others.is_claimed("guest1"));
    EXPECT_FALSE(others.is_claimed("guest2"));
    EXPECT_THAT(others.claim("guest1").error(), testing::HasSubstr("another vmsg"));
  }

  EXPECT_FALSE(others.is_claimed("guest1"));
  EXPECT_EQ(others.config_of("guest1"), std::nullopt);
}

TEST(CreatedGuests, AKeptClaimIsRemembered) {
  const test::TemporaryDirectory folder;
  CreatedGuests guests(folder.path());

  ASSERT_TRUE(guests.claim("guest1")->keep("/root/guest1.cfg"));

  EXPECT_FALSE(guests.is_claimed("guest1"));
  EXPECT_EQ(guests.config_of("guest1"), "/root/guest1.cfg");
}

TEST(CreatedGuests, AFailedSecondAttemptForgetsNothing) {
  const test::TemporaryDirectory folder;
  CreatedGuests guests(folder.path());
  ASSERT_TRUE(guests.claim("guest1")->keep("/root/guest1.cfg"));

  static_cast<void>(guests.claim("guest1"));

  EXPECT_EQ(guests.config_of("guest1"), "/root/guest1.cfg");
}

TEST(CreatedGuests, NoNameLeadsOutOfTheFolder) {
  const test::TemporaryDirectory folder;
  CreatedGuests guests(folder.path() + "/run");

  ASSERT_TRUE(guests.claim("../../escape")->keep("x"));

  EXPECT_EQ(guests.config_of("../../escape"), "x");
  EXPECT_FALSE(std::filesystem::exists(folder.path() + "/escape"));
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() + "/run/guests")) {
    EXPECT_EQ(entry.path().filename(), "%2e%2e%2f%2e%2e%2fescape");
  }
}

}  // namespace
}  // namespace vmsg::tool
