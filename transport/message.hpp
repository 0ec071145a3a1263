// The messages of virtio-msg and of its Xen bus as typed values: parsing from a private copy of a
// frame, and encoding into a caller's buffer. Nothing here knows a device, a queue or a bus.
//
//   auto frame = parse_frame(copy, max_message_size);       // the steps every receiver has in
//   common if (!frame) count(frame.error());                        // drop: no reply, ever auto
//   message = frame->header.is_bus() ? ... receive_at_device_bus(*frame)
//                                         : ... receive_at_device(*frame, my_dev_num);
//   std::visit(..., *message);
//   auto reply = encode(buffer, address_of(frame->header), SetVqueueResponse{});
//
// Parsed values hold views (feature words, configuration bytes, bitmap) into the frame that they
// were parsed from. All of it allocates nothing and throws nothing. wire.hpp has the layouts.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <variant>

#include "transport/endian.hpp"
#include "transport/features.hpp"
#include "transport/result.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg {

inline constexpr std::uint32_t kHeaderSize = VIRTIO_MSG_HDR_SIZE;
inline constexpr std::uint32_t kMinMaxMessageSize = VIRTIO_MSG_MIN_MAX_SIZE;
inline constexpr std::uint32_t kMaxMaxMessageSize = VIRTIO_MSG_MAX_MAX_SIZE;
inline constexpr std::uint32_t kRecommendedMaxMessageSize = VIRTIO_MSG_RECOMMENDED_MAX_SIZE;

enum class TransportId : std::uint8_t {
  kGetDeviceInfo = VIRTIO_MSG_GET_DEVICE_INFO,
  kGetDeviceFeatures = VIRTIO_MSG_GET_DEVICE_FEATURES,
  kSetDriverFeatures = VIRTIO_MSG_SET_DRIVER_FEATURES,
  kGetConfig = VIRTIO_MSG_GET_CONFIG,
  kSetConfig = VIRTIO_MSG_SET_CONFIG,
  kGetDeviceStatus = VIRTIO_MSG_GET_DEVICE_STATUS,
  kSetDeviceStatus = VIRTIO_MSG_SET_DEVICE_STATUS,
  kGetVqueue = VIRTIO_MSG_GET_VQUEUE,
  kSetVqueue = VIRTIO_MSG_SET_VQUEUE,
  kResetVqueue = VIRTIO_MSG_RESET_VQUEUE,
  kGetShm = VIRTIO_MSG_GET_SHM,
  kEventConfig = VIRTIO_MSG_EVENT_CONFIG,
  kEventAvail = VIRTIO_MSG_EVENT_AVAIL,
  kEventUsed = VIRTIO_MSG_EVENT_USED,
};

enum class BusId : std::uint8_t {
  kGetDevices = VIRTIO_MSG_BUS_GET_DEVICES,
  kPing = VIRTIO_MSG_BUS_PING,
  kEventDevice = VIRTIO_MSG_BUS_EVENT_DEVICE,
  kQueueEventChannel = VMSG_XEN_QUEUE_EVENT_CHANNEL,
  kShareRegion = VMSG_XEN_SHARE_REGION,
  kUnshareRegion = VMSG_XEN_UNSHARE_REGION,
  kEjected = VMSG_XEN_EJECTED,
  kEject = VMSG_XEN_EJECT,
};

// ---- what a receiver finds wrong ---------------------------------------------------------------

/// Why a frame is dropped, in the order in which a receiver looks.
enum class WireError : std::uint8_t {
  kTruncatedHeader,  // fewer bytes than a header; number: the bytes delivered
  kSizeTooSmall,     // msg_size below 8; number: msg_size
  kTruncated,        // msg_size beyond what was delivered; number: msg_size
  kTooLarge,         // msg_size beyond the agreed maximum; number: msg_size. When encoding: the
                     // message does not fit; number: the bytes it needs
  kBusDeviceNumber,  // a bus message with a device number; number: dev_num
  kEventResponse,    // an event identifier with the response bit; number: msg_id
  kWrongDirection,   // a known message that never travels this way; number: msg_id
  kNotOurs,          // addressed to another device number; number: dev_num
  kUnknownId,        // reserved, unassigned or not implemented; number: msg_id
  kPayloadTooShort,  // less than the fixed part, or than it announces; number: bytes needed
  kPayloadMismatch,  // EVENT_CONFIG whose size fits none of its forms; number: payload bytes
};

