// Judges the header that travels with a frame. What a guest wrote is checked against the frame and
// the features before anybody relies on it: the host's kernel never sees a header that it would
// have to refuse.
#pragma once

#include <cstdint>
#include <expected>
#include <optional>
#include <span>
#include <string_view>

#include "devices/net/net_protocol.hpp"
#include "transport/features.hpp"

namespace vmsg::net {

enum class HeaderFault : std::uint8_t {
  kFrameSize,      // shorter than an Ethernet header, or longer than any frame
  kNotNegotiated,  // relies on a feature that was not negotiated
  kBadChecksum,    // the checksum's place is not inside the frame
  kBadSegments,    // segmentation of something that is not what it says, or into senseless pieces
};

[[nodiscard]] std::string_view name(HeaderFault fault);

/// A frame's header as the host may see it: unknown flags gone, the length of the frame's own
/// headers computed.
struct CheckedHeader {
  NetHeader header;
  std::uint32_t segments = 1;  // frames that will become of it
};

/// A frame from a guest that negotiated `features`.
[[nodiscard]] std::expected<CheckedHeader, HeaderFault> check_from_guest(
    const NetHeader& header, std::span<const std::byte> frame, const FeatureSet& features);

/// A frame for a guest that takes `offloads`: the header as the guest may see it, or nullopt when
/// it relies on something that the guest does not take.
[[nodiscard]] std::optional<NetHeader> check_for_guest(const NetHeader& header,
                                                       const FeatureSet& offloads);

}  // namespace vmsg::net
