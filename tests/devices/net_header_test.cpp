// What a guest says about its frames (virtio 1.3, "Packet Transmission"): what is passed on, and
// what is dropped before the host's kernel would have to refuse it.
#include "devices/net/net_header.hpp"

#include <gtest/gtest.h>

#include <initializer_list>
#include <vector>

namespace vmsg::net {
namespace {

FeatureSet features(std::initializer_list<NetFeature> list) {
  FeatureSet set;
  for (const NetFeature feature : list) add(set, feature);
  return set;
}

const FeatureSet kAll = features({NetFeature::kCsum, NetFeature::kHostTso4, NetFeature::kHostTso6,
                                  NetFeature::kHostEcn, NetFeature::kHostUso});

/// An Ethernet frame with IPv4 or IPv6 and TCP or UDP in it.
struct Frame {
  std::vector<std::byte> bytes;
  std::size_t network = kEthernetHeader;
  std::size_t transport = 0;

  void set(std::size_t at, unsigned value) { bytes[at] = static_cast<std::byte>(value); }
};

Frame ip4(std::uint8_t protocol, std::size_t data, std::size_t tags = 0) {
  Frame frame;
  frame.network = kEthernetHeader + tags * kVlanTag;
  frame.transport = frame.network + 20;
  frame.bytes.resize(frame.transport + (protocol == 6 ? 20 : 8) + data);
  for (std::size_t i = 0; i < tags; ++i) frame.set(kEthernetHeader - 2 + i * kVlanTag, 0x81);
  frame.set(frame.network - 2, 0x08);
  frame.set(frame.network, 0x45);
  frame.set(frame.network + 9, protocol);
  if (protocol == 6) frame.set(frame.transport + 12, 0x50);
  return frame;
}

Frame ip6(std::uint8_t protocol, std::size_t data, bool has_extension = false) {
  Frame frame;
  frame.transport = frame.network + 40 + (has_extension ? 16 : 0);
  frame.bytes.resize(frame.transport + (protocol == 6 ? 20 : 8) + data);
  frame.set(12, 0x86);
  frame.set(13, 0xdd);
  frame.set(frame.network, 0x60);
  frame.set(frame.network + 6, has_extension ? 0 : protocol);
  if (has_extension) {
    frame.set(frame.network + 40, protocol);
    frame.set(frame.network + 41, 1);  // 16 bytes
  }
  if (protocol == 6) frame.set(frame.transport + 12, 0x50);
  return frame;
}

NetHeader segmented(const Frame& frame, std::uint8_t type, std::uint16_t size = 1448) {
  NetHeader header;
  header.flags = kFlagNeedsCsum;
  header.gso_type = type;
  header.gso_size = size;
  header.csum_start = static_cast<std::uint16_t>(frame.transport);
  header.csum_offset = static_cast<std::uint16_t>(type == kGsoUdpL4 ? 6 : 16);
  header.hdr_len = 1;  // a hint that nobody may rely on
  return header;
}

HeaderFault fault(const NetHeader& header, const Frame& frame, const FeatureSet& set = kAll) {
  const auto checked = check_from_guest(header, frame.bytes, set);
  EXPECT_FALSE(checked.has_value());
  return checked ? HeaderFault{} : checked.error();
}

TEST(CheckFromGuest, APlainFrameNeedsNothing) {
  const auto checked = check_from_guest({}, ip4(6, 10).bytes, {});

  ASSERT_TRUE(checked.has_value());
  EXPECT_EQ(checked->header.flags, 0);
  EXPECT_EQ(checked->header.gso_type, kGsoNone);
  EXPECT_EQ(checked->segments, 1U);
}

TEST(CheckFromGuest, FramesThatCannotBe) {
  Frame frame;
  frame.bytes.resize(kEthernetHeader - 1);
  EXPECT_EQ(fault({}, frame), HeaderFault::kFrameSize);
  frame.bytes.resize(kMaxFrame + 1);
  EXPECT_EQ(fault({}, frame), HeaderFault::kFrameSize);
  frame.bytes.resize(kMaxFrame);
  EXPECT_TRUE(check_from_guest({}, frame.bytes, {}).has_value());
}

TEST(CheckFromGuest, FlagsThatMeanNothingOnTheWayOutAreIgnored) {
  NetHeader header;
  header.flags = 0xfe;
  header.num_buffers = 77;
  header.hdr_len = 99;

  const auto checked = check_from_guest(header, ip4(6, 10).bytes, kAll);

  ASSERT_TRUE(checked.has_value());
  EXPECT_EQ(checked->header.flags, 0);
  EXPECT_EQ(checked->header.num_buffers, Le16(0));
  EXPECT_EQ(checked->header.hdr_len, Le16(0));
}

TEST(CheckFromGuest, AChecksumIsCompletedInsideTheFrame) {
  const Frame frame = ip4(17, 10);
  NetHeader header;
  header.flags = kFlagNeedsCsum;
  header.csum_start = static_cast<std::uint16_t>(frame.transport);
  header.csum_offset = 6;
  EXPECT_TRUE(check_from_guest(header, frame.bytes, kAll).has_value());
  EXPECT_EQ(fault(header, frame, {}), HeaderFault::kNotNegotiated);

  header.csum_offset = static_cast<std::uint16_t>(frame.bytes.size() - frame.transport - 2);
  EXPECT_TRUE(check_from_guest(header, frame.bytes, kAll).has_value());
  header.csum_offset = static_cast<std::uint16_t>(frame.bytes.size() - frame.transport - 1);
  EXPECT_EQ(fault(header, frame), HeaderFault::kBadChecksum);
  header.csum_offset = 0xffff;
  EXPECT_EQ(fault(header, frame), HeaderFault::kBadChecksum);
  header.csum_offset = 6;
  header.csum_start = kEthernetHeader - 1;
  EXPECT_EQ(fault(header, frame), HeaderFault::kBadChecksum);
}

TEST(CheckFromGuest, SegmentationOfEveryKind) {
  struct Case {
    Frame frame;
    std::uint8_t type;
    std::size_t headers;
  };
  const std::vector<Case> cases{
      {ip4(6, 5000), kGsoTcp4, 54},    {ip4(6, 5000, 1), kGsoTcp4, 58},
      {ip4(6, 5000, 2), kGsoTcp4, 62}, {ip4(6, 5000), kGsoTcp4 | kGsoEcn, 54},
      {ip6(6, 5000), kGsoTcp6, 74},    {ip6(6, 5000, true), kGsoTcp6, 90},
      {ip4(17, 5000), kGsoUdpL4, 42},  {ip6(17, 5000), kGsoUdpL4, 62},
  };
  for (const Case& one : cases) {
    const auto checked =
        check_from_guest(segmented(one.frame, one.type, 1000), one.frame.bytes, kAll);
    ASSERT_TRUE(checked.has_value()) << int{one.type};
    EXPECT_EQ(checked->header.hdr_len, Le16(static_cast<std::uint16_t>(one.headers)));
    EXPECT_EQ(checked->segments, 5U);
  }
}

TEST(CheckFromGuest, SegmentationThatWasNotNegotiated) {
  const Frame tcp4 = ip4(6, 5000);
  const Frame tcp6 = ip6(6, 5000);
  const Frame udp = ip4(17, 5000);
  const FeatureSet only_checksums = features({NetFeature::kCsum});
  EXPECT_EQ(fault(segmented(tcp4, kGsoTcp4), tcp4, only_checksums), HeaderFault::kNotNegotiated);
  EXPECT_EQ(fault(segmented(tcp6, kGsoTcp6), tcp6, only_checksums), HeaderFault::kNotNegotiated);
  EXPECT_EQ(fault(segmented(udp, kGsoUdpL4), udp, only_checksums), HeaderFault::kNotNegotiated);
  const FeatureSet no_ecn = features({NetFeature::kCsum, NetFeature::kHostTso4});
  EXPECT_EQ(fault(segmented(tcp4, kGsoTcp4 | kGsoEcn), tcp4, no_ecn), HeaderFault::kNotNegotiated);
  EXPECT_EQ(fault(segmented(udp, kGsoUdpL4 | kGsoEcn), udp), HeaderFault::kNotNegotiated);
  for (const unsigned unknown : {2U, 3U, 6U, 0x7fU, 0x80U}) {
    EXPECT_EQ(fault(segmented(tcp4, static_cast<std::uint8_t>(unknown)), tcp4),
              HeaderFault::kNotNegotiated);
  }
}

TEST(CheckFromGuest, SegmentationOfSomethingElseThanItSays) {
  const Frame good = ip4(6, 5000);
  const auto broken = [&](std::size_t at, unsigned value) {
    Frame frame = good;
    frame.set(at, value);
    return fault(segmented(frame, kGsoTcp4), frame);
  };
  EXPECT_EQ(broken(good.network, 0x65), HeaderFault::kBadSegments);         // IP version
  EXPECT_EQ(broken(good.network, 0x44), HeaderFault::kBadSegments);         // IP header length
  EXPECT_EQ(broken(good.network, 0x4f), HeaderFault::kBadSegments);         // not where TCP begins
  EXPECT_EQ(broken(good.network + 6, 0x20), HeaderFault::kBadSegments);     // a fragment
  EXPECT_EQ(broken(good.network + 9, 17), HeaderFault::kBadSegments);       // UDP
  EXPECT_EQ(broken(good.transport + 12, 0x40), HeaderFault::kBadSegments);  // TCP header length
  EXPECT_EQ(broken(12, 0x86), HeaderFault::kBadSegments);                   // not IP
  const Frame tcp6 = ip6(6, 5000);
  EXPECT_EQ(fault(segmented(tcp6, kGsoTcp4), tcp6), HeaderFault::kBadSegments);
  EXPECT_EQ(fault(segmented(good, kGsoTcp6), good), HeaderFault::kBadSegments);
  Frame endless = ip6(6, 5000);
  endless.set(endless.network + 6, 0);  // an extension whose length leads out of the frame
  endless.set(endless.network + 40, 0);
  endless.set(endless.network + 41, 0xff);
  EXPECT_EQ(fault(segmented(endless, kGsoTcp6), endless), HeaderFault::kBadSegments);
}

TEST(CheckFromGuest, SegmentationIntoSenselessPieces) {
  const Frame frame = ip4(6, 60000);
  EXPECT_EQ(fault(segmented(frame, kGsoTcp4, 0), frame), HeaderFault::kBadSegments);
  EXPECT_EQ(fault(segmented(frame, kGsoTcp4, 7), frame), HeaderFault::kBadSegments);
  EXPECT_TRUE(check_from_guest(segmented(frame, kGsoTcp4, 8), frame.bytes, kAll).has_value());

  const Frame udp = ip4(17, 6500);
  EXPECT_EQ(fault(segmented(udp, kGsoUdpL4, 100), udp), HeaderFault::kBadSegments);  // 65 pieces
  EXPECT_TRUE(check_from_guest(segmented(udp, kGsoUdpL4, 102), udp.bytes, kAll).has_value());

  NetHeader without_checksum = segmented(frame, kGsoTcp4);
  without_checksum.flags = 0;
  EXPECT_EQ(fault(without_checksum, frame), HeaderFault::kBadSegments);
  NetHeader elsewhere = segmented(frame, kGsoTcp4);
  elsewhere.csum_start = static_cast<std::uint16_t>(frame.transport + 2);
  EXPECT_EQ(fault(elsewhere, frame), HeaderFault::kBadSegments);
  elsewhere = segmented(frame, kGsoTcp4);
  elsewhere.csum_offset = 6;
  EXPECT_EQ(fault(elsewhere, frame), HeaderFault::kBadSegments);
}

TEST(CheckFromGuest, HeadersThatTheFrameCutsOff) {
  const Frame whole = ip4(6, 0);
  for (std::size_t size = kEthernetHeader; size < whole.bytes.size(); ++size) {
    Frame cut = whole;
    cut.bytes.resize(size);
    EXPECT_FALSE(check_from_guest(segmented(cut, kGsoTcp4), cut.bytes, kAll).has_value()) << size;
  }
}

TEST(CheckForGuest, AGuestWithoutOffloadsGetsNoneAndSeesNothingOfThem) {
  NetHeader header;
  header.flags = kFlagDataValid;
  header.hdr_len = 5;

  const auto plain = check_for_guest(header, {});
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain->flags, 0);
  EXPECT_EQ(plain->hdr_len, Le16(0));
  EXPECT_EQ(plain->num_buffers, Le16(1));

