#include "transport/bus_counters.hpp"

#include "transport/message.hpp"

namespace vmsg {

DropReason drop_reason(WireError error) {
  switch (error) {
    case WireError::kTruncatedHeader:
    case WireError::kSizeTooSmall:
    case WireError::kTruncated:
      return DropReason::kTruncated;
    case WireError::kTooLarge:
      return DropReason::kTooLarge;
    case WireError::kBusDeviceNumber:
      return DropReason::kBusDeviceNumber;
    case WireError::kEventResponse:
    case WireError::kWrongDirection:
      return DropReason::kDirection;
    case WireError::kNotOurs:
      return DropReason::kAbsentDevice;
    case WireError::kUnknownId:
      return DropReason::kUnknownMessage;
    case WireError::kPayloadTooShort:
    case WireError::kPayloadMismatch:
      return DropReason::kShortPayload;
  }
  return DropReason::kUnknownMessage;
}

}  // namespace vmsg
