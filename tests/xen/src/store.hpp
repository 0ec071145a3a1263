// Xenstore as the programs of the test images need it: reading, writing, and waiting for a change.
#pragma once

#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <vector>

// Debian's Xen headers do not say so themselves.
extern "C" {
#include <xenstore.h>
}

namespace images {

class Store {
 public:
  Store() : handle_(xs_open(0)) {
    if (!handle_) throw std::system_error(errno, std::generic_category(), "xenstore");
  }

  std::optional<std::string> read(const std::string& path) {
    unsigned length = 0;
    const std::unique_ptr<void, Free> bytes{
        xs_read(handle_.get(), XBT_NULL, path.c_str(), &length)};
    if (!bytes) return std::nullopt;
    return std::string(static_cast<const char*>(bytes.get()), length);
  }

  void write(const std::string& path, std::string_view value) {
    if (!xs_write(handle_.get(), XBT_NULL, path.c_str(), value.data(),
                  static_cast<unsigned>(value.size()))) {
      throw std::system_error(errno, std::generic_category(), path);
    }
  }

  std::vector<std::string> list(const std::string& path) {
    unsigned count = 0;
    const std::unique_ptr<char*, Free> names{
        xs_directory(handle_.get(), XBT_NULL, path.c_str(), &count)};
    if (!names) return {};
    return {names.get(), names.get() + count};
  }

  // The descriptor is readable when something at the path or below it may have changed.
  void watch(const std::string& path) {
    if (!xs_watch(handle_.get(), path.c_str(), "changed")) {
      throw std::system_error(errno, std::generic_category(), "watch " + path);
    }
  }
  [[nodiscard]] int descriptor() const { return xs_fileno(handle_.get()); }
  void take_events() {
    while (const std::unique_ptr<char*, Free> event{xs_check_watch(handle_.get())}) {
    }
  }

 private:
  struct Free {
    void operator()(void* bytes) const { std::free(bytes); }
  };
  struct Close {
    void operator()(xs_handle* handle) const { xs_close(handle); }
  };
  std::unique_ptr<xs_handle, Close> handle_;
};

}  // namespace images