  header.flags = kFlagNeedsCsum;
  EXPECT_FALSE(check_for_guest(header, {}).has_value());
  header.flags = 0;
  header.gso_type = kGsoTcp4;
  EXPECT_FALSE(check_for_guest(header, {}).has_value());
}

TEST(CheckForGuest, EachOffloadByItself) {
  const auto passes = [](std::uint8_t type, std::initializer_list<NetFeature> list) {
    NetHeader header;
    header.flags = kFlagNeedsCsum;
    header.gso_type = type;
    return check_for_guest(header, features(list)).has_value();
  };
  EXPECT_TRUE(passes(kGsoNone, {NetFeature::kGuestCsum}));
  EXPECT_FALSE(passes(kGsoTcp4, {NetFeature::kGuestCsum, NetFeature::kGuestTso6}));
  EXPECT_TRUE(passes(kGsoTcp4, {NetFeature::kGuestCsum, NetFeature::kGuestTso4}));
  EXPECT_FALSE(passes(kGsoTcp4 | kGsoEcn, {NetFeature::kGuestCsum, NetFeature::kGuestTso4}));
  EXPECT_TRUE(passes(kGsoTcp4 | kGsoEcn,
                     {NetFeature::kGuestCsum, NetFeature::kGuestTso4, NetFeature::kGuestEcn}));
  EXPECT_TRUE(passes(kGsoTcp6, {NetFeature::kGuestCsum, NetFeature::kGuestTso6}));
  EXPECT_FALSE(passes(kGsoUdpL4, {NetFeature::kGuestCsum, NetFeature::kGuestUso4}));
  EXPECT_TRUE(
      passes(kGsoUdpL4, {NetFeature::kGuestCsum, NetFeature::kGuestUso4, NetFeature::kGuestUso6}));
}

}  // namespace
}  // namespace vmsg::net
