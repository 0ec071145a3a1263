#include "devices/net/mac_address.hpp"

#include <fmt/format.h>

#include <charconv>

namespace vmsg::net {

std::optional<MacAddress> parse_mac(std::string_view text) {
  constexpr std::size_t kLength = 17;
  if (text.size() != kLength) return std::nullopt;
  MacAddress mac;
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) {
    const std::string_view pair = text.substr(i * 3, 2);
    const auto [end, error] =
        std::from_chars(pair.data(), pair.data() + pair.size(), mac.bytes[i], 16);
    if (error != std::errc{} || end != pair.data() + pair.size()) return std::nullopt;
    if (i + 1 < mac.bytes.size() && text[i * 3 + 2] != ':') return std::nullopt;
  }
  return mac;
}

std::string to_string(const MacAddress& mac) {
  const auto& b = mac.bytes;
  return fmt::format("{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4],
                     b[5]);
}

MacAddress default_mac(std::string_view place) {
  // FNV-1a: any well-mixed function that never changes will do.
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : place) {
    hash ^= static_cast<std::uint8_t>(c);
    hash *= 0x100000001b3;
  }
  hash ^= hash >> 32U;
  return {{0x00, 0x16, 0x3e, static_cast<std::uint8_t>(hash >> 16U & 0x7fU),
           static_cast<std::uint8_t>(hash >> 8U), static_cast<std::uint8_t>(hash)}};
}

}  // namespace vmsg::net
