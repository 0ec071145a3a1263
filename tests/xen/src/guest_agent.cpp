// Runs in a guest: takes shell commands from dom0 out of xenstore (data/agent/command/N), runs each
// in the background and prints what it prints on standard output, every line with "@N| " in front,
// so that dom0 can tell jobs and kernel apart. When all of a command's output has come and it has
// ended, "@N=CODE" follows, and the code goes to data/agent/code/N. guest_job is the other side.
//
// One process that stays, and not a script: under emulation each program that a script starts costs
// as much as many a test.
#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <list>

#include "store.hpp"

namespace {

using images::Store;

[[noreturn]] void give_up(const char* what) {
  throw std::system_error(errno, std::generic_category(), what);
}

void print(std::string_view text) {
  while (!text.empty()) {
    const auto written = write(STDOUT_FILENO, text.data(), text.size());
    if (written > 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      give_up("standard output");
    }
  }
}

struct Job {
  std::string number;
  pid_t process;
  int output;  // -1 when everybody has closed it
  bool in_line = false;
  std::optional<int> code = std::nullopt;
};

Job start(std::string number, const std::string& command) {
  std::array<int, 2> ends{};
  if (pipe2(ends.data(), O_CLOEXEC) != 0) give_up("pipe");
  const auto process = fork();
  if (process < 0) give_up("fork");
  if (process == 0) {
    sigset_t none;
    sigemptyset(&none);
    pthread_sigmask(SIG_SETMASK, &none, nullptr);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(nothing, STDIN_FILENO);
    dup2(ends[1], STDOUT_FILENO);
    dup2(ends[1], STDERR_FILENO);
    execl("/bin/sh", "sh", "-c", command.c_str(), nullptr);
    _exit(127);
  }
  close(ends[1]);
  return {.number = std::move(number), .process = process, .output = ends[0]};
}

// What has come, with the job's number at the beginning of each line.
void forward(Job& job) {
  std::array<char, 16384> buffer;
  const auto length = read(job.output, buffer.data(), buffer.size());
  if (length < 0 && errno == EINTR) return;
  std::string lines;
  if (length <= 0) {
    close(job.output);
    job.output = -1;
    if (job.in_line) lines = "\n";
  }
  for (ssize_t i = 0; i < length; ++i) {
    if (!job.in_line) lines.append("@").append(job.number).append("| ");
    const char byte = buffer[static_cast<std::size_t>(i)];
    lines += byte;
    job.in_line = byte != '\n';
  }
  print(lines);
}

class Agent {
 public:
  Agent() {
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    pthread_sigmask(SIG_BLOCK, &children, nullptr);
    ended_ = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (ended_ < 0) give_up("signalfd");
    store_.write("data/agent/state", "ready");
    store_.watch(kCommands);
  }

  void turn() {
    std::vector<pollfd> waiting{{store_.descriptor(), POLLIN, 0}, {ended_, POLLIN, 0}};
    std::vector<Job*> speaking;
    for (auto& job : jobs_) {
      if (job.output < 0) continue;
      waiting.push_back({job.output, POLLIN, 0});
      speaking.push_back(&job);
    }
    if (poll(waiting.data(), waiting.size(), -1) < 0) {
      if (errno == EINTR) return;
      give_up("poll");
    }
    for (std::size_t i = 0; i < speaking.size(); ++i) {
      if (waiting[i + 2].revents != 0) forward(*speaking[i]);
    }
    if (waiting[1].revents != 0) reap();
    if (waiting[0].revents != 0) take_commands();
    finish();
  }

 private:
  void take_commands() {
    store_.take_events();
    if (next_ == 0) {
      // Of a guest that has rebooted, the numbers go on.
      for (const auto& name : store_.list(kCommands)) {
        std::uint32_t number = 0;
        std::from_chars(name.data(), name.data() + name.size(), number);
        if (next_ == 0 || number < next_) next_ = number;
      }
      if (next_ == 0) return;
    }
    for (;; ++next_) {
      auto number = std::to_string(next_);
      const auto command = store_.read(std::string(kCommands) + '/' + number);
      if (!command) return;
      jobs_.push_back(start(std::move(number), *command));
    }
  }

  void reap() {
    signalfd_siginfo ignored;
    while (read(ended_, &ignored, sizeof ignored) > 0) {
    }
    for (auto& job : jobs_) {
      int status = 0;
      if (job.code || waitpid(job.process, &status, WNOHANG) != job.process) continue;
      job.code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
  }

  void finish() {
    jobs_.remove_if([this](const Job& job) {
      if (job.output >= 0 || !job.code) return false;
      const auto code = std::to_string(*job.code);
      print('@' + job.number + '=' + code + '\n');
      store_.write("data/agent/code/" + job.number, code);
      return true;
    });
  }

  static constexpr const char* kCommands = "data/agent/command";
  Store store_;
  int ended_ = -1;
  std::uint32_t next_ = 0;  // 0: no command has come yet
  std::list<Job> jobs_;
};

}  // namespace

int main() try {
  Agent agent;
  for (;;) agent.turn();
} catch (const std::exception& error) {
  static_cast<void>(std::fprintf(stderr, "guest_agent: %s\n", error.what()));
  return 1;
}
