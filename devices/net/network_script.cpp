#include "devices/net/network_script.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <system_error>

#include "devices/file_descriptor.hpp"

namespace vmsg::net {
namespace {

constexpr int kPatienceMs = 10'000;

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

}  // namespace

Result<void, std::string> run_script(const ScriptCall& call) {
  const auto failed = [&](std::string_view what) {
    return std::unexpected(fmt::format("script='{}': {}", call.path, what));
  };
  std::vector<std::string> arguments{call.path};
  arguments.insert(arguments.end(), call.arguments.begin(), call.arguments.end());
  std::vector<std::string> variables;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.push_back(*variable);
  for (const auto& [name, value] : call.environment) {
    if (!value.empty()) variables.push_back(fmt::format("{}={}", name, value));
  }
  pid_t child = 0;
  // Nothing of ours is inherited: all our descriptors are closed by exec.
  const int error = posix_spawn(&child, call.path.c_str(), nullptr, nullptr,
                                pointers(arguments).data(), pointers(variables).data());
  if (error != 0) return failed(std::generic_category().message(error));

  const FileDescriptor handle(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  pollfd end{.fd = handle.get(), .events = POLLIN, .revents = 0};
  const bool has_ended = handle.is_open() && poll(&end, 1, kPatienceMs) == 1;
  if (!has_ended) kill(child, SIGKILL);
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!has_ended) return failed("it did not end in 10 seconds");
  if (!WIFEXITED(status)) return failed(fmt::format("ended by signal {}", WTERMSIG(status)));
  if (WEXITSTATUS(status) != 0) return failed(fmt::format("exit code {}", WEXITSTATUS(status)));
  return {};
}

}  // namespace vmsg::net
