#include "transport/message_text.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

namespace vmsg {
namespace {

constexpr std::size_t kHexBytes = 32;  // a line stays a line

using Line = fmt::memory_buffer;

template <typename... Args>
void add(Line& line, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(line), format, std::forward<Args>(args)...);
}

void add_hex(Line& line, std::span<const std::byte> bytes) {
  for (const std::byte byte : bytes.first(std::min(bytes.size(), kHexBytes))) {
    add(line, "{:02x}", std::to_integer<unsigned>(byte));
  }
  if (bytes.size() > kHexBytes) add(line, "...");
}

void add_words(Line& line, const FeatureWords& words) {
  add(line, " num_blocks={} features=", words.size());
  constexpr std::uint32_t kWords = 8;
  for (std::uint32_t i = 0; i < std::min(words.size(), kWords); ++i) {
    add(line, "{}0x{:08x}", i == 0 ? "" : ",", words[i]);
  }
  if (words.size() > kWords) add(line, ",...");
}

void add_addresses(Line& line, std::uint64_t descriptor, std::uint64_t driver,
                   std::uint64_t device) {
  add(line, " descriptor_addr=0x{:x} driver_addr=0x{:x} device_addr=0x{:x}", descriptor, driver,
      device);
}

// Messages without payload have nothing to add; the catch-all must not swallow one that does, so
// it takes empty types only.
template <typename Message>
  requires std::is_empty_v<Message>
void add_fields(Line& /*line*/, const Message& /*m*/) {}

void add_fields(Line& line, const GetDeviceInfoResponse& m) {
  add(line, " device_id={} vendor_id=0x{:08x} uuid=", m.device_id, m.vendor_id);
  for (std::size_t i = 0; i < m.device_uuid.size(); ++i) {
    const bool starts_group = i == 4 || i == 6 || i == 8 || i == 10;
    add(line, "{}{:02x}", starts_group ? "-" : "", m.device_uuid[i]);
  }
  add(line,
      " num_feature_blocks={} config_size={} max_virtqueues={} admin_vq_start={} "
      "admin_vq_count={}",
      m.num_feature_blocks, m.config_size, m.max_virtqueues, m.admin_vq_start, m.admin_vq_count);
}
void add_fields(Line& line, const GetDeviceFeaturesRequest& m) {
  add(line, " block_index={} num_blocks={}", m.block_index, m.num_blocks);
}
void add_fields(Line& line, const GetDeviceFeaturesResponse& m) {
  add(line, " block_index={}", m.block_index);
  add_words(line, m.words);
}
void add_fields(Line& line, const SetDriverFeaturesRequest& m) {
  add(line, " block_index={}", m.block_index);
  add_words(line, m.words);
}
void add_fields(Line& line, const GetConfigRequest& m) {
  add(line, " offset={} length={}", m.offset, m.length);
}
void add_fields(Line& line, const GetConfigResponse& m) {
  add(line, " generation={} offset={} length={} data=", m.generation, m.offset, m.data.size());
  add_hex(line, m.data);
}
void add_fields(Line& line, const SetConfigRequest& m) {
  add(line, " generation={} offset={} length={} data=", m.generation, m.offset, m.data.size());
  add_hex(line, m.data);
}
void add_fields(Line& line, const SetConfigResponse& m) {
  add(line, " generation={} offset={} length={}", m.generation, m.offset, m.length);
  if (m.echo.empty()) return;
  add(line, " echo=");
  add_hex(line, m.echo);
}
void add_fields(Line& line, const GetDeviceStatusResponse& m) {
  add(line, " status={}", device_status_text(m.status));
}
void add_fields(Line& line, const SetDeviceStatusRequest& m) {
  add(line, " status={}", device_status_text(m.status));
}
void add_fields(Line& line, const SetDeviceStatusResponse& m) {
  add(line, " status={}", device_status_text(m.status));
}
void add_fields(Line& line, const GetVqueueRequest& m) { add(line, " index={}", m.index); }
void add_fields(Line& line, const GetVqueueResponse& m) {
  add(line, " index={} max_size={} cur_size={} flags=0x{:x}", m.index, m.max_size, m.cur_size,
      m.flags);
  add_addresses(line, m.descriptor_addr, m.driver_addr, m.device_addr);
}
void add_fields(Line& line, const SetVqueueRequest& m) {
  add(line, " index={} flags=0x{:x} size={}", m.index, m.flags, m.size);
  add_addresses(line, m.descriptor_addr, m.driver_addr, m.device_addr);
}
void add_fields(Line& line, const ResetVqueueRequest& m) { add(line, " index={}", m.index); }
void add_fields(Line& line, const GetShmRequest& m) { add(line, " shmid={}", m.shmid); }
void add_fields(Line& line, const GetShmResponse& m) {
  add(line, " shmid={} length=0x{:x} address=0x{:x}", m.shmid, m.length, m.address);
}
void add_fields(Line& line, const EventConfig& m) {
  add(line, " device_status={} generation={} offset={} length={}",
      device_status_text(m.device_status), m.generation, m.offset, m.length);
  if (m.data.empty()) return;
  add(line, " data=");
  add_hex(line, m.data);
}
void add_fields(Line& line, const EventAvail& m) {
  add(line, " vq_index={} next_offset=0x{:x}", m.vq_index, m.next_offset);
}
void add_fields(Line& line, const EventUsed& m) { add(line, " vq_index={}", m.vq_index); }

void add_fields(Line& line, const GetDevicesRequest& m) {
  add(line, " offset={} count={}", m.offset, m.count);
}
void add_fields(Line& line, const GetDevicesResponse& m) {
  add(line, " offset={} next_offset={} count={} bitmap=", m.offset, m.next_offset, m.count);
  add_hex(line, m.bitmap);
}
void add_fields(Line& line, const PingRequest& m) { add(line, " data=0x{:08x}", m.data); }
void add_fields(Line& line, const PingResponse& m) { add(line, " data=0x{:08x}", m.data); }
void add_fields(Line& line, const EventDevice& m) {
  add(line, " dev_num={} state=", m.dev_num);
  switch (m.state) {
    case VIRTIO_MSG_DEVICE_ADDED:
      return add(line, "ADDED");
    case VIRTIO_MSG_DEVICE_REMOVED:
      return add(line, "REMOVED");
    default:
      return add(line, "{}", m.state);
  }
}
void add_fields(Line& line, const QueueEventChannelRequest& m) {
  add(line, " dev_num={} vq_index={} port={}", m.dev_num, m.vq_index, m.port);
}
void add_fields(Line& line, const QueueEventChannelResponse& m) {
  add(line, " dev_num={} status={} vq_index={}", m.dev_num, m.status, m.vq_index);
}
void add_fields(Line& line, const ShareRegionRequest& m) {
  add(line, " region={} pages={} address=0x{:x}", m.region, m.pages, m.address);
}
void add_fields(Line& line, const ShareRegionResponse& m) {
  add(line, " region={} status={}", m.region, m.status);
}
void add_fields(Line& line, const UnshareRegionRequest& m) { add(line, " region={}", m.region); }
void add_fields(Line& line, const UnshareRegionResponse& m) {
  add(line, " region={} status={}", m.region, m.status);
}
void add_fields(Line& line, const EjectedRequest& m) {
  add(line, " dev_num={} status={}", m.dev_num, m.status);
}
void add_fields(Line& line, const EjectedResponse& m) { add(line, " dev_num={}", m.dev_num); }
void add_fields(Line& line, const Eject& m) {
  add(line, " dev_num={} seconds={}", m.dev_num, m.seconds);
}

void add_header(Line& line, const FrameHeader& header) {
  const std::string_view name = message_name(header.is_bus(), header.msg_id);
  if (header.is_bus()) add(line, "bus ");
  if (name.empty()) {
    add(line, "id=0x{:02x}", header.msg_id);
  } else {
    add(line, "{}", name);
  }
  if (header.is_response()) add(line, " response");
  if (header.is_request()) add(line, " request");
  if (!header.is_bus()) add(line, " dev={}", header.dev_num);
  if (!header.is_event()) add(line, " token=0x{:04x}", header.token);
}

std::string_view bus_message_name(BusId id) {
  switch (id) {
    case BusId::kGetDevices:
      return "GET_DEVICES";
    case BusId::kPing:
      return "PING";
    case BusId::kEventDevice:
      return "EVENT_DEVICE";
    case BusId::kQueueEventChannel:
      return "QUEUE_EVENT_CHANNEL";
    case BusId::kShareRegion:
      return "SHARE_REGION";
    case BusId::kUnshareRegion:
      return "UNSHARE_REGION";
    case BusId::kEjected:
      return "EJECTED";
    case BusId::kEject:
      return "EJECT";
  }
  return {};
}

std::string_view transport_message_name(TransportId id) {
  switch (id) {
    case TransportId::kGetDeviceInfo:
      return "GET_DEVICE_INFO";
    case TransportId::kGetDeviceFeatures:
      return "GET_DEVICE_FEATURES";
    case TransportId::kSetDriverFeatures:
      return "SET_DRIVER_FEATURES";
    case TransportId::kGetConfig:
      return "GET_CONFIG";
    case TransportId::kSetConfig:
      return "SET_CONFIG";
    case TransportId::kGetDeviceStatus:
      return "GET_DEVICE_STATUS";
    case TransportId::kSetDeviceStatus:
      return "SET_DEVICE_STATUS";
    case TransportId::kGetVqueue:
      return "GET_VQUEUE";
    case TransportId::kSetVqueue:
      return "SET_VQUEUE";
    case TransportId::kResetVqueue:
      return "RESET_VQUEUE";
    case TransportId::kGetShm:
      return "GET_SHM";
    case TransportId::kEventConfig:
      return "EVENT_CONFIG";
    case TransportId::kEventAvail:
      return "EVENT_AVAIL";
    case TransportId::kEventUsed:
      return "EVENT_USED";
  }
  return {};
}

}  // namespace

