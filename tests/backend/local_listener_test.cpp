// The daemon's unix sockets: who may use them, and what may be in their place.
#include "backend/local_listener.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

using ::testing::HasSubstr;

class LocalListener : public ::testing::Test {
 protected:
  [[nodiscard]] std::string path() const { return directory_.path("vmsgd.sock"); }
  [[nodiscard]] static mode_t mode_of(const std::string& path) {
    struct stat found{};
    return ::lstat(path.c_str(), &found) == 0 ? found.st_mode & 07777 : 0;
  }

  test::TemporaryDirectory directory_;
};

TEST_F(LocalListener, IsForTheOwnerAndItsGroup) {
  const auto listener = listen_local(path());

  ASSERT_TRUE(listener) << listener.error();
  EXPECT_EQ(mode_of(path()), 0660U);
}

TEST_F(LocalListener, MakesItsDirectory) {
  const auto listener = listen_local(directory_.path("vmsg/vmsgd.sock"));

  EXPECT_TRUE(listener) << listener.error();
}

TEST_F(LocalListener, ReplacesWhatADeadProcessLeft) {
  {
    ASSERT_TRUE(listen_local(path()));
  }

  const auto again = listen_local(path());

  EXPECT_TRUE(again) << again.error();
}

TEST_F(LocalListener, LeavesALivingOneAlone) {
  const auto first = listen_local(path());
  ASSERT_TRUE(first);

  const auto second = listen_local(path());

  ASSERT_FALSE(second);
  EXPECT_EQ(second.error(), path() + ": another process listens there");
}

TEST_F(LocalListener, LeavesAFileAlone) {
  std::ofstream(path()) << "precious";

  const auto listener = listen_local(path());

  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error(), path() + ": there is a file that is no socket");
  EXPECT_TRUE(std::filesystem::exists(path()));
}

TEST_F(LocalListener, NoSuchPlace) {
  const auto listener = listen_local(directory_.path("a/b/c"));

  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error(), HasSubstr("No such file or directory"));
}

TEST_F(LocalListener, TooLongAPath) {
  const auto listener = listen_local(directory_.path(std::string(108, 'x')));

  ASSERT_FALSE(listener);
  EXPECT_THAT(listener.error(), HasSubstr("a path of 1 to 107 bytes is expected"));
}

}  // namespace
}  // namespace vmsg
