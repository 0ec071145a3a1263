// The daemon's log: a small value that carries what its lines are about (guest, bus, device, queue)
// and is handed to constructors. There is no global logger.
//
// What a guest can cause goes through guest(): limited per context family, with a count of what
// was held back. Everything else is rare by nature.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "backend/log_sink.hpp"

namespace vmsg {

/// How many lines a guest may cause, shared by all contexts below one Log::for_bus().
class GuestLineLimit {
 public:
  static constexpr std::uint32_t kBurst = 20;    // lines
  static constexpr std::uint64_t kPerLine = 10;  // seconds until one more is allowed

  /// Whether a line may be written now; `held_back` is how many were not since the last one.
  bool allow(std::uint64_t now_seconds, std::uint64_t& held_back);

  /// All that were not, ever.
  [[nodiscard]] std::uint64_t total_held_back() const { return total_held_back_; }

 private:
  std::uint32_t left_ = kBurst;
  std::uint64_t refilled_at_ = 0;
  std::uint64_t held_back_ = 0;
  std::uint64_t total_held_back_ = 0;
};

class Log {
 public:
  explicit Log(std::shared_ptr<LogSink> sink) : sink_(std::move(sink)) {}

  /// A child whose lines are about a guest's bus, with a limit of its own for those that the guest
  /// causes.
  [[nodiscard]] Log for_bus(std::uint16_t guest, std::uint32_t bus) const;

  /// Children whose lines are about a device, or a queue, too.
  [[nodiscard]] Log device(std::uint16_t number) const;
  [[nodiscard]] Log queue(std::uint32_t index) const;

  template <typename... Args>
  void error(fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kError, fmt::format(form, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void warning(fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kWarning, fmt::format(form, std::forward<Args>(args)...));
  }
  template <typename... Args>
  void info(fmt::format_string<Args...> form, Args&&... args) const {
    write(LogLevel::kInfo, fmt::format(form, std::forward<Args>(args)...));
  }
  [[nodiscard]] bool is_debug() const { return sink_->wants(LogLevel::kDebug); }
  template <typename... Args>
  void debug(fmt::format_string<Args...> form, Args&&... args) const {
    if (!is_debug()) return;
    write(LogLevel::kDebug, fmt::format(form, std::forward<Args>(args)...));
  }

  /// Lines that the guest's limit has held back so far.
  [[nodiscard]] std::uint64_t held_back() const {
    return limit_ == nullptr ? 0 : limit_->total_held_back();
  }

  /// A warning that a guest can cause as often as it likes.
  template <typename... Args>
  void guest(fmt::format_string<Args...> form, Args&&... args) const {
    std::uint64_t held_back = 0;
    if (!may_write_for_guest(held_back)) return;
    write_for_guest(LogLevel::kWarning, fmt::format(form, std::forward<Args>(args)...), held_back);
  }

  /// What is in order, and still the guest's to repeat without end: a connection, for instance.
  template <typename... Args>
  void guest_info(fmt::format_string<Args...> form, Args&&... args) const {
    std::uint64_t held_back = 0;
    if (!sink_->wants(LogLevel::kInfo) || !may_write_for_guest(held_back)) return;
    write_for_guest(LogLevel::kInfo, fmt::format(form, std::forward<Args>(args)...), held_back);
  }

 private:
  void write(LogLevel level, const std::string& line) const;
  [[nodiscard]] bool may_write_for_guest(std::uint64_t& held_back) const;
  void write_for_guest(LogLevel level, const std::string& line, std::uint64_t held_back) const;

  std::shared_ptr<LogSink> sink_;
  LogContext context_;
  std::shared_ptr<GuestLineLimit> limit_;
};

}  // namespace vmsg