std::string_view message_name(bool is_bus, std::uint8_t msg_id) {
  return is_bus ? bus_message_name(static_cast<BusId>(msg_id))
                : transport_message_name(static_cast<TransportId>(msg_id));
}

std::string to_text(const WireFault& fault) {
  switch (fault.error) {
    case WireError::kTruncatedHeader:
      return fmt::format("only {} bytes, less than a header", fault.number);
    case WireError::kSizeTooSmall:
      return fmt::format("msg_size {} is less than a header", fault.number);
    case WireError::kTruncated:
      return fmt::format("msg_size {} is more than was delivered", fault.number);
    case WireError::kTooLarge:
      return fmt::format("{} bytes are more than the maximum", fault.number);
    case WireError::kBusDeviceNumber:
      return fmt::format("a bus message with device number {}", fault.number);
    case WireError::kEventResponse:
      return fmt::format("event 0x{:02x} with the response bit", fault.number);
    case WireError::kWrongDirection:
      return fmt::format("message 0x{:02x} does not travel this way", fault.number);
    case WireError::kNotOurs:
      return fmt::format("device number {} is not addressed here", fault.number);
    case WireError::kUnknownId:
      return fmt::format("unknown message 0x{:02x}", fault.number);
    case WireError::kPayloadTooShort:
      return fmt::format("needs a payload of {} bytes", fault.number);
    case WireError::kPayloadMismatch:
      return fmt::format("a payload of {} bytes fits no form", fault.number);
  }
  return "unknown fault";
}

