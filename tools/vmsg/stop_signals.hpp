// SIGINT and SIGTERM as a descriptor, for loops that have something to tidy up.
#pragma once

#include <csignal>

#include "devices/file_descriptor.hpp"

namespace vmsg::tool {

class StopSignals {
 public:
  /// To be made before xenstore is opened: a library's thread must not take the signals.
  /// From now on the signals do nothing but make fd() readable.
  StopSignals();
  StopSignals(const StopSignals&) = delete;
  StopSignals& operator=(const StopSignals&) = delete;
  ~StopSignals();

  /// -1 if there can be none; the signals end the process then, as ever.
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] bool is_raised() const;

 private:
  FileDescriptor fd_;
  sigset_t before_{};
};

}  // namespace vmsg::tool
