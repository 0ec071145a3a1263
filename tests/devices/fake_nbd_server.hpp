// A server of the NBD protocol for tests, in this process: a disk in memory, and a will of its own.
// It knows the fixed newstyle handshake, simple replies and nothing else.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "tests/support/temporary_directory.hpp"

namespace vmsg::test {

class FakeNbdServer {
 public:
  FakeNbdServer();
  ~FakeNbdServer();
  FakeNbdServer(const FakeNbdServer&) = delete;
  FakeNbdServer& operator=(const FakeNbdServer&) = delete;

  [[nodiscard]] std::string uri() const { return "nbd+unix:///?socket=" + path_; }

  /// From now on commands are taken and neither done nor answered; or answered again, those that
  /// were taken meanwhile too.
  void be_silent(bool is_silent);
  /// Ends all connections, and takes no more; or takes them again.
  void be_away(bool is_away);
  /// What commands are answered with, an error of the protocol; 0 for success.
  void answer_with(std::uint32_t error);
  void resize(std::uint64_t size);

  /// Waits until so many commands have been taken, over all connections.
  void wait_for_commands(std::size_t count);
  [[nodiscard]] std::size_t commands();

  static constexpr std::uint64_t kSize = std::uint64_t{1} << 20;

 private:
  struct Command;

  void listen_on_path();
  void accept_all(int listener);
  void serve(int connection);
  bool negotiate(int connection);
  bool obey(int connection, const Command& command, std::vector<std::byte>& data);

  const TemporaryDirectory folder_;
  const std::string path_ = folder_.path("socket");
  int listener_ = -1;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::byte> bytes_ = std::vector<std::byte>(kSize);
  std::uint64_t size_ = kSize;
  std::uint32_t error_ = 0;
  std::size_t commands_ = 0;
  bool is_silent_ = false;
  bool is_ending_ = false;
  std::vector<int> connections_;
  std::vector<std::thread> threads_;
};

}  // namespace vmsg::test
