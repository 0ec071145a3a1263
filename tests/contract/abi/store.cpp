#include "tests/contract/abi/store.hpp"

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <span>
#include <system_error>

namespace vmsg::contract {
namespace {

// A failing call that leaves errno alone would go unnoticed if errno held an old value.
template <class Call>
int errno_of(Call&& call) {
  errno = 0;
  if (std::forward<Call>(call)()) return 0;
  return errno != 0 ? errno : -1;
}

char letter_of(unsigned perms) {
  switch (perms & (XS_PERM_READ | XS_PERM_WRITE)) {
    case XS_PERM_READ:
      return 'r';
    case XS_PERM_WRITE:
      return 'w';
    case XS_PERM_READ | XS_PERM_WRITE:
      return 'b';
    default:
      return 'n';
  }
}

unsigned perms_of(char letter) {
  switch (letter) {
    case 'r':
      return XS_PERM_READ;
    case 'w':
      return XS_PERM_WRITE;
    case 'b':
      return XS_PERM_READ | XS_PERM_WRITE;
    default:
      return XS_PERM_NONE;
  }
}

}  // namespace

Store::Store() : handle_(xs_open(0)) {
  if (!handle_) throw std::system_error(errno, std::generic_category(), "xs_open");
}

int Store::write(const std::string& path, std::string_view value, xs_transaction_t transaction) {
  return errno_of([&] {
    return xs_write(raw(), transaction, path.c_str(), value.data(),
                    static_cast<unsigned>(value.size()));
  });
}

int Store::mkdir(const std::string& path, xs_transaction_t transaction) {
  return errno_of([&] { return xs_mkdir(raw(), transaction, path.c_str()); });
}

int Store::remove(const std::string& path, xs_transaction_t transaction) {
  return errno_of([&] { return xs_rm(raw(), transaction, path.c_str()); });
}

int Store::set_permissions(const std::string& path, const Permissions& permissions,
                           xs_transaction_t transaction) {
  std::vector<xs_permissions> raw_permissions;
  for (const std::string& one : permissions) {
    unsigned domain = 0;
    std::from_chars(one.data() + 1, one.data() + one.size(), domain);
    raw_permissions.push_back({.id = domain, .perms = perms_of(one.front())});
  }
  return errno_of([&] {
    return xs_set_permissions(raw(), transaction, path.c_str(), raw_permissions.data(),
                              static_cast<unsigned>(raw_permissions.size()));
  });
}

Answer<std::string> Store::read(const std::string& path, xs_transaction_t transaction) {
  unsigned length = 0;
  errno = 0;
  const Malloced<void> value(xs_read(raw(), transaction, path.c_str(), &length));
  if (!value) return std::unexpected(errno);
  return std::string(static_cast<const char*>(value.get()), length);
}

Answer<std::vector<std::string>> Store::list(const std::string& path,
                                             xs_transaction_t transaction) {
  unsigned count = 0;
  errno = 0;
  const Malloced<char*> names(xs_directory(raw(), transaction, path.c_str(), &count));
  if (!names) return std::unexpected(errno);
  std::vector<std::string> sorted;
  for (const char* name : std::span(names.get(), count)) sorted.emplace_back(name);
  std::ranges::sort(sorted);
  return sorted;
}

Answer<Permissions> Store::permissions(const std::string& path, xs_transaction_t transaction) {
  unsigned count = 0;
  errno = 0;
  const Malloced<xs_permissions> raw_permissions(
      xs_get_permissions(raw(), transaction, path.c_str(), &count));
  if (!raw_permissions) return std::unexpected(errno);
  Permissions permissions;
  for (const xs_permissions& one : std::span(raw_permissions.get(), count))
    permissions.push_back(letter_of(one.perms) + std::to_string(one.id));
  return permissions;
}

Answer<xs_transaction_t> Store::begin() {
  errno = 0;
  const xs_transaction_t transaction = xs_transaction_start(raw());
  if (transaction == XBT_NULL) return std::unexpected(errno);
  return transaction;
}

int Store::commit(xs_transaction_t transaction) {
  return errno_of([&] { return xs_transaction_end(raw(), transaction, false); });
}

int Store::abandon(xs_transaction_t transaction) {
  return errno_of([&] { return xs_transaction_end(raw(), transaction, true); });
}

int Store::watch(const std::string& path, const std::string& token) {
  return errno_of([&] { return xs_watch(raw(), path.c_str(), token.c_str()); });
}

int Store::unwatch(const std::string& path, const std::string& token) {
  return errno_of([&] { return xs_unwatch(raw(), path.c_str(), token.c_str()); });
}

std::optional<WatchEvent> Store::next_event() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  for (;;) {
    if (auto event = take_event()) return event;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return std::nullopt;
    pollfd readable{.fd = xs_fileno(raw()), .events = POLLIN, .revents = 0};
    static_cast<void>(poll(&readable, 1, static_cast<int>(left.count())));
  }
}

std::optional<WatchEvent> Store::event_fired_so_far() {
  static_cast<void>(list("/"));
  return take_event();
}

std::optional<WatchEvent> Store::take_event() {
  const Malloced<char*> event(xs_check_watch(raw()));
  if (!event) return std::nullopt;
  return WatchEvent{event.get()[XS_WATCH_PATH], event.get()[XS_WATCH_TOKEN]};
}

}  // namespace vmsg::contract