struct WireFault {
  WireError error = WireError::kTruncatedHeader;
  std::uint64_t number = 0;

  friend bool operator==(const WireFault&, const WireFault&) = default;
};

// ---- frames ------------------------------------------------------------------------------------

/// A frame's header after the common checks: reserved type bits are gone.
struct FrameHeader {
  std::uint8_t type = 0;
  std::uint8_t msg_id = 0;
  std::uint16_t dev_num = 0;
  std::uint16_t token = 0;
  std::uint16_t msg_size = 0;

  [[nodiscard]] constexpr bool is_bus() const { return (type & VIRTIO_MSG_TYPE_BUS) != 0; }
  [[nodiscard]] constexpr bool is_response() const {
    return (type & VIRTIO_MSG_TYPE_RESPONSE) != 0;
  }
  [[nodiscard]] constexpr bool is_event() const { return (msg_id & VIRTIO_MSG_ID_EVENT) != 0; }
  [[nodiscard]] constexpr bool is_request() const { return !is_response() && !is_event(); }

  friend bool operator==(const FrameHeader&, const FrameHeader&) = default;
};

/// `payload` is exactly msg_size - 8 bytes: bus padding is cut off.
struct Frame {
  FrameHeader header;
  std::span<const std::byte> payload;
};

/// Where a message goes. Bus messages ignore `dev_num` and events ignore `token` when encoded.
struct MessageAddress {
  std::uint16_t dev_num = 0;
  std::uint16_t token = 0;

  friend bool operator==(const MessageAddress&, const MessageAddress&) = default;
};

/// The address of the response to a request: number and token copied.
[[nodiscard]] constexpr MessageAddress address_of(const FrameHeader& header) {
  return {.dev_num = header.dev_num, .token = header.token};
}

/// The steps that do not depend on who receives. `delivered` is private memory, not shared.
[[nodiscard]] Result<Frame, WireFault> parse_frame(std::span<const std::byte> delivered,
                                                   std::uint32_t max_message_size);

// ---- the messages ------------------------------------------------------------------------------

/// What a message is on the wire. Every message type below names one.
struct MessageKind {
  bool is_bus = false;
  bool is_response = false;
  std::uint8_t id = 0;

  static constexpr MessageKind request(TransportId id) {
    return {false, false, static_cast<std::uint8_t>(id)};
  }
  static constexpr MessageKind response(TransportId id) {
    return {false, true, static_cast<std::uint8_t>(id)};
  }
  static constexpr MessageKind event(TransportId id) { return request(id); }
  static constexpr MessageKind request(BusId id) {
    return {true, false, static_cast<std::uint8_t>(id)};
  }
  static constexpr MessageKind response(BusId id) {
    return {true, true, static_cast<std::uint8_t>(id)};
  }
  static constexpr MessageKind event(BusId id) { return request(id); }

  friend constexpr bool operator==(const MessageKind&, const MessageKind&) = default;
};

[[nodiscard]] constexpr MessageKind kind_of(const FrameHeader& header) {
  return {header.is_bus(), header.is_response(), header.msg_id};
}

/// Feature words as they lie in a frame: a view.
class FeatureWords {
 public:
  FeatureWords() = default;
  explicit FeatureWords(std::span<const std::byte> bytes) : bytes_(bytes) {}
  explicit FeatureWords(std::span<const Le32> words) : bytes_(std::as_bytes(words)) {}

  [[nodiscard]] std::uint32_t size() const {
    return static_cast<std::uint32_t>(bytes_.size() / sizeof(Le32));
  }
  /// `i` < size().
  [[nodiscard]] std::uint32_t operator[](std::uint32_t i) const;
  [[nodiscard]] std::span<const std::byte> bytes() const { return bytes_; }

