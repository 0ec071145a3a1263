#include "devices/net/receive_filter.hpp"

#include <algorithm>
#include <cstring>

#include "devices/net/net_protocol.hpp"

namespace vmsg::net {
namespace {

constexpr MacAddress kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};

std::uint16_t big_endian16(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(std::to_integer<unsigned>(bytes[at]) << 8U |
                                    std::to_integer<unsigned>(bytes[at + 1]));
}

}  // namespace

bool MacTable::has(const MacAddress& mac) const {
  return overflows_ || std::ranges::find(std::span(entries_).first(count_), mac) !=
                           std::span(entries_).first(count_).end();
}

bool ReceiveFilter::accepts(std::span<const std::byte> frame) const {
  constexpr std::uint16_t kVlanType = 0x8100;
  constexpr std::uint16_t kVlanMask = 0x0fff;
  if (filters_vlans && frame.size() >= kEthernetHeader + kVlanTag &&
      big_endian16(frame, kEthernetHeader - 2) == kVlanType &&
      !vlans.test(big_endian16(frame, kEthernetHeader) & kVlanMask)) {
    return false;
  }
  if (promiscuous) return true;
  MacAddress to;
  std::memcpy(to.bytes.data(), frame.data(), to.bytes.size());
  if (to == kBroadcast) return !no_broadcast;
  if (to.is_multicast()) return !no_multicast && (all_multicast || multicast.has(to));
  return !no_unicast && (all_unicast || to == own || unicast.has(to));
}

}  // namespace vmsg::net
