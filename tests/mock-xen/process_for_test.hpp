// A child process with a conversation over its standard input and output. Used by the tests that
// run real programs on the mock.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

class ChildProcess {
 public:
  /// `environment` is added to ours. Ends the test program when it cannot be started.
  ChildProcess(const std::vector<std::string>& command,
               const std::vector<std::string>& environment);
  /// Kills it if it still runs.
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }
  void write_line(const std::string& line);
  /// The next line without its end; "(end of output)" at the end, "(no answer)" after ten seconds.
  std::string read_line();
  std::string ask(const std::string& line);
  /// Everything until the end of the output; then the exit status.
  std::string read_all();

  /// SIGKILL, and waits until it is gone.
  void kill();
  void terminate();
  /// Exit status, or 128 and the signal.
  int wait();

 private:
  pid_t pid_ = -1;
  UniqueFd to_child_;
  UniqueFd from_child_;
  std::string buffer_;
};

}  // namespace vmsg::mock