 private:
  std::span<const std::byte> bytes_;
};

struct GetDeviceInfoRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetDeviceInfo);
};
struct GetDeviceInfoResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetDeviceInfo);
  std::uint32_t device_id = 0;
  std::uint32_t vendor_id = 0;
  std::array<std::uint8_t, 16> device_uuid{};
  std::uint32_t num_feature_blocks = 0;
  std::uint32_t config_size = 0;
  std::uint32_t max_virtqueues = 0;
  std::uint32_t admin_vq_start = 0;
  std::uint32_t admin_vq_count = 0;

  friend bool operator==(const GetDeviceInfoResponse&, const GetDeviceInfoResponse&) = default;
};

struct GetDeviceFeaturesRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetDeviceFeatures);
  std::uint32_t block_index = 0;
  std::uint32_t num_blocks = 0;
};
/// num_blocks is words.size(); the reject form has none.
struct GetDeviceFeaturesResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetDeviceFeatures);
  std::uint32_t block_index = 0;
  FeatureWords words;
};

/// num_blocks is words.size().
struct SetDriverFeaturesRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kSetDriverFeatures);
  std::uint32_t block_index = 0;
  FeatureWords words;
};
struct SetDriverFeaturesResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kSetDriverFeatures);
};

struct GetConfigRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetConfig);
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
};
/// `length` on the wire is data.size(); the reject form has none.
struct GetConfigResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetConfig);
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::span<const std::byte> data;
};

/// `length` on the wire is data.size().
struct SetConfigRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kSetConfig);
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::span<const std::byte> data;
};
/// A device may echo the data; we never do, and ignore it (`echo` is for tools).
struct SetConfigResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kSetConfig);
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::span<const std::byte> echo;
};

struct GetDeviceStatusRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetDeviceStatus);
};
struct GetDeviceStatusResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetDeviceStatus);
  std::uint32_t status = 0;
};
struct SetDeviceStatusRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kSetDeviceStatus);
  std::uint32_t status = 0;
};
struct SetDeviceStatusResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kSetDeviceStatus);
  std::uint32_t status = 0;
};

struct GetVqueueRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetVqueue);
  std::uint32_t index = 0;
};
/// The zero sentinel has everything but `index` zero.
struct GetVqueueResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetVqueue);
  std::uint32_t index = 0;
  std::uint32_t max_size = 0;
  std::uint32_t cur_size = 0;
  std::uint32_t flags = 0;
  std::uint64_t descriptor_addr = 0;
  std::uint64_t driver_addr = 0;
  std::uint64_t device_addr = 0;

  friend bool operator==(const GetVqueueResponse&, const GetVqueueResponse&) = default;
};
struct SetVqueueRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kSetVqueue);
  std::uint32_t index = 0;
  std::uint32_t flags = 0;
  std::uint32_t size = 0;
  std::uint64_t descriptor_addr = 0;
  std::uint64_t driver_addr = 0;
  std::uint64_t device_addr = 0;

  friend bool operator==(const SetVqueueRequest&, const SetVqueueRequest&) = default;
};
struct SetVqueueResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kSetVqueue);
};
struct ResetVqueueRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kResetVqueue);
  std::uint32_t index = 0;
};
struct ResetVqueueResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kResetVqueue);
};

struct GetShmRequest {
  static constexpr MessageKind kKind = MessageKind::request(TransportId::kGetShm);
  std::uint32_t shmid = 0;
};
struct GetShmResponse {
  static constexpr MessageKind kKind = MessageKind::response(TransportId::kGetShm);
  std::uint32_t shmid = 0;
  std::uint64_t length = 0;
  std::uint64_t address = 0;
};

