#include "backend/log_sink.hpp"

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <iterator>

namespace vmsg {
namespace {

constexpr std::array<std::string_view, 4> kWords{"error", "warning", "info", "debug"};
constexpr std::array kPriorities{3, 4, 6, 7};  // of syslog

std::string one_line(std::string_view words) {
  std::string line(words);
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return line;
}

template <typename Value>
void add_field(std::string& text, std::string_view name, const std::optional<Value>& value) {
  if (value) fmt::format_to(std::back_inserter(text), "{}={}\n", name, *value);
}

}  // namespace

LogLevel parse_log_level(std::string_view word) {
  for (std::size_t i = 0; i < kWords.size(); ++i) {
    if (kWords[i] == word) return static_cast<LogLevel>(i);
  }
  return LogLevel::kInfo;
}

std::string LogContext::prefix() const {
  std::string text;
  const auto add = [&](std::string_view name, const auto& value) {
    if (!value) return;
    fmt::format_to(std::back_inserter(text), "{}{}{}", text.empty() ? "" : " ", name, *value);
  };
  add("dom", guest);
  add("bus", bus);
  add("dev", device);
  add("q", queue);
  if (!text.empty()) text += ": ";
  return text;
}

void StderrSink::write(LogLevel level, const LogContext& context, std::string_view words) {
  const auto now = std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(now);
  const std::string line = fmt::format(
      "{:%Y-%m-%dT%H:%M:%S}.{:03} {}: {}{}\n",
      fmt::gmtime(std::chrono::system_clock::to_time_t(seconds)), (now - seconds).count(),
      kWords[static_cast<std::size_t>(level)], context.prefix(), one_line(words));
  // One call, so that lines of several threads stay whole. A log that cannot be written is lost.
  static_cast<void>(::write(STDERR_FILENO, line.data(), line.size()) == 0);
}

Result<std::unique_ptr<JournalSink>, int> JournalSink::open(LogLevel most,
                                                            const std::string& path) {
  FileDescriptor socket(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (!socket.is_open() || path.size() >= sizeof(address.sun_path)) return std::unexpected(EINVAL);
  std::memcpy(static_cast<char*>(address.sun_path), path.data(), path.size());
  // SAFETY: what the socket calls are defined to take.
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);  // NOLINT(*-reinterpret-cast)
  if (::connect(socket.get(), generic, sizeof(address)) != 0) return std::unexpected(errno);
  return std::unique_ptr<JournalSink>(new JournalSink(most, std::move(socket)));
}

void JournalSink::write(LogLevel level, const LogContext& context, std::string_view words) {
  std::string text =
      fmt::format("PRIORITY={}\nSYSLOG_IDENTIFIER=vmsgd\nMESSAGE={}{}\n",
                  kPriorities[static_cast<std::size_t>(level)], context.prefix(), one_line(words));
  add_field(text, "VMSG_GUEST", context.guest);
  add_field(text, "VMSG_BUS", context.bus);
  add_field(text, "VMSG_DEVICE", context.device);
  add_field(text, "VMSG_QUEUE", context.queue);
  // A journal that does not keep up loses lines rather than stop us.
  static_cast<void>(::send(socket_.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT) ==
                    0);
}

bool is_stderr_journal() {
  // Nobody in this process ever changes the environment.
  const char* stream = std::getenv("JOURNAL_STREAM");  // NOLINT(concurrency-mt-unsafe)
  struct stat found{};
  if (stream == nullptr || ::fstat(STDERR_FILENO, &found) != 0) return false;
  return fmt::format("{}:{}", found.st_dev, found.st_ino) == stream;
}

std::shared_ptr<LogSink> make_log_sink(LogLevel most) {
  if (is_stderr_journal()) {
    if (auto journal = JournalSink::open(most, JournalSink::kSocket)) return std::move(*journal);
  }
  return std::make_shared<StderrSink>(most);
}

}  // namespace vmsg
