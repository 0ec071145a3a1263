// The arithmetic of VIRTIO_F_EVENT_IDX: whether moving an index from `before` to `after` passes
// the entry that the other side wants to hear about. Indices are modulo 2^16.
#pragma once

#include <cstdint>

#include "transport/queue_layout.hpp"

namespace vmsg {

/// Entries before, before + 1, ... after - 1 were added; is `event` one of them?
[[nodiscard]] constexpr bool passes_event(std::uint16_t event, std::uint16_t before,
                                          std::uint16_t after) {
  const auto behind = static_cast<std::uint16_t>(after - event - 1);
  return behind < static_cast<std::uint16_t>(after - before);
}

/// A position in a packed ring: a slot and the wrap counter that belongs to it.
struct RingPosition {
  std::uint16_t slot = 0;
  bool wrap = true;

  /// `count` is at most `size`.
  constexpr void advance(std::uint32_t count, std::uint32_t size) {
    const std::uint32_t moved = slot + count;
    if (moved >= size) {
      slot = static_cast<std::uint16_t>(moved - size);
      wrap = !wrap;
    } else {
      slot = static_cast<std::uint16_t>(moved);
    }
  }

  /// The form of an event suppression structure.
  [[nodiscard]] constexpr std::uint16_t encoded() const {
    return static_cast<std::uint16_t>(slot | (wrap ? vring::kEventWrapBit : 0U));
  }

  friend bool operator==(const RingPosition&, const RingPosition&) = default;
};

/// Whether the other side wants to be notified, given its suppression structure (offset in the low
/// half, flags in the high half) and that `count` slots before `now` were filled. Values that the
/// format does not define mean "notify": that costs nobody but the one who wrote them.
[[nodiscard]] constexpr bool wants_packed_event(std::uint32_t suppression, bool event_idx,
                                                RingPosition now, std::uint32_t count,
                                                std::uint32_t size) {
  const auto flags = static_cast<std::uint16_t>(suppression >> 16);
  if (flags == vring::kEventDisable) return false;
  if (flags != vring::kEventDescriptor || !event_idx) return true;
  const auto encoded = static_cast<std::uint16_t>(suppression);
  const bool wrap = (encoded & vring::kEventWrapBit) != 0;
  // Slots of the lap before the present one get numbers below zero, modulo 2^16.
  const std::uint32_t slot = encoded & (vring::kEventWrapBit - 1U);
  const auto event = static_cast<std::uint16_t>(wrap == now.wrap ? slot : slot - size);
  return passes_event(event, static_cast<std::uint16_t>(now.slot - count), now.slot);
}

}  // namespace vmsg