/// Three forms: no range (length 0), a range without data (received, never sent), a range with
/// data (data.size() == length). The receiver checks the range against its config_size.
struct EventConfig {
  static constexpr MessageKind kKind = MessageKind::event(TransportId::kEventConfig);
  std::uint32_t device_status = 0;
  std::uint32_t generation = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::span<const std::byte> data;
};
struct EventAvail {
  static constexpr MessageKind kKind = MessageKind::event(TransportId::kEventAvail);
  std::uint32_t vq_index = 0;
  std::uint32_t next_offset = 0;
};
struct EventUsed {
  static constexpr MessageKind kKind = MessageKind::event(TransportId::kEventUsed);
  std::uint32_t vq_index = 0;
};

struct GetDevicesRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kGetDevices);
  std::uint16_t offset = 0;
  std::uint16_t count = 0;
};
/// `bitmap` holds ceil(count / 8) bytes, least significant bit first.
struct GetDevicesResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kGetDevices);
  std::uint16_t offset = 0;
  std::uint16_t next_offset = 0;
  std::uint16_t count = 0;
  std::span<const std::byte> bitmap;

  static constexpr std::size_t bitmap_size(std::uint16_t count) {
    return (static_cast<std::size_t>(count) + 7) / 8;
  }
  /// Whether number `offset` + `slot` is present; `slot` < count.
  [[nodiscard]] bool has(std::uint16_t slot) const;
};
struct PingRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kPing);
  std::uint32_t data = 0;
};
struct PingResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kPing);
  std::uint32_t data = 0;
};
/// Reserved and unknown states are parsed; whoever reconciles ignores them.
struct EventDevice {
  static constexpr MessageKind kKind = MessageKind::event(BusId::kEventDevice);
  std::uint16_t dev_num = 0;
  std::uint16_t state = 0;
};

struct QueueEventChannelRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kQueueEventChannel);
  std::uint16_t dev_num = 0;
  std::uint32_t vq_index = 0;
  std::uint32_t port = 0;  // 0 takes the channel away
};
struct QueueEventChannelResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kQueueEventChannel);
  std::uint16_t dev_num = 0;
  std::uint16_t status = 0;
  std::uint32_t vq_index = 0;
};
struct ShareRegionRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kShareRegion);
  std::uint32_t region = 0;
  std::uint32_t pages = 0;
  std::uint64_t address = 0;
};
struct ShareRegionResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kShareRegion);
  std::uint32_t region = 0;
  std::uint32_t status = 0;
};
struct UnshareRegionRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kUnshareRegion);
  std::uint32_t region = 0;
};
struct UnshareRegionResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kUnshareRegion);
  std::uint32_t region = 0;
  std::uint32_t status = 0;
};
struct EjectedRequest {
  static constexpr MessageKind kKind = MessageKind::request(BusId::kEjected);
  std::uint16_t dev_num = 0;
  std::uint16_t status = 0;
};
struct EjectedResponse {
  static constexpr MessageKind kKind = MessageKind::response(BusId::kEjected);
  std::uint16_t dev_num = 0;
};
struct Eject {
  static constexpr MessageKind kKind = MessageKind::event(BusId::kEject);
  std::uint16_t dev_num = 0;
  std::uint16_t seconds = 0;
};

// ---- what each receiver may get ----------------------------------------------------------------

using DeviceInbound =
    std::variant<GetDeviceInfoRequest, GetDeviceFeaturesRequest, SetDriverFeaturesRequest,
                 GetConfigRequest, SetConfigRequest, GetDeviceStatusRequest, SetDeviceStatusRequest,
                 GetVqueueRequest, SetVqueueRequest, ResetVqueueRequest, GetShmRequest, EventAvail>;

using DriverInbound =
    std::variant<GetDeviceInfoResponse, GetDeviceFeaturesResponse, SetDriverFeaturesResponse,
                 GetConfigResponse, SetConfigResponse, GetDeviceStatusResponse,
                 SetDeviceStatusResponse, GetVqueueResponse, SetVqueueResponse, ResetVqueueResponse,
                 GetShmResponse, EventConfig, EventUsed>;

using DeviceBusInbound =
    std::variant<GetDevicesRequest, PingRequest, PingResponse, QueueEventChannelRequest,
                 ShareRegionRequest, UnshareRegionRequest, EjectedRequest>;

