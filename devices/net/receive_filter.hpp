// Which frames a guest wants to see: what the control queue's classes RX, MAC and VLAN set.
//
// A value: the control queue changes its own and hands out copies.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <span>

#include "devices/net/mac_address.hpp"

namespace vmsg::net {

/// A bounded set of addresses. A table that was too long for it matches everything, which is what
/// a device may do: the driver looks at addresses itself.
class MacTable {
 public:
  static constexpr std::size_t kMost = 64;

  void clear() {
    count_ = 0;
    overflows_ = false;
  }
  void add(const MacAddress& mac) {
    if (count_ == kMost) {
      overflows_ = true;
    } else {
      entries_[count_++] = mac;
    }
  }
  [[nodiscard]] bool has(const MacAddress& mac) const;

 private:
  std::array<MacAddress, kMost> entries_{};
  std::size_t count_ = 0;
  bool overflows_ = false;
};

struct ReceiveFilter {
  // What a device does until its driver says something else: everything passes.
  bool promiscuous = true;
  bool all_multicast = false;
  bool all_unicast = false;
  bool no_multicast = false;
  bool no_unicast = false;
  bool no_broadcast = false;
  MacAddress own;
  MacTable unicast;
  MacTable multicast;
  static constexpr std::size_t kVlans = 4096;
  bool filters_vlans = false;
  std::bitset<kVlans> vlans;  // that pass, if they are filtered; frames without a tag always do

  /// `frame` begins with the Ethernet header and has at least that.
  [[nodiscard]] bool accepts(std::span<const std::byte> frame) const;
};

}  // namespace vmsg::net