std::string to_text(const Frame& frame) {
  Line line;
  add_header(line, frame.header);
  const auto message = parse_any(frame);
  if (message) {
    std::visit([&line](const auto& m) { add_fields(line, m); }, *message);
  } else {
    add(line, ": {}", to_text(message.error()));
  }
  return fmt::to_string(line);
}

std::string to_text(std::span<const std::byte> delivered) {
  const auto frame = parse_frame(delivered, kMaxMaxMessageSize);
  if (frame) return to_text(*frame);
  Line line;
  add(line, "no frame ({}): ", to_text(frame.error()));
  add_hex(line, delivered);
  return fmt::to_string(line);
}

std::string device_status_text(std::uint32_t status) {
  struct Bit {
    std::uint32_t mask;
    std::string_view name;
  };
  static constexpr Bit kBits[] = {{0x01, "ACKNOWLEDGE"}, {0x02, "DRIVER"},
                                  {0x08, "FEATURES_OK"}, {0x04, "DRIVER_OK"},
                                  {0x40, "NEEDS_RESET"}, {0x80, "FAILED"}};
  Line line;
  add(line, "0x{:02x}", status);
  char separator = ' ';
  for (const Bit& bit : kBits) {
    if ((status & bit.mask) == 0) continue;
    add(line, "{}{}", separator, bit.name);
    separator = '|';
  }
  return fmt::to_string(line);
}

}  // namespace vmsg
