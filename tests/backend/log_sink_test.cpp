// What a log line looks like, in the journal and on standard error.
#include "backend/log_sink.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <array>
#include <cstring>

#include "backend/log.hpp"
#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

using ::testing::MatchesRegex;

/// Where the journal would listen.
class FakeJournal {
 public:
  FakeJournal()
      : path_(directory_.path("journal")),
        socket_(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(static_cast<char*>(address.sun_path), path_.data(), path_.size());
    EXPECT_EQ(::bind(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)),
              0);
  }
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::string heard() const {
    std::array<char, 4096> bytes{};
    const ssize_t size = ::recv(socket_.get(), bytes.data(), bytes.size(), 0);
    return size < 0 ? "nothing" : std::string(bytes.data(), static_cast<std::size_t>(size));
  }

 private:
  test::TemporaryDirectory directory_;
  std::string path_;
  FileDescriptor socket_;
};

class JournalSinkTest : public ::testing::Test {
 protected:
  Log log_of(LogLevel most) { return Log(std::move(*JournalSink::open(most, journal_.path()))); }
  FakeJournal journal_;
};

TEST_F(JournalSinkTest, ALineHasFields) {
  log_of(LogLevel::kInfo).for_bus(3, 0).device(2).queue(1).warning("it {}", "broke");

  EXPECT_EQ(journal_.heard(),
            "PRIORITY=4\nSYSLOG_IDENTIFIER=vmsgd\nMESSAGE=dom3 bus0 dev2 q1: it broke\n"
            "VMSG_GUEST=3\nVMSG_BUS=0\nVMSG_DEVICE=2\nVMSG_QUEUE=1\n");
}

TEST_F(JournalSinkTest, ALineOfTheDaemonHasNone) {
  log_of(LogLevel::kInfo).error("no");

  EXPECT_EQ(journal_.heard(), "PRIORITY=3\nSYSLOG_IDENTIFIER=vmsgd\nMESSAGE=no\n");
}

TEST_F(JournalSinkTest, WordsCannotMakeFields) {
  log_of(LogLevel::kInfo).info("a\nPRIORITY=0\n\x1b[2J");

  EXPECT_EQ(journal_.heard(), "PRIORITY=6\nSYSLOG_IDENTIFIER=vmsgd\nMESSAGE=a PRIORITY=0  [2J\n");
}

TEST_F(JournalSinkTest, WhatIsNotWantedIsNotWritten) {
  const Log log = log_of(LogLevel::kWarning);

  log.info("no");
  log.for_bus(3, 0).guest_info("no");
  log.debug("no");

  EXPECT_EQ(journal_.heard(), "nothing");
}

TEST_F(JournalSinkTest, AGuestsLinesAreLimitedAcrossItsDevices) {
  const Log log = log_of(LogLevel::kInfo).for_bus(3, 0);
  for (std::uint32_t i = 0; i < GuestLineLimit::kBurst; ++i) log.device(1).guest("{}", i);
  while (journal_.heard() != "nothing") {
  }

  log.device(2).queue(0).guest("one more");
  log.info("not the guest's doing");

  EXPECT_EQ(journal_.heard(),
            "PRIORITY=6\nSYSLOG_IDENTIFIER=vmsgd\nMESSAGE=dom3 bus0: not the guest's doing\n"
            "VMSG_GUEST=3\nVMSG_BUS=0\n");
  EXPECT_EQ(log.held_back(), 1U);
}

TEST(StderrSink, ALine) {
  ::testing::internal::CaptureStderr();

  Log(std::make_shared<StderrSink>(LogLevel::kInfo)).for_bus(3, 0).info("hello\nthere");

  EXPECT_THAT(::testing::internal::GetCapturedStderr(),
              MatchesRegex("20[0-9-]+T[0-9:]+[.][0-9][0-9][0-9] info: dom3 bus0: hello there\n"));
}

TEST(StderrIsJournal, WhenTheServiceManagerSaysSo) {
  struct stat found{};
  ASSERT_EQ(::fstat(STDERR_FILENO, &found), 0);
  const std::string same = std::to_string(found.st_dev) + ":" + std::to_string(found.st_ino);

  ::setenv("JOURNAL_STREAM", same.c_str(), 1);
  EXPECT_TRUE(is_stderr_journal());
  ::setenv("JOURNAL_STREAM", "1:1", 1);  // of whoever started us with another standard error
  EXPECT_FALSE(is_stderr_journal());
  ::unsetenv("JOURNAL_STREAM");
  EXPECT_FALSE(is_stderr_journal());
}

TEST(LogLevel, Words) {
  EXPECT_EQ(parse_log_level("error"), LogLevel::kError);
  EXPECT_EQ(parse_log_level("debug"), LogLevel::kDebug);
  EXPECT_EQ(parse_log_level("?"), LogLevel::kInfo);
}

}  // namespace
}  // namespace vmsg
