// Frames for devices that are busy, in a fixed number of places of a fixed size, in order of
// arrival. What does not fit stays where it is: in the ring.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vmsg {

class WaitingFrames {
 public:
  WaitingFrames(std::size_t places, std::size_t place_size);

  /// Copies the frame in. False when every place is taken.
  [[nodiscard]] bool push(std::uint16_t device, std::span<const std::byte> frame);

  /// How many frames wait, and for whom the one at `position` waits; 0 came first.
  [[nodiscard]] std::size_t size() const { return order_.size(); }
  [[nodiscard]] std::uint16_t device(std::size_t position) const { return order_[position].device; }
  [[nodiscard]] bool has(std::uint16_t device) const;
  [[nodiscard]] bool has_place() const { return !free_.empty(); }

  /// Copies the frame at `position` to the start of `out`, which is at least a place long, and
  /// frees its place.
  [[nodiscard]] std::span<const std::byte> take(std::size_t position, std::span<std::byte> out);

 private:
  struct Waiting {
    std::uint16_t device;
    std::uint32_t place;
    std::uint32_t size;
  };

  std::size_t place_size_;
  std::vector<std::byte> places_;
  std::vector<std::uint32_t> free_;  // reserved once, like order_
  std::vector<Waiting> order_;
};

}  // namespace vmsg
