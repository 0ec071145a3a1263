// An eventfd as the programs here use it: made or thrown about, written, waited for.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "devices/file_descriptor.hpp"

namespace vmsg::bench {

/// A call to the kernel that has to succeed.
inline std::int64_t must(std::int64_t result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
}

class EventFd {
 public:
  EventFd() : event_(static_cast<int>(must(eventfd(0, EFD_CLOEXEC), "eventfd"))) {}

  [[nodiscard]] int fd() const { return event_.get(); }

  void signal() const {
    const std::uint64_t one = 1;
    must(write(event_.get(), &one, sizeof(one)), "eventfd");
  }

  /// Returns when somebody has signalled since the last time.
  void wait() const {
    std::uint64_t count = 0;
    must(read(event_.get(), &count, sizeof(count)), "eventfd");
  }

 private:
  FileDescriptor event_;
};

}  // namespace vmsg::bench
