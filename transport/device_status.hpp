// The bits of a virtio device's status.
#pragma once

#include <cstdint>

namespace vmsg {

inline constexpr std::uint32_t kStatusAcknowledge = 0x01;
inline constexpr std::uint32_t kStatusDriver = 0x02;
inline constexpr std::uint32_t kStatusDriverOk = 0x04;
inline constexpr std::uint32_t kStatusFeaturesOk = 0x08;
inline constexpr std::uint32_t kStatusNeedsReset = 0x40;
inline constexpr std::uint32_t kStatusFailed = 0x80;

/// The bits that a driver may set. All others are ignored in what it writes.
inline constexpr std::uint32_t kStatusDriverBits =
    kStatusAcknowledge | kStatusDriver | kStatusDriverOk | kStatusFeaturesOk | kStatusFailed;

}  // namespace vmsg
