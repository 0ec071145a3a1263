#include <cstring>

#include "transport/message.hpp"
#include "transport/wire.hpp"

namespace vmsg {
namespace {

using Bytes = std::span<const std::byte>;

std::unexpected<WireFault> too_large(std::uint64_t needed) {
  return std::unexpected(WireFault{.error = WireError::kTooLarge, .number = needed});
}

/// A fixed part and the variable part after it.
template <typename Wire>
struct Encoded {
  Wire fixed;
  Bytes tail;
};

std::uint32_t size32(Bytes bytes) { return static_cast<std::uint32_t>(bytes.size()); }

auto to_wire(const GetDeviceInfoResponse& m) {
  return Encoded<wire::GetDeviceInfoResponse>{{.device_id = m.device_id,
                                               .vendor_id = m.vendor_id,
                                               .device_uuid = m.device_uuid,
                                               .num_feature_blocks = m.num_feature_blocks,
                                               .config_size = m.config_size,
                                               .max_virtqueues = m.max_virtqueues,
                                               .admin_vq_start = m.admin_vq_start,
                                               .admin_vq_count = m.admin_vq_count},
                                              {}};
}
auto to_wire(const GetDeviceFeaturesRequest& m) {
  return Encoded<wire::FeatureBlocks>{{.block_index = m.block_index, .num_blocks = m.num_blocks},
                                      {}};
}
auto to_wire(const GetDeviceFeaturesResponse& m) {
  return Encoded<wire::FeatureBlocks>{{.block_index = m.block_index, .num_blocks = m.words.size()},
                                      m.words.bytes()};
}
auto to_wire(const SetDriverFeaturesRequest& m) {
  return Encoded<wire::FeatureBlocks>{{.block_index = m.block_index, .num_blocks = m.words.size()},
                                      m.words.bytes()};
}
auto to_wire(const GetConfigRequest& m) {
  return Encoded<wire::GetConfigRequest>{{.offset = m.offset, .length = m.length}, {}};
}
auto to_wire(const GetConfigResponse& m) {
  return Encoded<wire::ConfigRange>{
      {.generation = m.generation, .offset = m.offset, .length = size32(m.data)}, m.data};
}
auto to_wire(const SetConfigRequest& m) {
  return Encoded<wire::ConfigRange>{
      {.generation = m.generation, .offset = m.offset, .length = size32(m.data)}, m.data};
}
auto to_wire(const SetConfigResponse& m) {
  return Encoded<wire::ConfigRange>{
      {.generation = m.generation, .offset = m.offset, .length = m.length}, m.echo};
}
auto to_wire(const GetDeviceStatusResponse& m) {
  return Encoded<wire::DeviceStatus>{{.status = m.status}, {}};
}
auto to_wire(const SetDeviceStatusRequest& m) {
  return Encoded<wire::DeviceStatus>{{.status = m.status}, {}};
}
auto to_wire(const SetDeviceStatusResponse& m) {
  return Encoded<wire::DeviceStatus>{{.status = m.status}, {}};
}
auto to_wire(const GetVqueueRequest& m) {
  return Encoded<wire::VqueueIndex>{{.index = m.index}, {}};
}
auto to_wire(const GetVqueueResponse& m) {
  return Encoded<wire::GetVqueueResponse>{{.index = m.index,
                                           .max_size = m.max_size,
                                           .cur_size = m.cur_size,
                                           .flags = m.flags,
                                           .descriptor_addr = m.descriptor_addr,
                                           .driver_addr = m.driver_addr,
                                           .device_addr = m.device_addr},
                                          {}};
}
auto to_wire(const SetVqueueRequest& m) {
  return Encoded<wire::SetVqueueRequest>{{.index = m.index,
                                          .flags = m.flags,
                                          .size = m.size,
                                          .reserved = {},
                                          .descriptor_addr = m.descriptor_addr,
                                          .driver_addr = m.driver_addr,
                                          .device_addr = m.device_addr},
                                         {}};
}
auto to_wire(const ResetVqueueRequest& m) {
  return Encoded<wire::VqueueIndex>{{.index = m.index}, {}};
}
auto to_wire(const GetShmRequest& m) {
  return Encoded<wire::GetShmRequest>{{.shmid = m.shmid}, {}};
}
auto to_wire(const GetShmResponse& m) {
  return Encoded<wire::GetShmResponse>{
      {.shmid = m.shmid, .reserved = {}, .length = m.length, .address = m.address}, {}};
}
auto to_wire(const EventConfig& m) {
  return Encoded<wire::EventConfig>{{.device_status = m.device_status,
                                     .generation = m.generation,
                                     .offset = m.offset,
                                     .length = m.length},
                                    m.data};
}
auto to_wire(const EventAvail& m) {
  return Encoded<wire::EventAvail>{{.vq_index = m.vq_index, .next_offset = m.next_offset}, {}};
}
auto to_wire(const EventUsed& m) { return Encoded<wire::EventUsed>{{.vq_index = m.vq_index}, {}}; }
auto to_wire(const GetDevicesRequest& m) {
  return Encoded<wire::GetDevicesRequest>{{.offset = m.offset, .count = m.count}, {}};
}
auto to_wire(const GetDevicesResponse& m) {
  return Encoded<wire::GetDevicesResponse>{
      {.offset = m.offset, .next_offset = m.next_offset, .count = m.count}, m.bitmap};
}
auto to_wire(const PingRequest& m) { return Encoded<wire::Ping>{{.data = m.data}, {}}; }
auto to_wire(const PingResponse& m) { return Encoded<wire::Ping>{{.data = m.data}, {}}; }
auto to_wire(const EventDevice& m) {
  return Encoded<wire::EventDevice>{{.dev_num = m.dev_num, .state = m.state}, {}};
}
auto to_wire(const QueueEventChannelRequest& m) {
  return Encoded<wire::QueueEventChannelRequest>{
      {.dev_num = m.dev_num, .reserved = {}, .vq_index = m.vq_index, .port = m.port}, {}};
}
auto to_wire(const QueueEventChannelResponse& m) {
  return Encoded<wire::QueueEventChannelResponse>{
      {.dev_num = m.dev_num, .status = m.status, .vq_index = m.vq_index}, {}};
}
auto to_wire(const ShareRegionRequest& m) {
  return Encoded<wire::ShareRegionRequest>{
      {.region = m.region, .pages = m.pages, .address = m.address}, {}};
}
auto to_wire(const ShareRegionResponse& m) {
  return Encoded<wire::RegionResponse>{{.region = m.region, .status = m.status}, {}};
}
auto to_wire(const UnshareRegionRequest& m) {
  return Encoded<wire::UnshareRegionRequest>{{.region = m.region}, {}};
}
auto to_wire(const UnshareRegionResponse& m) {
  return Encoded<wire::RegionResponse>{{.region = m.region, .status = m.status}, {}};
}
auto to_wire(const EjectedRequest& m) {
  return Encoded<wire::EjectedRequest>{{.dev_num = m.dev_num, .status = m.status}, {}};
}
auto to_wire(const EjectedResponse& m) {
  return Encoded<wire::EjectedResponse>{{.dev_num = m.dev_num, .reserved = {}}, {}};
}
auto to_wire(const Eject& m) {
  return Encoded<wire::Eject>{{.dev_num = m.dev_num, .seconds = m.seconds}, {}};
}

wire::Header header_for(MessageKind kind, MessageAddress to, std::size_t size) {
  const bool is_event = (kind.id & VIRTIO_MSG_ID_EVENT) != 0;
  const unsigned type =
      (kind.is_bus ? VIRTIO_MSG_TYPE_BUS : 0U) | (kind.is_response ? VIRTIO_MSG_TYPE_RESPONSE : 0U);
  return {.type = static_cast<std::uint8_t>(type),
          .msg_id = kind.id,
          .dev_num = kind.is_bus ? std::uint16_t{0} : to.dev_num,
          .token = is_event ? std::uint16_t{0} : to.token,
          .msg_size = static_cast<std::uint16_t>(size)};
}

}  // namespace

template <typename Message>
EncodeResult encode(std::span<std::byte> out, MessageAddress to, const Message& message) {
  if constexpr (!requires { to_wire(message); }) {  // no payload
    if (out.size() < kHeaderSize) return too_large(kHeaderSize);
    const auto header = header_for(Message::kKind, to, kHeaderSize);
    std::memcpy(out.data(), &header, sizeof(header));
    return out.first(kHeaderSize);
  } else {
    const auto encoded = to_wire(message);
    const std::size_t fixed = kHeaderSize + sizeof(encoded.fixed);
    const std::size_t size = fixed + encoded.tail.size();
    if (size > out.size() || size > kMaxMaxMessageSize) return too_large(size);
    const auto header = header_for(Message::kKind, to, size);
    // The tail first: it may be in place already, but no other part of it may be overwritten.
    if (!encoded.tail.empty() && encoded.tail.data() != out.data() + fixed) {
      std::memmove(out.data() + fixed, encoded.tail.data(), encoded.tail.size());
    }
    std::memcpy(out.data(), &header, sizeof(header));
    std::memcpy(out.data() + kHeaderSize, &encoded.fixed, sizeof(encoded.fixed));
    return out.first(size);
  }
}

std::span<std::byte> config_data_in(std::span<std::byte> out, std::uint32_t length) {
  constexpr std::size_t kAt = kHeaderSize + sizeof(wire::ConfigRange);
  if (out.size() < kAt || out.size() - kAt < length) return {};
  return out.subspan(kAt, length);
}

EncodeResult encode_features(std::span<std::byte> out, MessageAddress to, std::uint32_t block_index,
                             std::uint32_t num_blocks, const FeatureSet& offered) {
  constexpr std::size_t kAt = kHeaderSize + sizeof(wire::FeatureBlocks);
  const std::uint64_t bytes = std::uint64_t{num_blocks} * sizeof(Le32);
  if (kAt + bytes > out.size() || kAt + bytes > kMaxMaxMessageSize) {
    return encode(out, to, GetDeviceFeaturesResponse{.block_index = block_index, .words = {}});
  }
  const std::span<std::byte> words = out.subspan(kAt, static_cast<std::size_t>(bytes));
  for (std::uint64_t i = 0; i < num_blocks; ++i) {
    // 64 bits: block_index + i must not come round to block 0.
    const Le32 word = offered.word(static_cast<std::size_t>(block_index + i));
    std::memcpy(words.data() + i * sizeof(word), &word, sizeof(word));
  }
  return encode(
      out, to, GetDeviceFeaturesResponse{.block_index = block_index, .words = FeatureWords(words)});
}

template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDeviceInfoRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDeviceInfoResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDeviceFeaturesRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress,
                             const GetDeviceFeaturesResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetDriverFeaturesRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress,
                             const SetDriverFeaturesResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetConfigRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetConfigResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetConfigRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetConfigResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDeviceStatusRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDeviceStatusResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetDeviceStatusRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetDeviceStatusResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetVqueueRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetVqueueResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetVqueueRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const SetVqueueResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const ResetVqueueRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const ResetVqueueResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetShmRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetShmResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EventConfig&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EventAvail&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EventUsed&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDevicesRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const GetDevicesResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const PingRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const PingResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EventDevice&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const QueueEventChannelRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress,
                             const QueueEventChannelResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const ShareRegionRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const ShareRegionResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const UnshareRegionRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const UnshareRegionResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EjectedRequest&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const EjectedResponse&);
template EncodeResult encode(std::span<std::byte>, MessageAddress, const Eject&);

}  // namespace vmsg
