#include "backend/script_program.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <string_view>
#include <system_error>
#include <vector>

#include "devices/file_descriptor.hpp"

namespace vmsg {
namespace {

constexpr int kPatienceMs = 10'000;
constexpr std::size_t kLongestValue = 255;
constexpr std::array<std::string_view, 7> kVariables{"INTERFACE", "vif", "bridge", "mac",
                                                     "ip",        "mtu", "script"};

std::string words(int error) { return std::generic_category().message(error); }

bool is_harmless(std::string_view value) {
  constexpr std::string_view kAllowed =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:/, -";
  return value.size() <= kLongestValue && !value.starts_with('-') &&
         value.find_first_not_of(kAllowed) == std::string_view::npos;
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> result;
  result.reserve(texts.size() + 1);
  for (std::string& text : texts) result.push_back(text.data());
  result.push_back(nullptr);
  return result;
}

/// The helper ignores the signals that end the daemon; a script must not.
class SpawnAttributes {
 public:
  SpawnAttributes() {
    posix_spawnattr_init(&attributes_);
    sigset_t defaults;
    sigemptyset(&defaults);
    for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) sigaddset(&defaults, number);
    posix_spawnattr_setsigdefault(&attributes_, &defaults);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGDEF);
  }
  ~SpawnAttributes() { posix_spawnattr_destroy(&attributes_); }
  SpawnAttributes(const SpawnAttributes&) = delete;
  SpawnAttributes& operator=(const SpawnAttributes&) = delete;

  [[nodiscard]] const posix_spawnattr_t* get() const { return &attributes_; }

 private:
  posix_spawnattr_t attributes_{};
};

}  // namespace

Result<std::string, std::string> check_script(const std::string& directory,
                                              const net::ScriptCall& call) {
  const auto refused = [&](std::string_view why) {
    return std::unexpected(fmt::format("script='{}': {}", call.script, why));
  };
  std::string_view name = call.script;
  if (name.starts_with(directory) && name.substr(directory.size()).starts_with('/')) {
    name.remove_prefix(directory.size() + 1);
  }
  if (!name.starts_with(net::kScriptPrefix) || name.find('/') != std::string_view::npos ||
      name.find('\0') != std::string_view::npos) {
    return refused(fmt::format("a file of {} whose name begins with {} is allowed", directory,
                               net::kScriptPrefix));
  }
  if (call.command != "add" && call.command != "remove") return refused("no such command");
  for (const auto& [variable, value] : call.variables) {
    if (std::ranges::find(kVariables, variable) == kVariables.end()) {
      return refused(fmt::format("no variable {} is allowed", variable));
    }
    if (!is_harmless(value)) {
      return refused(fmt::format("{}='{}': letters, digits and ._:/,- are allowed, and spaces",
                                 variable, value));
    }
  }
  std::string path = fmt::format("{}/{}", directory, name);
  struct stat found{};
  if (stat(path.c_str(), &found) != 0) return refused(words(errno));
  const bool is_ours = found.st_uid == 0 || found.st_uid == geteuid();
  if (!S_ISREG(found.st_mode) || !is_ours || (found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return refused("it must be a file of root's that nobody else can write to");
  }
  return path;
}

Result<void, std::string> run_script(const std::string& path, const net::ScriptCall& call) {
  const auto failed = [&](std::string_view what) {
    return std::unexpected(fmt::format("script='{}': {}", path, what));
  };
  // The stock scripts take an interface of this kind for what a device model made.
  std::vector<std::string> arguments{path, call.command, "type_if=tap"};
  std::vector<std::string> variables{
      "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"};
  for (const auto& [name, value] : call.variables) {
    if (!value.empty()) variables.push_back(fmt::format("{}={}", name, value));
  }
  const SpawnAttributes attributes;
  pid_t child = 0;
  // Nothing of ours is inherited: all our descriptors are closed by exec.
  const int error = posix_spawn(&child, path.c_str(), nullptr, attributes.get(),
                                pointers(arguments).data(), pointers(variables).data());
  if (error != 0) return failed(words(error));

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

}  // namespace vmsg
