#include "tools/vmsg/xl.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

/// argv for execvp and its like. The strings live in `words`.
class Arguments {
 public:
  explicit Arguments(const std::vector<std::string>& arguments) {
    words_.emplace_back("xl");
    words_.insert(words_.end(), arguments.begin(), arguments.end());
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }
  [[nodiscard]] char* const* argv() const { return pointers_.data(); }
  [[nodiscard]] std::string text() const { return fmt::format("{}", fmt::join(words_, " ")); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

}  // namespace

Result<void, std::string> run_xl(const std::vector<std::string>& arguments) {
  const Arguments command(arguments);
  // The signals that we block are xl's own business.
  posix_spawnattr_t attributes;
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
  pid_t child = 0;
  const int error = posix_spawnp(&child, "xl", nullptr, &attributes, command.argv(), environ);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) {
    return std::unexpected(fmt::format("cannot run xl: {}{}", words_of_errno(error),
                                       error == ENOENT ? " (is it installed, and in PATH?)" : ""));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) {
      return std::unexpected(fmt::format("cannot wait for xl: {}", words_of_errno(errno)));
    }
  }
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFSIGNALED(status)) {
    return std::unexpected(
        fmt::format("'{}' was ended by signal {}", command.text(), WTERMSIG(status)));
  }
  return std::unexpected(
      fmt::format("'{}' failed with exit code {}", command.text(), WEXITSTATUS(status)));
}

std::string become_xl(const std::vector<std::string>& arguments) {
  const Arguments command(arguments);
  sigset_t none;
  sigemptyset(&none);
  pthread_sigmask(SIG_SETMASK, &none, nullptr);
  execvp("xl", command.argv());
  return fmt::format("cannot run xl: {}", words_of_errno(errno));
}

}  // namespace vmsg::tool
