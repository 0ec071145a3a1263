#include "tools/vmsg/control_client.hpp"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "tests/support/temporary_directory.hpp"

namespace vmsg::tool {
namespace {

using testing::HasSubstr;

/// Answers one client with the same text whatever it asks, then hangs up.
class FakeDaemon {
 public:
  FakeDaemon(const std::string& path, std::string answer) {
    listening_ = FileDescriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(bind(listening_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
              0);
    EXPECT_EQ(listen(listening_.get(), 1), 0);
    thread_ = std::thread([this, answer = std::move(answer)] {
      const FileDescriptor client(accept(listening_.get(), nullptr, nullptr));
      char byte = 0;
      while (byte != '\n' && read(client.get(), &byte, 1) == 1) asked_ += byte;
      EXPECT_EQ(send(client.get(), answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
    });
  }
  std::string asked() {
    thread_.join();
    return asked_;
  }
  ~FakeDaemon() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  FileDescriptor listening_;
  std::string asked_;
  std::thread thread_;
};

Result<nlohmann::json, std::string> status_of(const std::string& answer) {
  const test::TemporaryDirectory folder;
  const FakeDaemon daemon(folder.path() + "/sock", answer);
  return read_daemon_status(folder.path() + "/sock");
}

TEST(ControlClient, AsksInALineAndReadsALine) {
  const test::TemporaryDirectory folder;
  FakeDaemon daemon(folder.path() + "/sock", "{\"version\":\"1\",\"new\":[]}\n");

  const auto status = read_daemon_status(folder.path() + "/sock");

  ASSERT_TRUE(status);
  EXPECT_EQ((*status)["version"], "1");
  EXPECT_EQ(daemon.asked(), "{\"command\":\"status\"}\n");
}

TEST(ControlClient, AnErrorOfTheDaemonIsOurs) {
  EXPECT_EQ(status_of("{\"error\":\"no such guest\"}\n").error(), "vmsgd: no such guest");
}

TEST(ControlClient, BrokenAnswersAreErrors) {
  EXPECT_THAT(status_of("not json\n").error(), HasSubstr("no JSON"));
  EXPECT_THAT(status_of("[1]\n").error(), HasSubstr("no JSON"));
  EXPECT_THAT(status_of("{\"a\":").error(), HasSubstr("in the middle of a line"));
  EXPECT_THAT(status_of("").error(), HasSubstr("closed without an answer"));
}

TEST(ControlClient, NobodyListens) {
  EXPECT_THAT(read_daemon_status("/nonexistent/sock").error(),
              HasSubstr("cannot reach vmsgd at /nonexistent/sock: No such file"));
  EXPECT_THAT(read_daemon_status(std::string(200, 'x')).error(), HasSubstr("characters"));
}

TEST(ControlClient, ADeviceIsFoundByItsNumbers) {
  const auto status = nlohmann::json::parse(
      R"({"domain":0,"buses":[7,{"guest":3,"bus":0,"devices":[{"number":1,"type":"rng"}]}]})");

  EXPECT_EQ(find_device(find_bus(status, 0, 3, 0), 1)["type"], "rng");
  EXPECT_TRUE(find_device(find_bus(status, 0, 3, 0), 2).is_null());
  EXPECT_TRUE(find_bus(status, 0, 4, 0).is_null());
  EXPECT_TRUE(find_bus(status, 5, 3, 0).is_null());  // another domain's daemon
  EXPECT_TRUE(find_device(nullptr, 1).is_null());
}

}  // namespace
}  // namespace vmsg::tool
