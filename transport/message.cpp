#include "transport/message.hpp"

#include <algorithm>
#include <cstring>
#include <type_traits>
#include <utility>

#include "transport/wire.hpp"

namespace vmsg {
namespace {

using Bytes = std::span<const std::byte>;

template <typename Message>
using Parsed = Result<Message, WireFault>;

std::unexpected<WireFault> fault(WireError error, std::uint64_t number) {
  return std::unexpected(WireFault{.error = error, .number = number});
}

/// The fixed part; the caller has checked that it is there.
template <typename Wire>
Wire load(Bytes payload) {
  Wire wire;
  std::memcpy(&wire, payload.data(), sizeof(wire));
  return wire;
}

/// The variable part: `announced` bytes after the fixed part. Announced lengths are the peer's
/// 32-bit values, so sums are made in 64 bits.
Result<Bytes, WireFault> tail(Bytes payload, std::size_t fixed, std::uint64_t announced) {
  const std::uint64_t needed = fixed + announced;
  if (needed > payload.size()) return fault(WireError::kPayloadTooShort, needed);
  return payload.subspan(fixed, static_cast<std::size_t>(announced));
}

// ---- one parser a message ----------------------------------------------------------------------
// Layout<M> says which wire struct a message starts with; from_wire() makes the value from it and
// from the whole payload. Messages without payload have no struct.

struct NoPayload {};

template <typename W>
struct StartsWith {
  using Wire = W;
};

template <typename Message>
struct Layout : StartsWith<NoPayload> {};
template <>
struct Layout<GetDeviceInfoResponse> : StartsWith<wire::GetDeviceInfoResponse> {};
template <>
struct Layout<GetDeviceFeaturesRequest> : StartsWith<wire::FeatureBlocks> {};
template <>
struct Layout<GetDeviceFeaturesResponse> : StartsWith<wire::FeatureBlocks> {};
template <>
struct Layout<SetDriverFeaturesRequest> : StartsWith<wire::FeatureBlocks> {};
template <>
struct Layout<GetConfigRequest> : StartsWith<wire::GetConfigRequest> {};
template <>
struct Layout<GetConfigResponse> : StartsWith<wire::ConfigRange> {};
template <>
struct Layout<SetConfigRequest> : StartsWith<wire::ConfigRange> {};
template <>
struct Layout<SetConfigResponse> : StartsWith<wire::ConfigRange> {};
template <>
struct Layout<GetDeviceStatusResponse> : StartsWith<wire::DeviceStatus> {};
template <>
struct Layout<SetDeviceStatusRequest> : StartsWith<wire::DeviceStatus> {};
template <>
struct Layout<SetDeviceStatusResponse> : StartsWith<wire::DeviceStatus> {};
template <>
struct Layout<GetVqueueRequest> : StartsWith<wire::VqueueIndex> {};
template <>
struct Layout<GetVqueueResponse> : StartsWith<wire::GetVqueueResponse> {};
template <>
struct Layout<SetVqueueRequest> : StartsWith<wire::SetVqueueRequest> {};
template <>
struct Layout<ResetVqueueRequest> : StartsWith<wire::VqueueIndex> {};
template <>
struct Layout<GetShmRequest> : StartsWith<wire::GetShmRequest> {};
template <>
struct Layout<GetShmResponse> : StartsWith<wire::GetShmResponse> {};
template <>
struct Layout<EventConfig> : StartsWith<wire::EventConfig> {};
template <>
struct Layout<EventAvail> : StartsWith<wire::EventAvail> {};
template <>
struct Layout<EventUsed> : StartsWith<wire::EventUsed> {};
template <>
struct Layout<GetDevicesRequest> : StartsWith<wire::GetDevicesRequest> {};
template <>
struct Layout<GetDevicesResponse> : StartsWith<wire::GetDevicesResponse> {};
template <>
struct Layout<PingRequest> : StartsWith<wire::Ping> {};
template <>
struct Layout<PingResponse> : StartsWith<wire::Ping> {};
template <>
struct Layout<EventDevice> : StartsWith<wire::EventDevice> {};
template <>
struct Layout<QueueEventChannelRequest> : StartsWith<wire::QueueEventChannelRequest> {};
template <>
struct Layout<QueueEventChannelResponse> : StartsWith<wire::QueueEventChannelResponse> {};
template <>
struct Layout<ShareRegionRequest> : StartsWith<wire::ShareRegionRequest> {};
template <>
struct Layout<ShareRegionResponse> : StartsWith<wire::RegionResponse> {};
template <>
struct Layout<UnshareRegionRequest> : StartsWith<wire::UnshareRegionRequest> {};
template <>
struct Layout<UnshareRegionResponse> : StartsWith<wire::RegionResponse> {};
template <>
struct Layout<EjectedRequest> : StartsWith<wire::EjectedRequest> {};
template <>
struct Layout<EjectedResponse> : StartsWith<wire::EjectedResponse> {};
template <>
struct Layout<Eject> : StartsWith<wire::Eject> {};

template <typename Message>
using WireOf = typename Layout<Message>::Wire;

template <typename Message>
inline constexpr std::size_t kFixedSize =
    std::is_same_v<WireOf<Message>, NoPayload> ? 0 : sizeof(WireOf<Message>);

Parsed<GetDeviceInfoResponse> from_wire(const wire::GetDeviceInfoResponse& w, Bytes /*payload*/,
                                        std::type_identity<GetDeviceInfoResponse> /*as*/) {
  return GetDeviceInfoResponse{.device_id = w.device_id.get(),
                               .vendor_id = w.vendor_id.get(),
                               .device_uuid = w.device_uuid,
                               .num_feature_blocks = w.num_feature_blocks.get(),
                               .config_size = w.config_size.get(),
                               .max_virtqueues = w.max_virtqueues.get(),
                               .admin_vq_start = w.admin_vq_start.get(),
                               .admin_vq_count = w.admin_vq_count.get()};
}

Parsed<GetDeviceFeaturesRequest> from_wire(const wire::FeatureBlocks& w, Bytes /*payload*/,
                                           std::type_identity<GetDeviceFeaturesRequest> /*as*/) {
  return GetDeviceFeaturesRequest{.block_index = w.block_index.get(),
                                  .num_blocks = w.num_blocks.get()};
}

/// GET_DEVICE_FEATURES response and SET_DRIVER_FEATURES request.
template <typename Message>
Parsed<Message> from_wire(const wire::FeatureBlocks& w, Bytes payload,
                          std::type_identity<Message> /*as*/) {
  const auto words = tail(payload, sizeof(w), std::uint64_t{w.num_blocks.get()} * sizeof(Le32));
  if (!words) return std::unexpected(words.error());
  return Message{.block_index = w.block_index.get(), .words = FeatureWords(*words)};
}

Parsed<GetConfigRequest> from_wire(const wire::GetConfigRequest& w, Bytes /*payload*/,
                                   std::type_identity<GetConfigRequest> /*as*/) {
  return GetConfigRequest{.offset = w.offset.get(), .length = w.length.get()};
}

/// GET_CONFIG response and SET_CONFIG request.
template <typename Message>
Parsed<Message> from_wire(const wire::ConfigRange& w, Bytes payload,
                          std::type_identity<Message> /*as*/) {
  const auto data = tail(payload, sizeof(w), w.length.get());
  if (!data) return std::unexpected(data.error());
  return Message{.generation = w.generation.get(), .offset = w.offset.get(), .data = *data};
}

Parsed<SetConfigResponse> from_wire(const wire::ConfigRange& w, Bytes payload,
                                    std::type_identity<SetConfigResponse> /*as*/) {
  // The echo is optional, so its absence is not an error and neither is a part of it.
  const Bytes rest = payload.subspan(sizeof(w));
  const std::size_t echoed = std::min<std::size_t>(rest.size(), w.length.get());
  return SetConfigResponse{.generation = w.generation.get(),
                           .offset = w.offset.get(),
                           .length = w.length.get(),
                           .echo = rest.first(echoed)};
}

template <typename Message>
Parsed<Message> from_wire(const wire::DeviceStatus& w, Bytes /*payload*/,
                          std::type_identity<Message> /*as*/) {
  return Message{.status = w.status.get()};
}

template <typename Message>
Parsed<Message> from_wire(const wire::VqueueIndex& w, Bytes /*payload*/,
                          std::type_identity<Message> /*as*/) {
  return Message{.index = w.index.get()};
}

Parsed<GetVqueueResponse> from_wire(const wire::GetVqueueResponse& w, Bytes /*payload*/,
                                    std::type_identity<GetVqueueResponse> /*as*/) {
  return GetVqueueResponse{.index = w.index.get(),
                           .max_size = w.max_size.get(),
                           .cur_size = w.cur_size.get(),
                           .flags = w.flags.get(),
                           .descriptor_addr = w.descriptor_addr.get(),
                           .driver_addr = w.driver_addr.get(),
                           .device_addr = w.device_addr.get()};
}

Parsed<SetVqueueRequest> from_wire(const wire::SetVqueueRequest& w, Bytes /*payload*/,
                                   std::type_identity<SetVqueueRequest> /*as*/) {
  return SetVqueueRequest{.index = w.index.get(),
                          .flags = w.flags.get(),
                          .size = w.size.get(),
                          .descriptor_addr = w.descriptor_addr.get(),
                          .driver_addr = w.driver_addr.get(),
                          .device_addr = w.device_addr.get()};
}

Parsed<GetShmRequest> from_wire(const wire::GetShmRequest& w, Bytes /*payload*/,
                                std::type_identity<GetShmRequest> /*as*/) {
  return GetShmRequest{.shmid = w.shmid.get()};
}

Parsed<GetShmResponse> from_wire(const wire::GetShmResponse& w, Bytes /*payload*/,
                                 std::type_identity<GetShmResponse> /*as*/) {
  return GetShmResponse{
      .shmid = w.shmid.get(), .length = w.length.get(), .address = w.address.get()};
}

Parsed<EventConfig> from_wire(const wire::EventConfig& w, Bytes payload,
                              std::type_identity<EventConfig> /*as*/) {
  EventConfig event{.device_status = w.device_status.get(),
                    .generation = w.generation.get(),
                    .offset = w.offset.get(),
                    .length = w.length.get(),
                    .data = payload.subspan(sizeof(w))};
  // Here alone the size carries meaning: without data, or with exactly all of it.
  if (!event.data.empty() && event.data.size() != event.length) {
    return fault(WireError::kPayloadMismatch, payload.size());
  }
  return event;
}

Parsed<EventAvail> from_wire(const wire::EventAvail& w, Bytes /*payload*/,
                             std::type_identity<EventAvail> /*as*/) {
  return EventAvail{.vq_index = w.vq_index.get(), .next_offset = w.next_offset.get()};
}

Parsed<EventUsed> from_wire(const wire::EventUsed& w, Bytes /*payload*/,
                            std::type_identity<EventUsed> /*as*/) {
  return EventUsed{.vq_index = w.vq_index.get()};
}

Parsed<GetDevicesRequest> from_wire(const wire::GetDevicesRequest& w, Bytes /*payload*/,
                                    std::type_identity<GetDevicesRequest> /*as*/) {
  return GetDevicesRequest{.offset = w.offset.get(), .count = w.count.get()};
}

Parsed<GetDevicesResponse> from_wire(const wire::GetDevicesResponse& w, Bytes payload,
                                     std::type_identity<GetDevicesResponse> /*as*/) {
  const auto bitmap = tail(payload, sizeof(w), GetDevicesResponse::bitmap_size(w.count.get()));
  if (!bitmap) return std::unexpected(bitmap.error());
  return GetDevicesResponse{.offset = w.offset.get(),
                            .next_offset = w.next_offset.get(),
                            .count = w.count.get(),
                            .bitmap = *bitmap};
}

template <typename Message>
Parsed<Message> from_wire(const wire::Ping& w, Bytes /*payload*/,
                          std::type_identity<Message> /*as*/) {
  return Message{.data = w.data.get()};
}

Parsed<EventDevice> from_wire(const wire::EventDevice& w, Bytes /*payload*/,
                              std::type_identity<EventDevice> /*as*/) {
  return EventDevice{.dev_num = w.dev_num.get(), .state = w.state.get()};
}

Parsed<QueueEventChannelRequest> from_wire(const wire::QueueEventChannelRequest& w,
                                           Bytes /*payload*/,
                                           std::type_identity<QueueEventChannelRequest> /*as*/) {
  return QueueEventChannelRequest{
      .dev_num = w.dev_num.get(), .vq_index = w.vq_index.get(), .port = w.port.get()};
}

Parsed<QueueEventChannelResponse> from_wire(const wire::QueueEventChannelResponse& w,
                                            Bytes /*payload*/,
                                            std::type_identity<QueueEventChannelResponse> /*as*/) {
  return QueueEventChannelResponse{
      .dev_num = w.dev_num.get(), .status = w.status.get(), .vq_index = w.vq_index.get()};
}

Parsed<ShareRegionRequest> from_wire(const wire::ShareRegionRequest& w, Bytes /*payload*/,
                                     std::type_identity<ShareRegionRequest> /*as*/) {
  return ShareRegionRequest{
      .region = w.region.get(), .pages = w.pages.get(), .address = w.address.get()};
}

Parsed<UnshareRegionRequest> from_wire(const wire::UnshareRegionRequest& w, Bytes /*payload*/,
                                       std::type_identity<UnshareRegionRequest> /*as*/) {
  return UnshareRegionRequest{.region = w.region.get()};
}

template <typename Message>
Parsed<Message> from_wire(const wire::RegionResponse& w, Bytes /*payload*/,
                          std::type_identity<Message> /*as*/) {
  return Message{.region = w.region.get(), .status = w.status.get()};
}

Parsed<EjectedRequest> from_wire(const wire::EjectedRequest& w, Bytes /*payload*/,
                                 std::type_identity<EjectedRequest> /*as*/) {
  return EjectedRequest{.dev_num = w.dev_num.get(), .status = w.status.get()};
}

Parsed<EjectedResponse> from_wire(const wire::EjectedResponse& w, Bytes /*payload*/,
                                  std::type_identity<EjectedResponse> /*as*/) {
  return EjectedResponse{.dev_num = w.dev_num.get()};
}

Parsed<Eject> from_wire(const wire::Eject& w, Bytes /*payload*/, std::type_identity<Eject> /*as*/) {
  return Eject{.dev_num = w.dev_num.get(), .seconds = w.seconds.get()};
}

template <typename Message>
Parsed<Message> parse_as(Bytes payload) {
  if constexpr (kFixedSize<Message> == 0) {
    static_cast<void>(payload);
    return Message{};
  } else {
    if (payload.size() < kFixedSize<Message>) {
      return fault(WireError::kPayloadTooShort, kFixedSize<Message>);
    }
    return from_wire(load<WireOf<Message>>(payload), payload, std::type_identity<Message>{});
  }
}

// ---- who gets what -----------------------------------------------------------------------------

template <typename... M>
struct List {};

template <typename Variant>
struct ListOf;
template <typename... M>
struct ListOf<std::variant<M...>> {
  using Type = List<M...>;
};

/// Whether any message of either direction has this class and identifier.
template <typename... M>
constexpr bool is_known(MessageKind kind, List<M...> /*in*/) {
  return ((M::kKind.is_bus == kind.is_bus && M::kKind.id == kind.id) || ...);
}

/// Parses `frame` as the alternative of `Inbound` that it is. The identifiers of the two directions
/// differ, so what is known but not in the list came the wrong way.
template <typename Inbound>
Result<Inbound, WireFault> dispatch(const Frame& frame, List<> /*of*/) {
  const MessageKind kind = kind_of(frame.header);
  const bool is_other_way = is_known(kind, ListOf<AnyMessage>::Type{});
  return fault(is_other_way ? WireError::kWrongDirection : WireError::kUnknownId, kind.id);
}

template <typename Inbound, typename First, typename... Rest>
Result<Inbound, WireFault> dispatch(const Frame& frame, List<First, Rest...> /*of*/) {
  if (kind_of(frame.header) != First::kKind) {
    return dispatch<Inbound>(frame, List<Rest...>{});
  }
  const auto parsed = parse_as<First>(frame.payload);
  if (!parsed) return std::unexpected(parsed.error());
  return Result<Inbound, WireFault>(std::in_place, std::in_place_type<First>, *parsed);
}

template <typename Inbound>
Result<Inbound, WireFault> dispatch(const Frame& frame) {
  return dispatch<Inbound>(frame, typename ListOf<Inbound>::Type{});
}

}  // namespace

std::uint32_t FeatureWords::operator[](std::uint32_t i) const {
  VMSG_INVARIANT(i < size());
  return load<Le32>(bytes_.subspan(std::size_t{i} * sizeof(Le32))).get();
}

bool GetDevicesResponse::has(std::uint16_t slot) const {
  VMSG_INVARIANT(slot < count && slot / 8U < bitmap.size());
  return ((std::to_integer<unsigned>(bitmap[slot / 8U]) >> (slot % 8U)) & 1U) != 0;
}

Result<Frame, WireFault> parse_frame(std::span<const std::byte> delivered,
                                     std::uint32_t max_message_size) {
  if (delivered.size() < sizeof(wire::Header)) {
    return fault(WireError::kTruncatedHeader, delivered.size());
  }
  const auto raw = load<wire::Header>(delivered);
  const FrameHeader header{.type = static_cast<std::uint8_t>(raw.type & VIRTIO_MSG_TYPE_MASK),
                           .msg_id = raw.msg_id,
                           .dev_num = raw.dev_num.get(),
                           .token = raw.token.get(),
                           .msg_size = raw.msg_size.get()};
  if (header.msg_size < sizeof(wire::Header)) {
    return fault(WireError::kSizeTooSmall, header.msg_size);
  }
  if (header.msg_size > delivered.size()) return fault(WireError::kTruncated, header.msg_size);
  if (header.msg_size > max_message_size) return fault(WireError::kTooLarge, header.msg_size);
  if (header.is_bus() && header.dev_num != 0) {
    return fault(WireError::kBusDeviceNumber, header.dev_num);
  }
  if (header.is_event() && header.is_response()) {
    return fault(WireError::kEventResponse, header.msg_id);
  }
  return Frame{
      .header = header,
      .payload = delivered.subspan(sizeof(wire::Header), header.msg_size - sizeof(wire::Header))};
}

Result<DeviceInbound, WireFault> receive_at_device(const Frame& frame, std::uint16_t own_dev_num) {
  const FrameHeader& header = frame.header;
  if (header.is_bus() || header.is_response()) {
    return fault(WireError::kWrongDirection, header.msg_id);
  }
  if (header.dev_num != own_dev_num) return fault(WireError::kNotOurs, header.dev_num);
  return dispatch<DeviceInbound>(frame);
}

Result<DriverInbound, WireFault> receive_at_driver(const Frame& frame, std::uint16_t dev_num) {
  const FrameHeader& header = frame.header;
  if (header.is_bus() || header.is_request()) {
    return fault(WireError::kWrongDirection, header.msg_id);
  }
  if (header.dev_num != dev_num) return fault(WireError::kNotOurs, header.dev_num);
  return dispatch<DriverInbound>(frame);
}

Result<DeviceBusInbound, WireFault> receive_at_device_bus(const Frame& frame) {
  if (!frame.header.is_bus()) return fault(WireError::kWrongDirection, frame.header.msg_id);
  return dispatch<DeviceBusInbound>(frame);
}

Result<DriverBusInbound, WireFault> receive_at_driver_bus(const Frame& frame) {
  if (!frame.header.is_bus()) return fault(WireError::kWrongDirection, frame.header.msg_id);
  return dispatch<DriverBusInbound>(frame);
}

Result<AnyMessage, WireFault> parse_any(const Frame& frame) { return dispatch<AnyMessage>(frame); }

}  // namespace vmsg
