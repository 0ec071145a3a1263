// Sets of virtio device feature bits. 128 bits: the v2 Linux driver refuses devices with more.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

namespace vmsg {

inline constexpr std::size_t kFeatureBlocks = 4;

/// The device-independent bits that this project knows.
enum class RingFeature : std::uint8_t {
  kIndirectDesc = 28,
  kEventIdx = 29,
  kVersion1 = 32,
  kAccessPlatform = 33,
  kRingPacked = 34,
  kInOrder = 35,
  kOrderPlatform = 36,
  kSrIov = 37,
  kNotificationData = 38,
  kNotifConfigData = 39,
  kRingReset = 40,
  kAdminVq = 41,
};

class FeatureSet {
 public:
  constexpr FeatureSet() = default;
  constexpr FeatureSet(std::initializer_list<unsigned> bits) {
    for (const unsigned bit : bits) set(bit);
  }

  constexpr void set(unsigned bit) {
    words_[bit / 32 % kFeatureBlocks] |= std::uint32_t{1} << (bit % 32);
  }
  constexpr void set(RingFeature bit) { set(static_cast<unsigned>(bit)); }
  constexpr void clear(unsigned bit) {
    words_[bit / 32 % kFeatureBlocks] &= ~(std::uint32_t{1} << (bit % 32));
  }
  constexpr void clear(RingFeature bit) { clear(static_cast<unsigned>(bit)); }

  [[nodiscard]] constexpr bool has(unsigned bit) const {
    return bit / 32 < kFeatureBlocks && ((words_[bit / 32] >> (bit % 32)) & 1U) != 0;
  }
  [[nodiscard]] constexpr bool has(RingFeature bit) const {
    return has(static_cast<unsigned>(bit));
  }

  [[nodiscard]] constexpr std::uint32_t word(std::size_t block) const {
    return block < kFeatureBlocks ? words_[block] : 0;
  }
  constexpr void set_word(std::size_t block, std::uint32_t value) {
    if (block < kFeatureBlocks) words_[block] = value;
  }

  [[nodiscard]] constexpr bool is_subset_of(const FeatureSet& other) const {
    for (std::size_t i = 0; i < kFeatureBlocks; ++i) {
      if ((words_[i] & ~other.words_[i]) != 0) return false;
    }
    return true;
  }

  friend constexpr FeatureSet operator&(FeatureSet a, const FeatureSet& b) {
    for (std::size_t i = 0; i < kFeatureBlocks; ++i) a.words_[i] &= b.words_[i];
    return a;
  }
  friend constexpr FeatureSet operator|(FeatureSet a, const FeatureSet& b) {
    for (std::size_t i = 0; i < kFeatureBlocks; ++i) a.words_[i] |= b.words_[i];
    return a;
  }
  friend constexpr bool operator==(const FeatureSet&, const FeatureSet&) = default;

 private:
  std::array<std::uint32_t, kFeatureBlocks> words_{};
};

}  // namespace vmsg
