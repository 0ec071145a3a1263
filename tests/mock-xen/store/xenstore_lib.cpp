// libxenstore.so.4 over the mock: the functions of <xenstore_lib.h>, which need no connection.
extern "C" {
#include <xenstore_lib.h>
}

#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <string>

#include "tests/mock-xen/store/xenstore_text.hpp"

namespace vmsg::mock::store {

std::optional<std::string> permission_text(const xs_permissions& permission) {
  static constexpr std::array<char, 4> kLetters = {'n', 'r', 'w', 'b'};
  if (permission.perms >= kLetters.size()) return std::nullopt;
  return kLetters[permission.perms] + std::to_string(permission.id);
}

}  // namespace vmsg::mock::store

namespace {

// NOLINTNEXTLINE(concurrency-mt-unsafe): as the real library does
const char* environment(const char* name) { return std::getenv(name); }

}  // namespace

extern "C" {

const char* xs_daemon_rundir(void) {
  const char* directory = environment("XENSTORED_RUNDIR");
  return directory != nullptr ? directory : "/var/run/xenstored";
}

const char* xs_daemon_socket(void) {
  if (const char* socket = environment("XENSTORED_PATH")) return socket;
  // Each thread has its own, so that none changes under another.
  static thread_local std::array<char, 4096> path;
  const std::string text = std::string(xs_daemon_rundir()) + "/socket";
  path.at(text.copy(path.data(), path.size() - 1)) = '\0';
  return path.data();
}

const char* xs_daemon_socket_ro(void) { return xs_daemon_socket(); }

bool xs_write_all(int fd, const void* data, unsigned int length) {
  const char* at = static_cast<const char*>(data);
  while (length != 0) {
    const ssize_t n = ::write(fd, at, length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    at += n;
    length -= static_cast<unsigned int>(n);
  }
  return true;
}

bool xs_strings_to_perms(xs_permissions* permissions, unsigned int count, const char* strings) {
  for (unsigned int i = 0; i < count; ++i) {
    switch (*strings) {
      case 'r':
        permissions[i].perms = XS_PERM_READ;
        break;
      case 'w':
        permissions[i].perms = XS_PERM_WRITE;
        break;
      case 'b':
        permissions[i].perms = XS_PERM_READ | XS_PERM_WRITE;
        break;
      case 'n':
        permissions[i].perms = XS_PERM_NONE;
        break;
      default:
        errno = EINVAL;
        return false;
    }
    const char* digits = strings + 1;
    char* end = nullptr;
    permissions[i].id = static_cast<unsigned int>(std::strtol(digits, &end, 0));
    if (*end != '\0' || *digits == '\0') {
      errno = EINVAL;
      return false;
    }
    strings = end + 1;
  }
  return true;
}

}  // extern "C"
