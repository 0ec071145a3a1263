#include "backend/log.hpp"

#include <chrono>

namespace vmsg {

bool GuestLineLimit::allow(std::uint64_t now_seconds, std::uint64_t& held_back) {
  const std::uint64_t earned = (now_seconds - refilled_at_) / kPerLine;
  if (earned > 0) {
    left_ = earned >= kBurst - left_ ? kBurst : left_ + static_cast<std::uint32_t>(earned);
    refilled_at_ = now_seconds;
  }
  if (left_ == 0) {
    ++held_back_;
    ++total_held_back_;
    return false;
  }
  --left_;
  held_back = std::exchange(held_back_, 0);
  return true;
}

Log Log::for_bus(std::uint16_t guest, std::uint32_t bus) const {
  Log child(*this);
  child.context_.guest = guest;
  child.context_.bus = bus;
  child.limit_ = std::make_shared<GuestLineLimit>();
  return child;
}

Log Log::device(std::uint16_t number) const {
  Log child(*this);
  child.context_.device = number;
  return child;
}

Log Log::queue(std::uint32_t index) const {
  Log child(*this);
  child.context_.queue = index;
  return child;
}

void Log::write(LogLevel level, const std::string& line) const {
  if (sink_->wants(level)) sink_->write(level, context_, line);
}

bool Log::may_write_for_guest(std::uint64_t& held_back) const {
  if (limit_ == nullptr) return true;
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return limit_->allow(
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(now).count()),
      held_back);
}

void Log::write_for_guest(LogLevel level, const std::string& line, std::uint64_t held_back) const {
  if (held_back > 0) {
    write(level, fmt::format("{} ({} lines before this one held back)", line, held_back));
  } else {
    write(level, line);
  }
}

}  // namespace vmsg
