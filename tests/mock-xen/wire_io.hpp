// Whole messages over a stream socket, with file descriptors beside them. Used by both ends.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>

namespace vmsg::mock {

/// Descriptors that came with a message; closes those that nobody took.
class FdList {
 public:
  FdList() = default;
  ~FdList();
  FdList(const FdList&) = delete;
  FdList& operator=(const FdList&) = delete;

  void add(int fd);
  /// The oldest one left, now the caller's; -1 when there is none.
  int take_first();

 private:
  static constexpr std::size_t kMax = 4;
  std::array<int, kMax> fds_{};
  std::size_t first_ = 0;
  std::size_t count_ = 0;
};

/// A path, or '@' and a name of the abstract namespace. False when it is too long.
bool make_socket_address(const std::string& name, sockaddr_un& address, socklen_t& length);

/// One attempt without waiting: how much went through, or -1 with errno. The descriptors go along
/// with the first byte.
ssize_t send_some(int fd, std::span<const std::byte> bytes, std::span<const int> fds);

/// False with errno (EPIPE at end of file) unless all of it went through. Never raises SIGPIPE.
bool send_all(int fd, const void* data, std::size_t size);
bool receive_all(int fd, void* data, std::size_t size, FdList* fds);

}  // namespace vmsg::mock
