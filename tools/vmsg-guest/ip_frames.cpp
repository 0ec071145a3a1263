#include "tools/vmsg-guest/ip_frames.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cstring>

namespace vmsg::guest {
namespace {

constexpr std::uint16_t kTypeIp = 0x0800;
constexpr std::uint16_t kTypeArp = 0x0806;
constexpr std::uint16_t kArpEthernet = 1;
constexpr std::uint16_t kArpRequest = 1;
constexpr std::uint16_t kArpReply = 2;
constexpr std::uint8_t kEchoRequest = 8;
constexpr std::uint8_t kEchoReply = 0;

void put8(std::vector<std::byte>& out, unsigned value) {
  out.push_back(static_cast<std::byte>(value & 0xffU));
}
void put16(std::vector<std::byte>& out, unsigned value) {
  put8(out, value >> 8U);
  put8(out, value);
}
void put32(std::vector<std::byte>& out, std::uint32_t value) {
  put16(out, value >> 16U);
  put16(out, value & 0xffffU);
}
void put(std::vector<std::byte>& out, const MacAddress& mac) {
  for (const std::uint8_t byte : mac.bytes) put8(out, byte);
}
void put(std::vector<std::byte>& out, std::span<const std::byte> data) {
  out.insert(out.end(), data.begin(), data.end());
}
void set16(std::vector<std::byte>& out, std::size_t at, unsigned value) {
  out[at] = static_cast<std::byte>(value >> 8U & 0xffU);
  out[at + 1] = static_cast<std::byte>(value & 0xffU);
}

unsigned get8(std::span<const std::byte> bytes, std::size_t at) {
  return std::to_integer<unsigned>(bytes[at]);
}
std::uint16_t get16(std::span<const std::byte> bytes, std::size_t at) {
  return static_cast<std::uint16_t>(get8(bytes, at) << 8U | get8(bytes, at + 1));
}
std::uint32_t get32(std::span<const std::byte> bytes, std::size_t at) {
  return std::uint32_t{get16(bytes, at)} << 16U | get16(bytes, at + 2);
}
MacAddress get_mac(std::span<const std::byte> bytes, std::size_t at) {
  MacAddress mac;
  std::memcpy(mac.bytes.data(), bytes.data() + at, mac.bytes.size());
  return mac;
}

void begin(std::vector<std::byte>& out, const MacAddress& from, const MacAddress& to,
           std::uint16_t type) {
  out.clear();
  put(out, to);
  put(out, from);
  put16(out, type);
}

void put_ip_header(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
                   std::uint8_t protocol, std::size_t payload) {
  const std::size_t at = out.size();
  put8(out, 0x45);
  put8(out, 0);
  put16(out, static_cast<unsigned>(kIpSize + payload));
  put16(out, 0);       // identification: never a fragment
  put16(out, 0x4000);  // do not fragment
  put8(out, 64);
  put8(out, protocol);
  put16(out, 0);
  put32(out, from.ip.value);
  put32(out, to.ip.value);
  set16(out, at + 10, internet_checksum(std::span(out).subspan(at)));
}

std::uint32_t pseudo_header_sum(IpAddress from, IpAddress to, std::uint8_t protocol,
                                std::size_t length) {
  return (from.value >> 16U) + (from.value & 0xffffU) + (to.value >> 16U) + (to.value & 0xffffU) +
         protocol + static_cast<std::uint32_t>(length);
}

std::uint16_t fold(std::uint32_t sum) {
  while (sum >> 16U != 0) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(sum);
}

void make_arp(std::vector<std::byte>& out, const Endpoint& from, const MacAddress& frame_to,
              const Endpoint& to, std::uint16_t operation) {
  begin(out, from.mac, frame_to, kTypeArp);
  put16(out, kArpEthernet);
  put16(out, kTypeIp);
  put8(out, 6);
  put8(out, 4);
  put16(out, operation);
  put(out, from.mac);
  put32(out, from.ip.value);
  put(out, to.mac);
  put32(out, to.ip.value);
}

void make_echo(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
               std::uint8_t type, std::uint16_t id, std::uint16_t sequence,
               std::span<const std::byte> data) {
  begin(out, from.mac, to.mac, kTypeIp);
  put_ip_header(out, from, to, kIpIcmp, kIcmpSize + data.size());
  const std::size_t at = out.size();
  put8(out, type);
  put8(out, 0);
  put16(out, 0);
  put16(out, id);
  put16(out, sequence);
  put(out, data);
  set16(out, at + 2, internet_checksum(std::span(out).subspan(at)));
}

void parse_arp(std::span<const std::byte> arp, ParsedFrame& parsed) {
  constexpr std::size_t kArpSize = 28;
  if (arp.size() < kArpSize || get16(arp, 0) != kArpEthernet || get16(arp, 2) != kTypeIp) return;
  const std::uint16_t operation = get16(arp, 6);
  parsed.from = {get_mac(arp, 8), IpAddress{get32(arp, 14)}};
  parsed.to = IpAddress{get32(arp, 24)};
  if (operation == kArpRequest) parsed.kind = ParsedFrame::Kind::kArpRequest;
  if (operation == kArpReply) parsed.kind = ParsedFrame::Kind::kArpReply;
}

void parse_icmp(std::span<const std::byte> icmp, ParsedFrame& parsed) {
  if (icmp.size() < kIcmpSize || get8(icmp, 1) != 0) return;
  if (get8(icmp, 0) == kEchoRequest) parsed.kind = ParsedFrame::Kind::kIcmpEcho;
  if (get8(icmp, 0) == kEchoReply) parsed.kind = ParsedFrame::Kind::kIcmpReply;
  parsed.is_checksum_right &= internet_checksum(icmp) == 0;
  parsed.id = get16(icmp, 4);
  parsed.sequence = get16(icmp, 6);
  parsed.data = icmp.subspan(kIcmpSize);
}

void parse_udp(std::span<const std::byte> udp, bool partial, ParsedFrame& parsed) {
  if (udp.size() < kUdpSize) return;
  const std::size_t length = get16(udp, 4);
  if (length < kUdpSize || length > udp.size()) return;
  parsed.kind = ParsedFrame::Kind::kUdp;
  parsed.from_port = get16(udp, 0);
  parsed.to_port = get16(udp, 2);
  if (!partial && get16(udp, 6) != 0) {
    parsed.is_checksum_right &=
        internet_checksum(udp.first(length),
                          pseudo_header_sum(parsed.from.ip, parsed.to, kIpUdp, length)) == 0;
  }
  parsed.data = udp.subspan(kUdpSize, length - kUdpSize);
}

}  // namespace

std::optional<IpAddress> parse_ip(std::string_view text) {
  IpAddress address;
  for (int i = 0; i < 4; ++i) {
    unsigned part = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), part);
    if (error != std::errc{} || part > 255) return std::nullopt;
    address.value = address.value << 8U | part;
    text.remove_prefix(static_cast<std::size_t>(end - text.data()));
    const bool is_last = i == 3;
    if (is_last ? !text.empty() : !text.starts_with('.')) return std::nullopt;
    if (!is_last) text.remove_prefix(1);
  }
  return address;
}

