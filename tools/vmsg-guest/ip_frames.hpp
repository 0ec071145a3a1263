// The few protocols that vmsg-guest speaks over a network device: Ethernet, ARP, IPv4, ICMP echo,
// UDP. Enough to be somebody on a network; no options, no fragments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "devices/net/mac_address.hpp"

namespace vmsg::guest {

using net::MacAddress;

struct IpAddress {
  std::uint32_t value = 0;  // the first number in the highest bits
  friend bool operator==(const IpAddress&, const IpAddress&) = default;
};
[[nodiscard]] std::optional<IpAddress> parse_ip(std::string_view text);
[[nodiscard]] std::string to_string(const IpAddress& address);

/// The internet checksum (RFC 1071) of `bytes`, going on from `sum`; 0 for bytes that hold their
/// own right checksum.
[[nodiscard]] std::uint16_t internet_checksum(std::span<const std::byte> bytes,
                                              std::uint32_t sum = 0);

struct Endpoint {
  MacAddress mac;
  IpAddress ip;
};

inline constexpr MacAddress kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
inline constexpr std::uint8_t kIpIcmp = 1;
inline constexpr std::uint8_t kIpUdp = 17;

inline constexpr std::size_t kEthernetSize = 14;
inline constexpr std::size_t kIpSize = 20;
inline constexpr std::size_t kUdpSize = 8;
inline constexpr std::size_t kIcmpSize = 8;
/// What precedes the data of a UDP frame.
inline constexpr std::size_t kUdpHeaders = kEthernetSize + kIpSize + kUdpSize;

// Frames to send, appended to `out`, which is emptied first.

void make_arp_request(std::vector<std::byte>& out, const Endpoint& from, IpAddress wanted);
void make_arp_reply(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to);
void make_echo_request(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
                       std::uint16_t id, std::uint16_t sequence, std::span<const std::byte> data);
void make_echo_reply(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
                     std::uint16_t id, std::uint16_t sequence, std::span<const std::byte> data);
/// With `partial`, the checksum field has the sum of the pseudo-header only, for a device that
/// completes it.
void make_udp(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
              std::uint16_t from_port, std::uint16_t to_port, std::span<const std::byte> data,
              bool partial = false);

/// What a received frame is. The spans point into the frame.
struct ParsedFrame {
  enum class Kind : std::uint8_t { kOther, kArpRequest, kArpReply, kIcmpEcho, kIcmpReply, kUdp };
  Kind kind = Kind::kOther;
  Endpoint from;
  IpAddress to;
  std::uint16_t from_port = 0;  // of UDP
  std::uint16_t to_port = 0;
  std::uint16_t id = 0;  // of ICMP echo
  std::uint16_t sequence = 0;
  bool is_checksum_right = true;  // of IP, and of what is in it if that has been computed
  std::span<const std::byte> data;
};

/// With `partial`, the checksum of what is inside is not there yet, and not judged.
[[nodiscard]] ParsedFrame parse_frame(std::span<const std::byte> frame, bool partial);

}  // namespace vmsg::guest
