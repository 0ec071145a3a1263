// Where things lie in the three areas of a virtqueue, split and packed. Numbers only: nothing here
// touches memory.
//
//   area         split                       packed
//   descriptors  descriptor table            descriptor ring
//   driver       available ring              driver event suppression
//   device       used ring                   device event suppression
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "transport/queue_error.hpp"
#include "transport/result.hpp"

namespace vmsg {

inline constexpr std::uint32_t kMaxQueueSize = 32768;

enum class QueueFormat : std::uint8_t { kSplit, kPacked };

/// One number for each area: sizes in bytes, alignments, or addresses as a driver gave them.
struct AreaNumbers {
  std::uint64_t descriptors = 0;
  std::uint64_t driver = 0;
  std::uint64_t device = 0;

  friend bool operator==(const AreaNumbers&, const AreaNumbers&) = default;
};

[[nodiscard]] constexpr bool is_valid_queue_size(QueueFormat format, std::uint32_t size) {
  if (size == 0 || size > kMaxQueueSize) return false;
  return format == QueueFormat::kPacked || (size & (size - 1)) == 0;
}

/// Bytes of each area. The split rings have room for the event index whether it is used or not.
[[nodiscard]] constexpr AreaNumbers area_sizes(QueueFormat format, std::uint32_t size) {
  const std::uint64_t n = size;
  if (format == QueueFormat::kPacked) return {16 * n, 4, 4};
  return {16 * n, 6 + 2 * n, 6 + 8 * n};
}

[[nodiscard]] constexpr AreaNumbers area_alignments(QueueFormat format) {
  if (format == QueueFormat::kPacked) return {16, 4, 4};
  return {16, 2, 4};
}

/// What is wrong with a size and three addresses that a driver asks for, before anything is
/// mapped: size, alignment, an area that runs past 2^64 (kRangeEnd), a zero address (kBadAddress).
[[nodiscard]] std::optional<QueueError> find_layout_fault(QueueFormat format, std::uint32_t size,
                                                          const AreaNumbers& addresses);

/// The layout as compile-time numbers, for the code that reads and writes the areas.
namespace vring {

inline constexpr std::uint32_t kDescriptorSize = 16;  // le64 addr, le32 len, then by format

// Split descriptor: le16 flags at 12, le16 next at 14. Packed: le16 id at 12, le16 flags at 14.
inline constexpr std::size_t kPackedFlagsOffset = 14;

inline constexpr std::uint16_t kNext = 1U << 0;
inline constexpr std::uint16_t kWrite = 1U << 1;
inline constexpr std::uint16_t kIndirect = 1U << 2;
inline constexpr std::uint16_t kPackedAvail = 1U << 7;
inline constexpr std::uint16_t kPackedUsed = 1U << 15;

// Both split rings: le16 flags, le16 idx, entries, le16 event.
inline constexpr std::size_t kRingFlags = 0;
inline constexpr std::size_t kRingIdx = 2;
inline constexpr std::size_t kRingEntries = 4;
inline constexpr std::size_t kAvailEntrySize = 2;  // le16 head
inline constexpr std::size_t kUsedEntrySize = 8;   // le32 id, le32 len

inline constexpr std::uint16_t kAvailNoInterrupt = 1;
inline constexpr std::uint16_t kUsedNoNotify = 1;

// Packed event suppression: le16 offset (bit 15: wrap counter), le16 flags.
inline constexpr std::uint16_t kEventEnable = 0;
inline constexpr std::uint16_t kEventDisable = 1;
inline constexpr std::uint16_t kEventDescriptor = 2;
inline constexpr std::uint16_t kEventWrapBit = 1U << 15;

[[nodiscard]] constexpr std::size_t used_event_offset(std::uint32_t size) {
  return kRingEntries + kAvailEntrySize * size;  // in the available ring
}
[[nodiscard]] constexpr std::size_t avail_event_offset(std::uint32_t size) {
  return kRingEntries + kUsedEntrySize * size;  // in the used ring
}

}  // namespace vring
}  // namespace vmsg