std::string to_string(const IpAddress& address) {
  return fmt::format("{}.{}.{}.{}", address.value >> 24U, address.value >> 16U & 0xffU,
                     address.value >> 8U & 0xffU, address.value & 0xffU);
}

std::uint16_t internet_checksum(std::span<const std::byte> bytes, std::uint32_t sum) {
  std::uint64_t total = sum;
  std::size_t at = 0;
  for (; at + 1 < bytes.size(); at += 2) total += get16(bytes, at);
  if (at < bytes.size()) total += get8(bytes, at) << 8U;
  while (total >> 32U != 0) total = (total & 0xffffffffU) + (total >> 32U);
  return static_cast<std::uint16_t>(~fold(fold(static_cast<std::uint32_t>(total & 0xffffU)) +
                                          static_cast<std::uint32_t>(total >> 16U)));
}

void make_arp_request(std::vector<std::byte>& out, const Endpoint& from, IpAddress wanted) {
  make_arp(out, from, kBroadcastMac, {.mac = {}, .ip = wanted}, kArpRequest);
}

void make_arp_reply(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to) {
  make_arp(out, from, to.mac, to, kArpReply);
}

void make_echo_request(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
                       std::uint16_t id, std::uint16_t sequence, std::span<const std::byte> data) {
  make_echo(out, from, to, kEchoRequest, id, sequence, data);
}

void make_echo_reply(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
                     std::uint16_t id, std::uint16_t sequence, std::span<const std::byte> data) {
  make_echo(out, from, to, kEchoReply, id, sequence, data);
}

void make_udp(std::vector<std::byte>& out, const Endpoint& from, const Endpoint& to,
              std::uint16_t from_port, std::uint16_t to_port, std::span<const std::byte> data,
              bool partial) {
  const std::size_t length = kUdpSize + data.size();
  begin(out, from.mac, to.mac, kTypeIp);
  put_ip_header(out, from, to, kIpUdp, length);
  const std::size_t at = out.size();
  put16(out, from_port);
  put16(out, to_port);
  put16(out, static_cast<unsigned>(length));
  put16(out, 0);
  put(out, data);
  const std::uint32_t pseudo = pseudo_header_sum(from.ip, to.ip, kIpUdp, length);
  if (partial) {
    set16(out, at + 6, fold(pseudo));
    return;
  }
  const std::uint16_t checksum = internet_checksum(std::span(out).subspan(at), pseudo);
  set16(out, at + 6, checksum == 0 ? 0xffff : checksum);  // 0 would mean that there is none
}

ParsedFrame parse_frame(std::span<const std::byte> frame, bool partial) {
  ParsedFrame parsed;
  if (frame.size() < kEthernetSize) return parsed;
  const std::uint16_t type = get16(frame, 12);
  const auto payload = frame.subspan(kEthernetSize);
  if (type == kTypeArp) {
    parse_arp(payload, parsed);
    return parsed;
  }
  if (type != kTypeIp || payload.size() < kIpSize || get8(payload, 0) >> 4U != 4) return parsed;
  const std::size_t header = std::size_t{get8(payload, 0) & 0xfU} * 4;
  const std::size_t total = get16(payload, 2);
  constexpr unsigned kFragmentMask = 0x3fff;
  if (header < kIpSize || total < header || total > payload.size() ||
      (get16(payload, 6) & kFragmentMask) != 0) {
    return parsed;
  }
  parsed.from = {get_mac(frame, 6), IpAddress{get32(payload, 12)}};
  parsed.to = IpAddress{get32(payload, 16)};
  parsed.is_checksum_right = internet_checksum(payload.first(header)) == 0;
  const auto inner = payload.subspan(header, total - header);
  if (get8(payload, 9) == kIpIcmp) parse_icmp(inner, parsed);
  if (get8(payload, 9) == kIpUdp) parse_udp(inner, partial, parsed);
  return parsed;
}

}  // namespace vmsg::guest
