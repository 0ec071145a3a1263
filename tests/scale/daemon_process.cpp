#include "tests/scale/daemon_process.hpp"

#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>

namespace vmsg::scale {
namespace {

std::size_t entries_of(const std::string& directory) {
  std::size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator(directory)) ++count;
  return count;
}

std::uint64_t resident_kib(const std::string& process) {
  std::ifstream file(process + "/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("Pss_Anon:")) return std::stoull(line.substr(9));
  }
  return 0;
}

double cpu_seconds(const std::string& process) {
  std::ifstream file(process + "/stat");
  std::string text;
  std::getline(file, text);
  std::istringstream fields(text.substr(text.rfind(')') + 2));
  std::string field;
  double ticks = 0;
  for (int i = 3; fields >> field; ++i) {
    if (i == 14 || i == 15) ticks += std::stod(field);
  }
  return ticks / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

}  // namespace

DaemonProcess::DaemonProcess(const std::string& build, std::vector<std::string> environment,
                             const std::string& socket) {
  environment.push_back("LD_LIBRARY_PATH=" + build + "/mock-xen");
  const std::string program = build + "/bin/vmsgd";
  std::vector<std::string> arguments{program,   "--workers", "2",   "--log-level",
                                     "warning", "--socket",  socket};
  const auto pointers = [](std::vector<std::string>& words) {
    std::vector<char*> all;
    for (std::string& word : words) all.push_back(word.data());
    all.push_back(nullptr);
    return all;
  };
  const std::vector<char*> argv = pointers(arguments);
  const std::vector<char*> envp = pointers(environment);
  process_ = ::fork();
  if (process_ == 0) {
    ::execve(program.c_str(), argv.data(), envp.data());
    ::_exit(127);
  }
  handle_ = static_cast<int>(::syscall(SYS_pidfd_open, process_, 0));
  if (process_ < 0 || handle_ < 0) {
    std::cerr << "vmsgd cannot be started\n";
    std::abort();
  }
}

DaemonProcess::~DaemonProcess() {
  if (process_ > 0) {
    ::kill(process_, SIGKILL);
    ::waitpid(process_, nullptr, 0);
  }
  ::close(handle_);
}

namespace {

/// Without what the mock's own libraries keep open of domains that they have seen (a memfd and a
/// pipe each): Xen's have nothing like it.
std::uint64_t descriptors_of(const std::string& directory) {
  std::uint64_t count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(directory + "/fd")) {
    std::error_code error;
    const std::string target = std::filesystem::read_symlink(entry.path(), error).string();
    const bool is_the_mocks = target.starts_with("/memfd:xen-mock") || target.starts_with("pipe:");
    if (!error && !is_the_mocks) ++count;
  }
  return count;
}

}  // namespace

Usage DaemonProcess::usage() const {
  const std::string directory = "/proc/" + std::to_string(process_);
  return {.resident_kib = resident_kib(directory),
          .descriptors = descriptors_of(directory),
          .threads = entries_of(directory + "/task"),
          .cpu_seconds = cpu_seconds(directory)};
}

bool DaemonProcess::lives_for(std::chrono::milliseconds time) const {
  pollfd ended{.fd = handle_, .events = POLLIN, .revents = 0};
  return ::poll(&ended, 1, static_cast<int>(time.count())) == 0;
}

int DaemonProcess::stop() {
  ::kill(process_, SIGTERM);
  int status = 0;
  ::waitpid(process_, &status, 0);
  process_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace vmsg::scale
