// vmsgd as an unmodified process in a domain of a MockXen, and what it costs.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

namespace vmsg::scale {

struct Usage {
  std::uint64_t resident_kib = 0;
  std::size_t descriptors = 0;
  std::size_t threads = 0;
  double cpu_seconds = 0;
};

class DaemonProcess {
 public:
  /// `environment` is MockXen's; the program and the mock's libraries are in `build`.
  DaemonProcess(const std::string& build, std::vector<std::string> environment,
                const std::string& socket);
  DaemonProcess(const DaemonProcess&) = delete;
  DaemonProcess& operator=(const DaemonProcess&) = delete;
  ~DaemonProcess();

  [[nodiscard]] Usage usage() const;

  /// Whether it still lives after that time, which is waited for.
  [[nodiscard]] bool lives_for(std::chrono::milliseconds time) const;

  /// SIGTERM; the exit code, or -1 when it ended otherwise.
  int stop();

 private:
  pid_t process_ = -1;
  int handle_ = -1;  // a pidfd
};

}  // namespace vmsg::scale
