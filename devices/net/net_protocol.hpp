// The numbers and layouts of virtio-net: virtio 1.3, "Network Device". A test compares them with
// the Linux UAPI headers where those have them.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "transport/endian.hpp"
#include "transport/features.hpp"

namespace vmsg::net {

inline constexpr std::uint32_t kDeviceType = 1;

/// VIRTIO_NET_F_*
enum class NetFeature : std::uint8_t {
  kCsum = 0,  // the device takes packets with partial checksum
  kGuestCsum = 1,
  kCtrlGuestOffloads = 2,
  kMtu = 3,
  kMac = 5,
  kGuestTso4 = 7,
  kGuestTso6 = 8,
  kGuestEcn = 9,
  kGuestUfo = 10,
  kHostTso4 = 11,
  kHostTso6 = 12,
  kHostEcn = 13,
  kHostUfo = 14,
  kMrgRxbuf = 15,
  kStatus = 16,
  kCtrlVq = 17,
  kCtrlRx = 18,
  kCtrlVlan = 19,
  kCtrlRxExtra = 20,
  kGuestAnnounce = 21,
  kMq = 22,
  kCtrlMacAddr = 23,
  kGuestUso4 = 54,
  kGuestUso6 = 55,
  kHostUso = 56,
};

[[nodiscard]] constexpr bool has(const FeatureSet& set, NetFeature feature) {
  return set.has(static_cast<unsigned>(feature));
}
constexpr void add(FeatureSet& set, NetFeature feature) { set.set(static_cast<unsigned>(feature)); }

/// struct virtio_net_hdr, as it is with VIRTIO_F_VERSION_1 (num_buffers is always there).
struct NetHeader {
  std::uint8_t flags = 0;
  std::uint8_t gso_type = 0;
  Le16 hdr_len;
  Le16 gso_size;
  Le16 csum_start;
  Le16 csum_offset;
  Le16 num_buffers;
};
static_assert(sizeof(NetHeader) == 12);
inline constexpr std::size_t kHeaderSize = sizeof(NetHeader);

/// VIRTIO_NET_HDR_F_*
inline constexpr std::uint8_t kFlagNeedsCsum = 1;
inline constexpr std::uint8_t kFlagDataValid = 2;

/// VIRTIO_NET_HDR_GSO_*
inline constexpr std::uint8_t kGsoNone = 0;
inline constexpr std::uint8_t kGsoTcp4 = 1;
inline constexpr std::uint8_t kGsoTcp6 = 4;
inline constexpr std::uint8_t kGsoUdpL4 = 5;
inline constexpr std::uint8_t kGsoEcn = 0x80;

/// struct virtio_net_config, as far as this device has it.
struct NetConfig {
  std::array<std::uint8_t, 6> mac{};
  Le16 status;
  Le16 max_virtqueue_pairs;
  Le16 mtu;
};
static_assert(sizeof(NetConfig) == 12);

/// VIRTIO_NET_S_*
inline constexpr std::uint16_t kStatusLinkUp = 1;
inline constexpr std::uint16_t kStatusAnnounce = 2;

/// VIRTIO_NET_CTRL_*: classes, and the commands of each.
inline constexpr std::uint8_t kCtrlRx = 0;
inline constexpr std::uint8_t kCtrlRxPromisc = 0;
inline constexpr std::uint8_t kCtrlRxAllMulti = 1;
inline constexpr std::uint8_t kCtrlRxAllUni = 2;
inline constexpr std::uint8_t kCtrlRxNoMulti = 3;
inline constexpr std::uint8_t kCtrlRxNoUni = 4;
inline constexpr std::uint8_t kCtrlRxNoBcast = 5;
inline constexpr std::uint8_t kCtrlMac = 1;
inline constexpr std::uint8_t kCtrlMacTableSet = 0;
inline constexpr std::uint8_t kCtrlMacAddrSet = 1;
inline constexpr std::uint8_t kCtrlVlan = 2;
inline constexpr std::uint8_t kCtrlVlanAdd = 0;
inline constexpr std::uint8_t kCtrlVlanDel = 1;
inline constexpr std::uint8_t kCtrlAnnounce = 3;
inline constexpr std::uint8_t kCtrlAnnounceAck = 0;
inline constexpr std::uint8_t kCtrlMq = 4;
inline constexpr std::uint8_t kCtrlMqPairsSet = 0;
inline constexpr std::uint8_t kCtrlGuestOffloads = 5;
inline constexpr std::uint8_t kCtrlGuestOffloadsSet = 0;
/// VIRTIO_NET_OK, VIRTIO_NET_ERR
inline constexpr std::byte kAckOk{0};
inline constexpr std::byte kAckError{1};

inline constexpr std::size_t kEthernetHeader = 14;
inline constexpr std::size_t kVlanTag = 4;
/// The longest frame there can be: an IP packet of 64 KiB behind an Ethernet header with two tags.
inline constexpr std::size_t kMaxFrame = 65535 + kEthernetHeader + 2 * kVlanTag;

inline constexpr std::uint16_t kLeastMtu = 68;

}  // namespace vmsg::net
