#include "devices/net/net_header.hpp"

#include <algorithm>

namespace vmsg::net {
namespace {

// A TCP never sends segments with less data (Linux: TCP_MIN_SND_MSS less the most options), and
// smaller ones would let a guest make thousands of frames of one.
constexpr std::uint32_t kLeastSegment = 8;
constexpr std::uint32_t kMostUdpSegments = 64;  // what every kernel that knows USO takes

constexpr std::uint16_t kTypeIp4 = 0x0800;
constexpr std::uint16_t kTypeIp6 = 0x86dd;
constexpr std::uint16_t kTypeVlan = 0x8100;
constexpr std::uint16_t kTypeProviderVlan = 0x88a8;
constexpr std::uint8_t kProtocolTcp = 6;
constexpr std::uint8_t kProtocolUdp = 17;
constexpr std::uint32_t kTcpChecksum = 16;  // the offset of the checksum in a TCP header
constexpr std::uint32_t kUdpChecksum = 6;

/// Reads single fields of a frame; what lies outside reads as nothing.
class FrameReader {
 public:
  explicit FrameReader(std::span<const std::byte> frame) : frame_(frame) {}

  [[nodiscard]] std::optional<std::uint8_t> byte(std::size_t at) const {
    if (at >= frame_.size()) return std::nullopt;
    return std::to_integer<std::uint8_t>(frame_[at]);
  }
  [[nodiscard]] std::optional<std::uint16_t> word(std::size_t at) const {
    if (at + 1 >= frame_.size()) return std::nullopt;
    return static_cast<std::uint16_t>(std::to_integer<unsigned>(frame_[at]) << 8U |
                                      std::to_integer<unsigned>(frame_[at + 1]));
  }

