#include "transport/device_numbers.hpp"

#include <algorithm>

#include "transport/result.hpp"

namespace vmsg {

NumberState DeviceNumbers::state(std::uint16_t number, Instant now) const {
  if (taken_[number]) return NumberState::kTaken;
  if (!used_before_[number]) return NumberState::kFree;
  const auto found = std::ranges::find(released_, number, &Released::number);
  VMSG_INVARIANT(found != released_.end());
  return now - found->at < quarantine_ ? NumberState::kQuarantined : NumberState::kFree;
}

bool DeviceNumbers::take(std::uint16_t number, Instant now) {
  if (state(number, now) != NumberState::kFree) return false;
  if (used_before_[number]) {
    released_.erase(std::ranges::find(released_, number, &Released::number));
  }
  taken_.set(number);
  used_before_.set(number);
  return true;
}

std::optional<std::uint16_t> DeviceNumbers::take_any(Instant now) {
  while (first_fresh_ < kNumbers && used_before_[first_fresh_]) ++first_fresh_;
  std::uint16_t number = 0;
  if (first_fresh_ < kNumbers) {
    number = static_cast<std::uint16_t>(first_fresh_);
  } else if (!released_.empty()) {
    number = released_.front().number;
  } else {
    return std::nullopt;
  }
  // The front of the list was released first: if it still rests, so does every other.
  if (!take(number, now)) return std::nullopt;
  return number;
}

void DeviceNumbers::release(std::uint16_t number, Instant now) {
  VMSG_INVARIANT(taken_[number]);
  taken_.reset(number);
  released_.push_back({.number = number, .at = now});
}

}  // namespace vmsg
