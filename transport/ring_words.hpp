// Descriptors as they lie in memory: two 64-bit words each, every word read or written once.
// Internal to the queues.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

#include "transport/queue_layout.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg {

// Words are taken apart by shifts; memory is little-endian and so are the hosts we build for.
static_assert(std::endian::native == std::endian::little);

/// `flags` and `tail` change places between the formats: split has `next` behind the flags, packed
/// has the buffer id before them.
struct Descriptor {
  std::uint64_t address = 0;
  std::uint32_t length = 0;
  std::uint16_t flags = 0;
  std::uint16_t tail = 0;  // split: next; packed: buffer id

  [[nodiscard]] bool has(std::uint16_t flag) const { return (flags & flag) != 0; }

  static Descriptor split(std::uint64_t word0, std::uint64_t word1) {
    return {word0, static_cast<std::uint32_t>(word1), static_cast<std::uint16_t>(word1 >> 32),
            static_cast<std::uint16_t>(word1 >> 48)};
  }
  static Descriptor packed(std::uint64_t word0, std::uint64_t word1) {
    return {word0, static_cast<std::uint32_t>(word1), static_cast<std::uint16_t>(word1 >> 48),
            static_cast<std::uint16_t>(word1 >> 32)};
  }

  [[nodiscard]] std::uint64_t split_word1() const {
    return length | std::uint64_t{flags} << 32 | std::uint64_t{tail} << 48;
  }
  [[nodiscard]] std::uint64_t packed_word1() const {
    return length | std::uint64_t{tail} << 32 | std::uint64_t{flags} << 48;
  }
};

[[nodiscard]] inline Descriptor load_split(const SharedBytes& table, std::uint32_t index) {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize;
  return Descriptor::split(table.load_relaxed64(at), table.load_relaxed64(at + 8));
}

[[nodiscard]] inline Descriptor load_packed(const SharedBytes& ring, std::uint32_t slot) {
  const std::size_t at = std::size_t{slot} * vring::kDescriptorSize;
  return Descriptor::packed(ring.load_relaxed64(at), ring.load_relaxed64(at + 8));
}

inline void store_words(const SharedBytes& ring, std::uint32_t index, std::uint64_t word0,
                        std::uint64_t word1) {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize;
  ring.store_relaxed64(at, word0);
  ring.store_relaxed64(at + 8, word1);
}

/// An entry of an indirect table, which need not be aligned.
inline void store_table_words(const SharedBytes& table, std::size_t index, std::uint64_t word0,
                              std::uint64_t word1) {
  table.store(index * vring::kDescriptorSize, word0);
  table.store(index * vring::kDescriptorSize + 8, word1);
}

/// What the flags of a packed descriptor say in the lap of `wrap`.
[[nodiscard]] constexpr std::uint16_t packed_avail_bits(bool wrap) {
  return wrap ? vring::kPackedAvail : vring::kPackedUsed;
}
[[nodiscard]] constexpr std::uint16_t packed_used_bits(bool wrap) {
  return wrap ? vring::kPackedAvail | vring::kPackedUsed : 0;
}
[[nodiscard]] constexpr bool is_packed_avail(std::uint16_t flags, bool wrap) {
  return (flags & (vring::kPackedAvail | vring::kPackedUsed)) == packed_avail_bits(wrap);
}
[[nodiscard]] constexpr bool is_packed_used(std::uint16_t flags, bool wrap) {
  return (flags & (vring::kPackedAvail | vring::kPackedUsed)) == packed_used_bits(wrap);
}

[[nodiscard]] constexpr std::size_t packed_flags_at(std::uint32_t slot) {
  return std::size_t{slot} * vring::kDescriptorSize + vring::kPackedFlagsOffset;
}

}  // namespace vmsg