using DriverBusInbound = std::variant<GetDevicesResponse, PingRequest, PingResponse, EventDevice,
                                      QueueEventChannelResponse, ShareRegionResponse,
                                      UnshareRegionResponse, EjectedResponse, Eject>;

/// Every message in both directions: for tools and traces, which judge no direction.
using AnyMessage =
    std::variant<GetDeviceInfoRequest, GetDeviceInfoResponse, GetDeviceFeaturesRequest,
                 GetDeviceFeaturesResponse, SetDriverFeaturesRequest, SetDriverFeaturesResponse,
                 GetConfigRequest, GetConfigResponse, SetConfigRequest, SetConfigResponse,
                 GetDeviceStatusRequest, GetDeviceStatusResponse, SetDeviceStatusRequest,
                 SetDeviceStatusResponse, GetVqueueRequest, GetVqueueResponse, SetVqueueRequest,
                 SetVqueueResponse, ResetVqueueRequest, ResetVqueueResponse, GetShmRequest,
                 GetShmResponse, EventConfig, EventAvail, EventUsed, GetDevicesRequest,
                 GetDevicesResponse, PingRequest, PingResponse, EventDevice,
                 QueueEventChannelRequest, QueueEventChannelResponse, ShareRegionRequest,
                 ShareRegionResponse, UnshareRegionRequest, UnshareRegionResponse, EjectedRequest,
                 EjectedResponse, Eject>;

/// The rest of the receive pipeline, one function a receiver. Each takes frames of its own class
/// only (the caller has looked at header.is_bus(), as one ring carries both); a frame of the other
/// class is kWrongDirection. Every error means: drop, count, no reply.
[[nodiscard]] Result<DeviceInbound, WireFault> receive_at_device(const Frame& frame,
                                                                 std::uint16_t own_dev_num);
/// Responses come back typed too; matching them to a request is the bus's work and comes first,
/// because a matching response that fails here fails its request.
[[nodiscard]] Result<DriverInbound, WireFault> receive_at_driver(const Frame& frame,
                                                                 std::uint16_t dev_num);
[[nodiscard]] Result<DeviceBusInbound, WireFault> receive_at_device_bus(const Frame& frame);
[[nodiscard]] Result<DriverBusInbound, WireFault> receive_at_driver_bus(const Frame& frame);
[[nodiscard]] Result<AnyMessage, WireFault> parse_any(const Frame& frame);

// ---- encoding ----------------------------------------------------------------------------------

/// Writes one whole frame to the start of `out` and returns it. `out` is at most the agreed maximum
/// message size long: what does not fit is kTooLarge and nothing was written. Views inside
/// `message` may already lie at their place in `out` (so a device can read its configuration
/// straight into the frame: config_data_in()), but must not overlap it otherwise.
using EncodeResult = Result<std::span<const std::byte>, WireFault>;

template <typename Message>
[[nodiscard]] EncodeResult encode(std::span<std::byte> out, MessageAddress to,
                                  const Message& message);

/// Where the data of a GET_CONFIG response goes in `out`; empty when it does not fit.
[[nodiscard]] std::span<std::byte> config_data_in(std::span<std::byte> out, std::uint32_t length);

/// A GET_DEVICE_FEATURES response with `num_blocks` words from `offered`, zero beyond it; the
/// reject form when that does not fit `out`.
[[nodiscard]] EncodeResult encode_features(std::span<std::byte> out, MessageAddress to,
                                           std::uint32_t block_index, std::uint32_t num_blocks,
                                           const FeatureSet& offered);

/// What fits one message of at most `max_message_size` bytes.
[[nodiscard]] constexpr std::uint32_t max_config_chunk(std::uint32_t max_message_size) {
  return max_message_size - 20;
}
[[nodiscard]] constexpr std::uint32_t max_feature_words(std::uint32_t max_message_size) {
  return (max_message_size - 16) / 4;
}
[[nodiscard]] constexpr std::uint32_t max_device_slots(std::uint32_t max_message_size) {
  return (max_message_size - 14) * 8;
}

}  // namespace vmsg
