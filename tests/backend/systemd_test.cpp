// What the daemon says to the service manager and takes from it.
#include "backend/systemd.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstring>
#include <string>

#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

class Systemd : public ::testing::Test {
 protected:
  ~Systemd() override {
    for (const char* name : {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES",
                             "WATCHDOG_USEC", "WATCHDOG_PID"}) {
      ::unsetenv(name);
    }
  }
  static void set(const char* name, const std::string& value) { ::setenv(name, value.c_str(), 1); }
  static std::string own_pid() { return std::to_string(::getpid()); }

  /// A datagram socket where the service manager would listen.
  static FileDescriptor manager(std::string_view name) {
    FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(static_cast<char*>(address.sun_path), name.data(), name.size());
    const auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
    EXPECT_EQ(::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), length), 0);
    return socket;
  }
  static std::string heard(const FileDescriptor& socket) {
    std::array<char, 256> bytes{};
    const ssize_t size = ::recv(socket.get(), bytes.data(), bytes.size(), 0);
    return size < 0 ? "nothing" : std::string(bytes.data(), static_cast<std::size_t>(size));
  }
};

TEST_F(Systemd, NobodyAskedToBeTold) { notify_systemd("READY=1"); }

TEST_F(Systemd, TellsASocketInTheFilesystem) {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path("notify");
  const FileDescriptor socket = manager(path);
  set("NOTIFY_SOCKET", path);

  notify_systemd("READY=1\nSTATUS=serving");

  EXPECT_EQ(heard(socket), "READY=1\nSTATUS=serving");
}

TEST_F(Systemd, TellsAnAbstractSocket) {
  const std::string name = "vmsg-test-" + own_pid();
  const FileDescriptor socket = manager(std::string(1, '\0') + name);
  set("NOTIFY_SOCKET", "@" + name);

  notify_systemd("STOPPING=1");

  EXPECT_EQ(heard(socket), "STOPPING=1");
}

TEST_F(Systemd, NoWatchdog) { EXPECT_EQ(systemd_watchdog(), std::nullopt); }

TEST_F(Systemd, Watchdog) {
  set("WATCHDOG_USEC", "20000000");
  set("WATCHDOG_PID", own_pid());
  EXPECT_EQ(systemd_watchdog(), std::chrono::seconds(20));
}

TEST_F(Systemd, WatchdogOfAnotherProcess) {
  set("WATCHDOG_USEC", "20000000");
  set("WATCHDOG_PID", "1");
  EXPECT_EQ(systemd_watchdog(), std::nullopt);
}

TEST_F(Systemd, WatchdogThatIsNoNumber) {
  set("WATCHDOG_USEC", "20s");
  EXPECT_EQ(systemd_watchdog(), std::nullopt);
}

TEST_F(Systemd, NoSocketIsPassed) { EXPECT_FALSE(take_systemd_socket("control").is_open()); }

TEST_F(Systemd, SocketsOfAnotherProcessAreNotOurs) {
  set("LISTEN_PID", "1");
  set("LISTEN_FDS", "1");
  set("LISTEN_FDNAMES", "control");
  EXPECT_FALSE(take_systemd_socket("control").is_open());
}

// Descriptors are passed from 3 on, which this process uses for other things; so a child plays the
// daemon.
TEST_F(Systemd, SocketsAreFoundByName) {
  EXPECT_EXIT(
      {
        for (const int fd : {3, 4}) {
          const int made = ::socket(AF_UNIX, SOCK_STREAM, 0);
          if (made != fd) ::dup2(made, fd);
          ::fcntl(fd, F_SETFD, 0);
        }
        set("LISTEN_PID", own_pid());
        set("LISTEN_FDS", "2");
        set("LISTEN_FDNAMES", "metrics:control");
        FileDescriptor control = take_systemd_socket("control");
        FileDescriptor again = take_systemd_socket("control");
        FileDescriptor metrics = take_systemd_socket("metrics");
        const bool is_right = control.get() == 4 && !again.is_open() && metrics.get() == 3 &&
                              (::fcntl(4, F_GETFD) & FD_CLOEXEC) != 0 &&
                              (::fcntl(4, F_GETFL) & O_NONBLOCK) != 0;
        std::_Exit(is_right ? 0 : 1);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace vmsg