 private:
  std::span<const std::byte> frame_;
};

struct Payload {
  std::size_t offset;
  std::uint8_t protocol;
};

struct Network {
  std::uint16_t type;
  std::size_t offset;
};

std::optional<Network> find_network(const FrameReader& frame) {
  std::size_t at = kEthernetHeader - 2;
  for (int tags = 0; tags <= 2; ++tags, at += kVlanTag) {
    const auto type = frame.word(at);
    if (!type) return std::nullopt;
    if (*type != kTypeVlan && *type != kTypeProviderVlan) return Network{*type, at + 2};
  }
  return std::nullopt;
}

std::optional<Payload> find_ip4_payload(const FrameReader& frame, std::size_t at) {
  const auto version_and_length = frame.byte(at);
  const auto fragment = frame.word(at + 6);
  const auto protocol = frame.byte(at + 9);
  if (!version_and_length || !fragment || !protocol) return std::nullopt;
  constexpr std::uint16_t kFragmentMask = 0x3fff;  // more fragments, or not the first
  const std::size_t length = (std::size_t{*version_and_length} & 0xfU) * 4;
  if (*version_and_length >> 4U != 4 || length < 20 || (*fragment & kFragmentMask) != 0) {
    return std::nullopt;
  }
  return Payload{at + length, *protocol};
}

std::optional<Payload> find_ip6_payload(const FrameReader& frame, std::size_t at) {
  constexpr std::uint8_t kHopByHop = 0;
  constexpr std::uint8_t kRouting = 43;
  constexpr std::uint8_t kDestination = 60;
  constexpr int kMostExtensions = 8;
  const auto version = frame.byte(at);
  auto next = frame.byte(at + 6);
  if (!version || *version >> 4U != 6 || !next) return std::nullopt;
  at += 40;
  for (int i = 0; i <= kMostExtensions; ++i) {
    if (*next != kHopByHop && *next != kRouting && *next != kDestination) {
      return Payload{at, *next};
    }
    next = frame.byte(at);
    const auto length = frame.byte(at + 1);
    if (!next || !length) return std::nullopt;
    at += (std::size_t{*length} + 1) * 8;
  }
  return std::nullopt;
}

bool may_segment(std::uint8_t gso_type, const FeatureSet& features) {
  const auto kind = static_cast<std::uint8_t>(gso_type & ~kGsoEcn);
  const bool has_ecn = kind != gso_type;
  if (has_ecn && (kind == kGsoUdpL4 || !has(features, NetFeature::kHostEcn))) return false;
  switch (kind) {
    case kGsoTcp4:
      return has(features, NetFeature::kHostTso4);
    case kGsoTcp6:
      return has(features, NetFeature::kHostTso6);
    case kGsoUdpL4:
      return has(features, NetFeature::kHostUso);
    default:
      return false;
  }
}

/// Where the data begins that is to be cut into segments.
std::optional<std::size_t> find_data(const NetHeader& header, const FrameReader& frame) {
  const bool is_udp = header.gso_type == kGsoUdpL4;
  const auto type = static_cast<std::uint8_t>(header.gso_type & ~kGsoEcn);
  const auto network = find_network(frame);
  if (!network) return std::nullopt;
  const bool is_ip4 = network->type == kTypeIp4;
  if (!is_ip4 && network->type != kTypeIp6) return std::nullopt;
  if (!is_udp && is_ip4 != (type == kGsoTcp4)) return std::nullopt;

  const auto payload =
      is_ip4 ? find_ip4_payload(frame, network->offset) : find_ip6_payload(frame, network->offset);
  if (!payload || payload->protocol != (is_udp ? kProtocolUdp : kProtocolTcp)) return std::nullopt;
  // The checksum to be completed is the one of that very header.
  if (header.csum_start.get() != payload->offset ||
      header.csum_offset.get() != (is_udp ? kUdpChecksum : kTcpChecksum)) {
    return std::nullopt;
  }
  if (is_udp) return payload->offset + 8;
  const auto data_offset = frame.byte(payload->offset + 12);
  if (!data_offset) return std::nullopt;
  const std::size_t length = (std::size_t{*data_offset} >> 4U) * 4;
  if (length < 20) return std::nullopt;
  return payload->offset + length;
}

}  // namespace

std::string_view name(HeaderFault fault) {
  switch (fault) {
    case HeaderFault::kFrameSize:
      return "frame size";
    case HeaderFault::kNotNegotiated:
      return "feature not negotiated";
    case HeaderFault::kBadChecksum:
      return "checksum place";
    case HeaderFault::kBadSegments:
      return "segmentation";
  }
  return "unknown";
}

std::expected<CheckedHeader, HeaderFault> check_from_guest(const NetHeader& header,
                                                           std::span<const std::byte> frame,
                                                           const FeatureSet& features) {
  if (frame.size() < kEthernetHeader || frame.size() > kMaxFrame) {
    return std::unexpected(HeaderFault::kFrameSize);
  }
  CheckedHeader checked;
  // Other flags mean something on the way to the guest only.
  if ((header.flags & kFlagNeedsCsum) != 0) {
    if (!has(features, NetFeature::kCsum)) return std::unexpected(HeaderFault::kNotNegotiated);
    const std::size_t start = header.csum_start.get();
    const std::size_t field = start + header.csum_offset.get();
    if (start < kEthernetHeader || field + 2 > frame.size()) {
      return std::unexpected(HeaderFault::kBadChecksum);
    }
    checked.header.flags = kFlagNeedsCsum;
    checked.header.csum_start = header.csum_start;
    checked.header.csum_offset = header.csum_offset;
  }
  if (header.gso_type == kGsoNone) return checked;

  if (!may_segment(header.gso_type, features)) return std::unexpected(HeaderFault::kNotNegotiated);
  const std::uint32_t size = header.gso_size.get();
  if (checked.header.flags == 0 || size < kLeastSegment) {
    return std::unexpected(HeaderFault::kBadSegments);
  }
  const auto data = find_data(header, FrameReader(frame));
  if (!data || *data > frame.size()) return std::unexpected(HeaderFault::kBadSegments);
  checked.header.gso_type = header.gso_type;
  checked.header.gso_size = header.gso_size;
  checked.header.hdr_len = static_cast<std::uint16_t>(*data);
  const auto length = static_cast<std::uint32_t>(frame.size() - *data);
  checked.segments = std::max<std::uint32_t>(1, (length + size - 1) / size);
  if (header.gso_type == kGsoUdpL4 && checked.segments > kMostUdpSegments) {
    return std::unexpected(HeaderFault::kBadSegments);
  }
  return checked;
}

std::optional<NetHeader> check_for_guest(const NetHeader& header, const FeatureSet& offloads) {
  NetHeader checked = header;
  checked.num_buffers = 1;
  if (!has(offloads, NetFeature::kGuestCsum)) {
    if ((header.flags & kFlagNeedsCsum) != 0 || header.gso_type != kGsoNone) return std::nullopt;
    NetHeader plain;
    plain.num_buffers = 1;
    return plain;
  }
  checked.flags = static_cast<std::uint8_t>(header.flags & (kFlagNeedsCsum | kFlagDataValid));
  if ((header.gso_type & kGsoEcn) != 0 && !has(offloads, NetFeature::kGuestEcn)) {
    return std::nullopt;
  }
  switch (header.gso_type & ~kGsoEcn) {
    case kGsoNone:
      return checked;
    case kGsoTcp4:
      return has(offloads, NetFeature::kGuestTso4) ? std::optional(checked) : std::nullopt;
    case kGsoTcp6:
      return has(offloads, NetFeature::kGuestTso6) ? std::optional(checked) : std::nullopt;
    case kGsoUdpL4:
      return has(offloads, NetFeature::kGuestUso4) && has(offloads, NetFeature::kGuestUso6)
                 ? std::optional(checked)
                 : std::nullopt;
    default:
      return std::nullopt;
  }
}

}  // namespace vmsg::net
