#include "backend/local_listener.hpp"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

namespace vmsg {
namespace {

constexpr int kBacklog = 32;
constexpr mode_t kNotForOthers = 0117;

std::string words_of(int error) { return std::generic_category().message(error); }

FileDescriptor make_socket() {
  return FileDescriptor(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

const sockaddr* generic(const sockaddr_un& address) {
  // SAFETY: what the socket calls are defined to take.
  return reinterpret_cast<const sockaddr*>(&address);  // NOLINT(*-reinterpret-cast)
}

/// Whether somebody listens there.
bool is_served(const sockaddr_un& address) {
  const FileDescriptor probe = make_socket();
  return ::connect(probe.get(), generic(address), sizeof(address)) == 0 || errno == EAGAIN;
}

/// Removes a socket that nobody serves any more. The error says why the place is not free.
Result<void, std::string> make_place(const std::string& path, const sockaddr_un& address) {
  struct stat found{};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno == ENOENT) return {};
    return std::unexpected(fmt::format("{}: {}", path, words_of(errno)));
  }
  if (!S_ISSOCK(found.st_mode)) {
    return std::unexpected(fmt::format("{}: there is a file that is no socket", path));
  }
  if (is_served(address)) {
    return std::unexpected(fmt::format("{}: another process listens there", path));
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) {
    return std::unexpected(fmt::format("{}: cannot replace it: {}", path, words_of(errno)));
  }
  return {};
}

}  // namespace

Result<FileDescriptor, std::string> listen_local(const std::string& path,
                                                 std::optional<SocketOwner> owner) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return std::unexpected(
        fmt::format("{}: a path of 1 to {} bytes is expected", path, sizeof(address.sun_path) - 1));
  }
  std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());

  std::error_code ignored;  // what is wrong with the directory shows when the socket is bound
  std::filesystem::create_directory(std::filesystem::path(path).parent_path(), ignored);
  if (auto is_free = make_place(path, address); !is_free) return std::unexpected(is_free.error());

  FileDescriptor listener = make_socket();
  // Nobody can connect between bind() and a later change of the mode, so it is right from the
  // start.
  const mode_t before = ::umask(kNotForOthers);
  const bool is_bound = ::bind(listener.get(), generic(address), sizeof(address)) == 0;
  const int bind_error = errno;
  ::umask(before);
  if (!is_bound) return std::unexpected(fmt::format("{}: {}", path, words_of(bind_error)));
  if (owner && ::lchown(path.c_str(), owner->user, owner->group) != 0) {
    return std::unexpected(fmt::format("{}: cannot give it away: {}", path, words_of(errno)));
  }
  if (::listen(listener.get(), kBacklog) != 0) {
    return std::unexpected(fmt::format("{}: {}", path, words_of(errno)));
  }
  return listener;
}

}  // namespace vmsg
