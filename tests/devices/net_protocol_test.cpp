// Our numbers and layouts against the Linux UAPI headers, which have them from the specification.
#include "devices/net/net_protocol.hpp"

#include <gtest/gtest.h>
#include <linux/virtio_ids.h>
// The header names a field with a word that C++ has taken.
#define class class_
#include <linux/virtio_net.h>
#undef class

#include <cstddef>

#include "devices/net/mac_address.hpp"

namespace vmsg::net {
namespace {

constexpr unsigned bit(NetFeature feature) { return static_cast<unsigned>(feature); }

TEST(NetProtocol, FeatureBits) {
  EXPECT_EQ(kDeviceType, unsigned{VIRTIO_ID_NET});
  EXPECT_EQ(bit(NetFeature::kCsum), unsigned{VIRTIO_NET_F_CSUM});
  EXPECT_EQ(bit(NetFeature::kGuestCsum), unsigned{VIRTIO_NET_F_GUEST_CSUM});
  EXPECT_EQ(bit(NetFeature::kCtrlGuestOffloads), unsigned{VIRTIO_NET_F_CTRL_GUEST_OFFLOADS});
  EXPECT_EQ(bit(NetFeature::kMtu), unsigned{VIRTIO_NET_F_MTU});
  EXPECT_EQ(bit(NetFeature::kMac), unsigned{VIRTIO_NET_F_MAC});
  EXPECT_EQ(bit(NetFeature::kGuestTso4), unsigned{VIRTIO_NET_F_GUEST_TSO4});
  EXPECT_EQ(bit(NetFeature::kGuestTso6), unsigned{VIRTIO_NET_F_GUEST_TSO6});
  EXPECT_EQ(bit(NetFeature::kGuestEcn), unsigned{VIRTIO_NET_F_GUEST_ECN});
  EXPECT_EQ(bit(NetFeature::kGuestUfo), unsigned{VIRTIO_NET_F_GUEST_UFO});
  EXPECT_EQ(bit(NetFeature::kHostTso4), unsigned{VIRTIO_NET_F_HOST_TSO4});
  EXPECT_EQ(bit(NetFeature::kHostTso6), unsigned{VIRTIO_NET_F_HOST_TSO6});
  EXPECT_EQ(bit(NetFeature::kHostEcn), unsigned{VIRTIO_NET_F_HOST_ECN});
  EXPECT_EQ(bit(NetFeature::kHostUfo), unsigned{VIRTIO_NET_F_HOST_UFO});
  EXPECT_EQ(bit(NetFeature::kMrgRxbuf), unsigned{VIRTIO_NET_F_MRG_RXBUF});
  EXPECT_EQ(bit(NetFeature::kStatus), unsigned{VIRTIO_NET_F_STATUS});
  EXPECT_EQ(bit(NetFeature::kCtrlVq), unsigned{VIRTIO_NET_F_CTRL_VQ});
  EXPECT_EQ(bit(NetFeature::kCtrlRx), unsigned{VIRTIO_NET_F_CTRL_RX});
  EXPECT_EQ(bit(NetFeature::kCtrlVlan), unsigned{VIRTIO_NET_F_CTRL_VLAN});
  EXPECT_EQ(bit(NetFeature::kCtrlRxExtra), unsigned{VIRTIO_NET_F_CTRL_RX_EXTRA});
  EXPECT_EQ(bit(NetFeature::kGuestAnnounce), unsigned{VIRTIO_NET_F_GUEST_ANNOUNCE});
  EXPECT_EQ(bit(NetFeature::kMq), unsigned{VIRTIO_NET_F_MQ});
  EXPECT_EQ(bit(NetFeature::kCtrlMacAddr), unsigned{VIRTIO_NET_F_CTRL_MAC_ADDR});
  // The headers of Debian 12 are older than these; virtio 1.3 numbers them so.
  EXPECT_EQ(bit(NetFeature::kGuestUso4), 54U);
  EXPECT_EQ(bit(NetFeature::kGuestUso6), 55U);
  EXPECT_EQ(bit(NetFeature::kHostUso), 56U);
}

TEST(NetProtocol, Header) {
  EXPECT_EQ(sizeof(NetHeader), sizeof(virtio_net_hdr_v1));
  EXPECT_EQ(offsetof(NetHeader, flags), offsetof(virtio_net_hdr_v1, flags));
  EXPECT_EQ(offsetof(NetHeader, gso_type), offsetof(virtio_net_hdr_v1, gso_type));
  EXPECT_EQ(offsetof(NetHeader, hdr_len), offsetof(virtio_net_hdr_v1, hdr_len));
  EXPECT_EQ(offsetof(NetHeader, gso_size), offsetof(virtio_net_hdr_v1, gso_size));
  EXPECT_EQ(offsetof(NetHeader, csum_start), offsetof(virtio_net_hdr_v1, csum_start));
  EXPECT_EQ(offsetof(NetHeader, csum_offset), offsetof(virtio_net_hdr_v1, csum_offset));
  EXPECT_EQ(offsetof(NetHeader, num_buffers), offsetof(virtio_net_hdr_v1, num_buffers));
  EXPECT_EQ(unsigned{kFlagNeedsCsum}, unsigned{VIRTIO_NET_HDR_F_NEEDS_CSUM});
  EXPECT_EQ(unsigned{kFlagDataValid}, unsigned{VIRTIO_NET_HDR_F_DATA_VALID});
  EXPECT_EQ(unsigned{kGsoNone}, unsigned{VIRTIO_NET_HDR_GSO_NONE});
  EXPECT_EQ(unsigned{kGsoTcp4}, unsigned{VIRTIO_NET_HDR_GSO_TCPV4});
  EXPECT_EQ(unsigned{kGsoTcp6}, unsigned{VIRTIO_NET_HDR_GSO_TCPV6});
  EXPECT_EQ(unsigned{kGsoEcn}, unsigned{VIRTIO_NET_HDR_GSO_ECN});
  EXPECT_EQ(unsigned{kGsoUdpL4}, 5U);
}

TEST(NetProtocol, Configuration) {
  EXPECT_EQ(offsetof(NetConfig, mac), offsetof(virtio_net_config, mac));
  EXPECT_EQ(offsetof(NetConfig, status), offsetof(virtio_net_config, status));
  EXPECT_EQ(offsetof(NetConfig, max_virtqueue_pairs),
            offsetof(virtio_net_config, max_virtqueue_pairs));
  EXPECT_EQ(offsetof(NetConfig, mtu), offsetof(virtio_net_config, mtu));
  EXPECT_EQ(sizeof(NetConfig), offsetof(virtio_net_config, speed));
  EXPECT_EQ(unsigned{kStatusLinkUp}, unsigned{VIRTIO_NET_S_LINK_UP});
  EXPECT_EQ(unsigned{kStatusAnnounce}, unsigned{VIRTIO_NET_S_ANNOUNCE});
}

TEST(NetProtocol, Commands) {
  EXPECT_EQ(unsigned{kCtrlRx}, unsigned{VIRTIO_NET_CTRL_RX});
  EXPECT_EQ(unsigned{kCtrlRxPromisc}, unsigned{VIRTIO_NET_CTRL_RX_PROMISC});
  EXPECT_EQ(unsigned{kCtrlRxAllMulti}, unsigned{VIRTIO_NET_CTRL_RX_ALLMULTI});
  EXPECT_EQ(unsigned{kCtrlRxAllUni}, unsigned{VIRTIO_NET_CTRL_RX_ALLUNI});
  EXPECT_EQ(unsigned{kCtrlRxNoMulti}, unsigned{VIRTIO_NET_CTRL_RX_NOMULTI});
  EXPECT_EQ(unsigned{kCtrlRxNoUni}, unsigned{VIRTIO_NET_CTRL_RX_NOUNI});
  EXPECT_EQ(unsigned{kCtrlRxNoBcast}, unsigned{VIRTIO_NET_CTRL_RX_NOBCAST});
  EXPECT_EQ(unsigned{kCtrlMac}, unsigned{VIRTIO_NET_CTRL_MAC});
  EXPECT_EQ(unsigned{kCtrlMacTableSet}, unsigned{VIRTIO_NET_CTRL_MAC_TABLE_SET});
  EXPECT_EQ(unsigned{kCtrlMacAddrSet}, unsigned{VIRTIO_NET_CTRL_MAC_ADDR_SET});
  EXPECT_EQ(unsigned{kCtrlVlan}, unsigned{VIRTIO_NET_CTRL_VLAN});
  EXPECT_EQ(unsigned{kCtrlVlanAdd}, unsigned{VIRTIO_NET_CTRL_VLAN_ADD});
  EXPECT_EQ(unsigned{kCtrlVlanDel}, unsigned{VIRTIO_NET_CTRL_VLAN_DEL});
  EXPECT_EQ(unsigned{kCtrlAnnounce}, unsigned{VIRTIO_NET_CTRL_ANNOUNCE});
  EXPECT_EQ(unsigned{kCtrlAnnounceAck}, unsigned{VIRTIO_NET_CTRL_ANNOUNCE_ACK});
  EXPECT_EQ(unsigned{kCtrlMq}, unsigned{VIRTIO_NET_CTRL_MQ});
  EXPECT_EQ(unsigned{kCtrlMqPairsSet}, unsigned{VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET});
  EXPECT_EQ(unsigned{kCtrlGuestOffloads}, unsigned{VIRTIO_NET_CTRL_GUEST_OFFLOADS});
  EXPECT_EQ(unsigned{kCtrlGuestOffloadsSet}, unsigned{VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET});
  EXPECT_EQ(std::to_integer<unsigned>(kAckOk), unsigned{VIRTIO_NET_OK});
  EXPECT_EQ(std::to_integer<unsigned>(kAckError), unsigned{VIRTIO_NET_ERR});
}

TEST(MacAddress, IsReadAndWritten) {
  const auto mac = parse_mac("00:16:3E:0a:ff:01");
  ASSERT_TRUE(mac.has_value());
  EXPECT_EQ(to_string(*mac), "00:16:3e:0a:ff:01");
  EXPECT_TRUE(mac->is_station());
  for (const auto* wrong : {"", "00:16:3e:0a:ff", "00:16:3e:0a:ff:01:02", "00-16-3e-0a-ff-01",
                            "00:16:3e:0a:ff:0g", "0:016:3e:0a:ff:01"}) {
    EXPECT_FALSE(parse_mac(wrong).has_value()) << wrong;
  }
}

TEST(MacAddress, TheDefaultDependsOnThePlaceAlone) {
  EXPECT_EQ(default_mac("1.0"), default_mac("1.0"));
  EXPECT_NE(default_mac("1.0"), default_mac("1.1"));
  EXPECT_TRUE(default_mac("1.0").is_station());
  EXPECT_EQ(to_string(default_mac("7.3")).substr(0, 8), "00:16:3e");
}

}  // namespace
}  // namespace vmsg::net
