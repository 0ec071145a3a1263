// Where log lines go: standard error, or the journal with its fields.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "devices/file_descriptor.hpp"
#include "transport/result.hpp"

namespace vmsg {

enum class LogLevel : std::uint8_t { kError, kWarning, kInfo, kDebug };

/// "error", "warning", "info", "debug"; kInfo for anything else.
[[nodiscard]] LogLevel parse_log_level(std::string_view word);

/// What a line is about.
struct LogContext {
  std::optional<std::uint16_t> guest;
  std::optional<std::uint32_t> bus;
  std::optional<std::uint16_t> device;
  std::optional<std::uint32_t> queue;

  /// "dom3 bus0 dev2 q0: ", or nothing.
  [[nodiscard]] std::string prefix() const;
};

/// Any thread may write.
class LogSink {
 public:
  explicit LogSink(LogLevel most) : most_(most) {}
  LogSink(const LogSink&) = delete;
  LogSink& operator=(const LogSink&) = delete;
  virtual ~LogSink() = default;

  [[nodiscard]] bool wants(LogLevel level) const { return level <= most_; }
  virtual void write(LogLevel level, const LogContext& context, std::string_view words) = 0;

 private:
  LogLevel most_;
};

/// One line a call on standard error: "2026-01-31T12:00:00.123 warning: dom3 bus0: words".
class StderrSink final : public LogSink {
 public:
  using LogSink::LogSink;
  void write(LogLevel level, const LogContext& context, std::string_view words) override;
};

/// The journal's native protocol: a datagram a line, with PRIORITY, MESSAGE, VMSG_GUEST, VMSG_BUS,
/// VMSG_DEVICE, VMSG_QUEUE.
class JournalSink final : public LogSink {
 public:
  /// The error is an errno value.
  static Result<std::unique_ptr<JournalSink>, int> open(LogLevel most, const std::string& path);
  void write(LogLevel level, const LogContext& context, std::string_view words) override;

  static constexpr const char* kSocket = "/run/systemd/journal/socket";

 private:
  JournalSink(LogLevel most, FileDescriptor socket) : LogSink(most), socket_(std::move(socket)) {}

  FileDescriptor socket_;
};

/// Whether standard error ends in the journal, so that fields would reach it.
[[nodiscard]] bool is_stderr_journal();

/// The journal where standard error ends there, standard error otherwise.
[[nodiscard]] std::shared_ptr<LogSink> make_log_sink(LogLevel most);

}  // namespace vmsg
