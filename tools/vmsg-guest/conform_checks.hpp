// What the checks of conform_*.cpp have in common: requests, frames, and queues that are really
// there.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tools/vmsg-guest/conform_rules.hpp"
#include "tools/vmsg-guest/raw_driver.hpp"
#include "transport/device_status.hpp"

namespace vmsg::guest {

using Bytes = RawDriver::Bytes;

inline constexpr std::uint32_t kAtDriver = kStatusAcknowledge | kStatusDriver;
inline constexpr std::uint32_t kAtFeaturesOk = kAtDriver | kStatusFeaturesOk;
inline constexpr std::uint32_t kLive = kAtFeaturesOk | kStatusDriverOk;
inline constexpr std::uint32_t kNoQueue = 0xfffff;  // beyond what any device may have

template <typename T>
void Findings::equal(const T& wanted, const T& found, const std::string& what) {
  if (wanted != found) found_.push_back(fmt::format("{}: {} and not {}", what, found, wanted));
}

[[nodiscard]] GetDeviceInfoResponse info(RawDriver& driver);
[[nodiscard]] GetConfigResponse config(RawDriver& driver, std::uint32_t offset,
                                       std::uint32_t length);
/// Whether a write is applied, told by its length.
[[nodiscard]] std::uint32_t written(RawDriver& driver, std::uint32_t offset,
                                    std::span<const std::byte> data);

// Of frames; a frame that is too short has no such field: all ones.
[[nodiscard]] std::uint8_t type_of(const Bytes& frame);
[[nodiscard]] std::uint16_t word_of(const Bytes& frame, std::size_t at);
void set(Bytes& frame, std::size_t at, unsigned value);

/// All that a driver can see of a device.
[[nodiscard]] std::vector<Bytes> view(RawDriver& driver);

/// A queue in memory that is really shared.
struct Ring {
  std::array<xen::SharedPages, 3> areas;
  SetVqueueRequest request;
};
[[nodiscard]] Ring make_ring(RawDriver& driver, std::uint32_t index, std::uint32_t size);
[[nodiscard]] std::uint32_t small_size(RawDriver& driver);
void set_queue(RawDriver& driver, const SetVqueueRequest& request);
[[nodiscard]] bool is_enabled(RawDriver& driver, std::uint32_t index);
/// SET_VQUEUE with one thing wrong: the answer is empty and the queue stays idle.
void expect_refused(RawDriver& driver, Findings& findings, const SetVqueueRequest& request,
                    const std::string& what);

}  // namespace vmsg::guest
