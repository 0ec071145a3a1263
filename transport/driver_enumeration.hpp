// The requester's side of GET_DEVICES: which window to ask for next, and what to believe of the
// answers. Values in, values out; the driver-side bus sends and receives.
#pragma once

#include <bitset>
#include <cstddef>
#include <cstdint>
#include <optional>

#include "transport/message.hpp"
#include "transport/result.hpp"

namespace vmsg {

enum class EnumerationError : std::uint8_t {
  kWrongEcho,       // the answer is for another offset
  kTooManySlots,    // more than were asked for
  kWrongSize,       // not exactly the bytes that the count needs
  kOldFieldOrder,   // the same, but right in the order of earlier drafts: an old peer
  kNoProgress,      // next_offset does not lead on
  kTooManyWindows,  // it leads on too slowly
  kNoAnswer,        // the request failed
};

inline constexpr std::size_t kDeviceNumberCount = 65536;
using DeviceNumberSet = std::bitset<kDeviceNumberCount>;

class DeviceEnumeration {
 public:
  static constexpr std::uint16_t kDefaultWindow = 256;
  static constexpr std::uint32_t kMaxWindows = 8192;

  /// Windows are as large as the message size allows, a multiple of 8, at most kDefaultWindow.
  explicit DeviceEnumeration(std::uint32_t max_message_size);

  /// The request to send now.
  [[nodiscard]] GetDevicesRequest request() const;

  /// An answer to request(). True: complete. False: send the next request().
  [[nodiscard]] Result<bool, EnumerationError> on_response(const Frame& frame);

  /// The numbers found present so far; a snapshot when it is complete.
  [[nodiscard]] const DeviceNumberSet& found() const { return found_; }

 private:
  [[nodiscard]] std::optional<EnumerationError> judge(const Frame& frame,
                                                      const GetDevicesResponse& response) const;

  std::uint16_t window_;
  std::uint16_t offset_ = 0;
  std::uint32_t windows_ = 0;
  DeviceNumberSet found_;
};

}  // namespace vmsg
