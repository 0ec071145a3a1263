// A child process with a conversation: see process_for_test.hpp.
#include "tests/mock-xen/process_for_test.hpp"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>

namespace vmsg::mock {
namespace {

constexpr int kPatienceMs = 10000;

}  // namespace

ChildProcess::ChildProcess(const std::vector<std::string>& command,
                           const std::vector<std::string>& environment) {
  std::array<int, 2> input{};
  std::array<int, 2> output{};
  if (::pipe2(input.data(), O_CLOEXEC) != 0 || ::pipe2(output.data(), O_CLOEXEC) != 0) std::abort();
  to_child_.reset(input[1]);
  from_child_.reset(output[0]);

  std::vector<char*> words;
  for (const std::string& word : command) words.push_back(const_cast<char*>(word.c_str()));
  words.push_back(nullptr);
  std::vector<char*> variables;
  for (const std::string& one : environment) variables.push_back(const_cast<char*>(one.c_str()));
  for (char** one = ::environ; *one != nullptr; ++one) variables.push_back(*one);
  variables.push_back(nullptr);

  posix_spawn_file_actions_t actions{};
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawn_file_actions_adddup2(&actions, input[0], STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
  const int error =
      ::posix_spawnp(&pid_, words[0], &actions, nullptr, words.data(), variables.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::close(input[0]);
  ::close(output[1]);
  if (error != 0) {
    [[maybe_unused]] const int printed =
        std::fprintf(stderr, "cannot run %s\n", command.front().c_str());
    std::abort();
  }
}

ChildProcess::~ChildProcess() { kill(); }

void ChildProcess::write_line(const std::string& line) {
  const std::string text = line + "\n";
  [[maybe_unused]] const ssize_t written = ::write(to_child_.get(), text.data(), text.size());
}

std::string ChildProcess::read_line() {
  while (true) {
    const std::size_t end = buffer_.find('\n');
    if (end != std::string::npos) {
      std::string line = buffer_.substr(0, end);
      buffer_.erase(0, end + 1);
      return line;
    }
    pollfd entry{.fd = from_child_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&entry, 1, kPatienceMs) != 1) return "(no answer)";
    std::array<char, 4096> bytes{};
    const ssize_t got = ::read(from_child_.get(), bytes.data(), bytes.size());
    if (got <= 0) return "(end of output)";
    buffer_.append(bytes.data(), static_cast<std::size_t>(got));
  }
}

std::string ChildProcess::ask(const std::string& line) {
  write_line(line);
  return read_line();
}

std::string ChildProcess::read_all() {
  std::string all;
  for (std::string line = read_line(); line != "(end of output)"; line = read_line()) {
    all += line + "\n";
    if (line == "(no answer)") break;
  }
  return all;
}

void ChildProcess::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  wait();
}

void ChildProcess::terminate() { ::kill(pid_, SIGTERM); }

int ChildProcess::wait() {
  if (pid_ <= 0) return -1;
  int status = 0;
  if (::waitpid(pid_, &status, 0) != pid_) return -1;
  pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

}  // namespace vmsg::mock
