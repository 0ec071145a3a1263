#include "backend/script_helper.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <optional>
#include <string_view>
#include <system_error>
#include <utility>
#include <vector>

#include "backend/script_program.hpp"

namespace vmsg {
namespace {

// A call and an answer are one datagram each. A call is its texts, each with a NUL behind it:
// script, command, then names and values by turns. An answer is one character, and an error behind
// it if it is kFailed. The end of the other process reads as nothing.
constexpr std::size_t kLongest = 8192;
constexpr char kDone = '+';
constexpr char kFailed = '-';
constexpr int kPatienceMs = 15'000;  // a script has ten seconds

std::string words(int error) { return std::generic_category().message(error); }

std::string encode(const net::ScriptCall& call) {
  std::string text;
  const auto add = [&](std::string_view part) {
    text += part;
    text += '\0';
  };
  add(call.script);
  add(call.command);
  for (const auto& [name, value] : call.variables) {
    add(name);
    add(value);
  }
  return text;
}

std::optional<net::ScriptCall> decode(std::string_view text) {
  std::vector<std::string> parts;
  while (!text.empty()) {
    const std::size_t end = text.find('\0');
    if (end == std::string_view::npos) return std::nullopt;
    parts.emplace_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  if (parts.size() < 2 || parts.size() % 2 != 0) return std::nullopt;
  net::ScriptCall call{.script = parts[0], .command = parts[1], .variables = {}};
  for (std::size_t i = 2; i < parts.size(); i += 2) {
    call.variables.emplace_back(parts[i], parts[i + 1]);
  }
  return call;
}

Result<void, std::string> obey(const std::string& directory, std::string_view text) {
  const auto call = decode(text);
  if (!call) return std::unexpected("script=...: the call is broken");
  const auto path = check_script(directory, *call);
  if (!path) return std::unexpected(path.error());
  return run_script(*path, *call);
}

/// The helper's whole life. Its descriptors are the usual three and `socket`.
[[noreturn]] void serve(int socket, const std::string& directory) {
  // Signals to the whole service are for the daemon: it may still need a script to remove
  // something, and its end is this one's.
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) {
    std::signal(number, SIG_IGN);  // NOLINT(cert-err33-c): these can be ignored
  }
  prctl(PR_SET_NAME, "vmsgd-scripts");
  std::array<char, kLongest> buffer{};
  while (true) {
    const ssize_t size = recv(socket, buffer.data(), buffer.size(), 0);
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) std::_Exit(0);
    const auto done = obey(directory, {buffer.data(), static_cast<std::size_t>(size)});
    const std::string answer = done ? std::string(1, kDone) : kFailed + done.error();
    if (send(socket, answer.data(), answer.size(), MSG_NOSIGNAL) < 0) std::_Exit(0);
  }
}

void close_all_but(int kept) {
  const auto first = static_cast<unsigned>(STDERR_FILENO + 1);
  const auto middle = static_cast<unsigned>(kept);
  if (middle > first) close_range(first, middle - 1, 0);
  close_range(middle + 1, ~0U, 0);
}

}  // namespace

Result<std::unique_ptr<ScriptHelper>, std::string> ScriptHelper::start(
    const std::string& directory) {
  std::array<int, 2> ends{};
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
    return std::unexpected("the helper for scripts: " + words(errno));
  }
  FileDescriptor ours(ends[0]);
  const FileDescriptor its(ends[1]);
  const pid_t child = fork();
  if (child < 0) return std::unexpected("the helper for scripts: " + words(errno));
  if (child == 0) {
    close_all_but(its.get());
    serve(its.get(), directory);
  }
  return std::unique_ptr<ScriptHelper>(new ScriptHelper(std::move(ours)));
}

Result<void, std::string> ScriptHelper::run(const net::ScriptCall& call) {
  const auto failed = [&](std::string_view why) {
    return std::unexpected(fmt::format("script='{}': {}", call.script, why));
  };
  const std::string text = encode(call);
  if (text.size() > kLongest) return failed("this is too much to tell a script");
  const std::lock_guard lock(mutex_);
  if (!socket_.is_open()) return failed("the helper that runs scripts is gone; restart vmsgd");
  const auto give_up = [&](std::string_view why) {
    // A late answer must not be taken for that to the next call.
    socket_ = FileDescriptor();
    return failed(why);
  };
  if (send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL) < 0) return give_up(words(errno));
  pollfd end{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  if (poll(&end, 1, kPatienceMs) != 1) return give_up("no answer from the helper");
  std::array<char, kLongest> answer{};
  const ssize_t size = recv(socket_.get(), answer.data(), answer.size(), 0);
  if (size <= 0) return give_up("the helper that runs scripts has ended; restart vmsgd");
  const std::string_view said(answer.data(), static_cast<std::size_t>(size));
  if (said.front() != kDone) return std::unexpected(std::string(said.substr(1)));
  return {};
}

}  // namespace vmsg
