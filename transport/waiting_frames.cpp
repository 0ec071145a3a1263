#include "transport/waiting_frames.hpp"

#include <algorithm>

#include "transport/result.hpp"

namespace vmsg {

WaitingFrames::WaitingFrames(std::size_t places, std::size_t place_size)
    : place_size_(place_size), places_(places * place_size) {
  free_.reserve(places);
  order_.reserve(places);
  for (std::size_t i = places; i > 0; --i) free_.push_back(static_cast<std::uint32_t>(i - 1));
}

bool WaitingFrames::push(std::uint16_t device, std::span<const std::byte> frame) {
  VMSG_INVARIANT(frame.size() <= place_size_);
  if (free_.empty()) return false;
  const std::uint32_t place = free_.back();
  free_.pop_back();
  std::ranges::copy(frame, std::span(places_).subspan(place * place_size_).begin());
  order_.push_back(
      {.device = device, .place = place, .size = static_cast<std::uint32_t>(frame.size())});
  return true;
}

bool WaitingFrames::has(std::uint16_t device) const {
  return std::ranges::find(order_, device, &Waiting::device) != order_.end();
}

std::span<const std::byte> WaitingFrames::take(std::size_t position, std::span<std::byte> out) {
  VMSG_INVARIANT(position < order_.size() && out.size() >= place_size_);
  const Waiting waiting = order_[position];
  order_.erase(order_.begin() + static_cast<std::ptrdiff_t>(position));
  free_.push_back(waiting.place);
  const auto place = std::span(places_).subspan(waiting.place * place_size_, waiting.size);
  std::ranges::copy(place, out.begin());
  return out.first(waiting.size);
}

}  // namespace vmsg
