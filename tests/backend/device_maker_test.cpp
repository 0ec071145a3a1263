// How devices are made away from the control thread, and what is tried again.
#include "backend/device_maker.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <boost/asio/executor_work_guard.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <utility>

#include "devices/file_descriptor.hpp"

namespace vmsg {
namespace {

using ::testing::HasSubstr;

/// A disk whose image somebody else has locked.
class LockedDiskTest : public ::testing::Test {
 protected:
  LockedDiskTest() {
    std::string name = "device_maker_test.XXXXXX";
    holder_ = FileDescriptor(mkstemp(name.data()));
    path_ = std::filesystem::absolute(name);
    EXPECT_EQ(ftruncate(holder_.get(), 1 << 20), 0);
    EXPECT_EQ(flock(holder_.get(), LOCK_EX), 0);
    EXPECT_GE(inotify_add_watch(closes_.get(), path_.c_str(), IN_CLOSE), 0);
  }
  ~LockedDiskTest() override { unlink(path_.c_str()); }

  void make(std::chrono::milliseconds patience) {
    maker_.emplace(context_, catalog_, patience);
    maker_->start();
    maker_->make("blk", {{"target", path_}, {"direct", "off"}}, {},
                 [this](DeviceMaker::Made made) { made_ = std::move(made); });
  }
  /// Opened, and given up.
  void wait_for_an_attempt() {
    inotify_event event{};
    ASSERT_EQ(read(closes_.get(), &event, sizeof(event)), sizeof(event));
  }
  void wait_for_the_end() {
    const auto work = boost::asio::make_work_guard(context_);
    while (!made_) ASSERT_EQ(context_.run_one_for(std::chrono::seconds{20}), 1U);
  }

  FileDescriptor holder_;
  FileDescriptor closes_{inotify_init1(IN_CLOEXEC)};
  std::string path_;
  boost::asio::io_context context_{1};
  DeviceCatalog catalog_{nullptr};
  std::optional<DeviceMaker::Made> made_;
  std::optional<DeviceMaker> maker_;
};

// What a daemon that was killed leaves: the kernel keeps its disk until its operations have ended.
TEST_F(LockedDiskTest, IsMadeWhenItIsLetGo) {
  make(std::chrono::minutes{1});
  wait_for_an_attempt();
  holder_ = FileDescriptor();

  wait_for_the_end();

  EXPECT_TRUE(made_->has_value());
}

TEST_F(LockedDiskTest, IsRefusedWhenItIsNot) {
  make(std::chrono::milliseconds{0});

  wait_for_the_end();

  ASSERT_FALSE(made_->has_value());
  EXPECT_THAT(made_->error().words, HasSubstr("in use by somebody else"));
}

}  // namespace
}  // namespace vmsg
