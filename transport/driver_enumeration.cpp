#include "transport/driver_enumeration.hpp"

#include <algorithm>
#include <cstring>

#include "transport/wire.hpp"

namespace vmsg {
namespace {

/// Earlier drafts had `count` second and `next_offset` last.
bool fits_old_field_order(const Frame& frame) {
  wire::GetDevicesResponse fields;
  if (frame.payload.size() < sizeof(fields)) return false;
  std::memcpy(&fields, frame.payload.data(), sizeof(fields));
  const std::uint16_t old_count = fields.next_offset.get();
  return frame.payload.size() == sizeof(fields) + GetDevicesResponse::bitmap_size(old_count);
}

EnumerationError wrong_size(const Frame& frame) {
  return fits_old_field_order(frame) ? EnumerationError::kOldFieldOrder
                                     : EnumerationError::kWrongSize;
}

}  // namespace

DeviceEnumeration::DeviceEnumeration(std::uint32_t max_message_size)
    : window_(static_cast<std::uint16_t>(
          std::min<std::uint32_t>(kDefaultWindow, max_device_slots(max_message_size)))) {}

GetDevicesRequest DeviceEnumeration::request() const {
  return {.offset = offset_, .count = window_};
}

std::optional<EnumerationError> DeviceEnumeration::judge(const Frame& frame,
                                                         const GetDevicesResponse& response) const {
  const std::size_t exact =
      sizeof(wire::GetDevicesResponse) + GetDevicesResponse::bitmap_size(response.count);
  if (frame.payload.size() != exact) return wrong_size(frame);
  if (response.offset != offset_) return EnumerationError::kWrongEcho;
  if (response.count > window_) return EnumerationError::kTooManySlots;
  // A window must not run past the number space either: such slots name no device.
  if (std::size_t{offset_} + response.count > kDeviceNumberCount) {
    return EnumerationError::kTooManySlots;
  }
  if (response.next_offset != 0 && response.next_offset <= offset_) {
    return EnumerationError::kNoProgress;
  }
  return std::nullopt;
}

Result<bool, EnumerationError> DeviceEnumeration::on_response(const Frame& frame) {
  const auto message = receive_at_driver_bus(frame);
  if (!message) return std::unexpected(wrong_size(frame));
  const auto* const response = std::get_if<GetDevicesResponse>(&*message);
  if (response == nullptr) return std::unexpected(EnumerationError::kNoAnswer);
  if (const auto error = judge(frame, *response)) return std::unexpected(*error);

  for (std::uint16_t slot = 0; slot < response->count; ++slot) {
    if (response->has(slot)) found_.set(std::size_t{offset_} + slot);
  }
  if (response->next_offset == 0) return true;
  if (++windows_ >= kMaxWindows) return std::unexpected(EnumerationError::kTooManyWindows);
  offset_ = response->next_offset;
  return false;
}

}  // namespace vmsg
