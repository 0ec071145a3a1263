// An Ethernet address.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace vmsg::net {

struct MacAddress {
  std::array<std::uint8_t, 6> bytes{};

  [[nodiscard]] bool is_multicast() const { return (bytes[0] & 1U) != 0; }
  [[nodiscard]] bool is_zero() const { return bytes == std::array<std::uint8_t, 6>{}; }
  /// One that a network device can have as its own.
  [[nodiscard]] bool is_station() const { return !is_multicast() && !is_zero(); }

  friend bool operator==(const MacAddress&, const MacAddress&) = default;
};

/// Six pairs of hexadecimal digits with colons between them.
[[nodiscard]] std::optional<MacAddress> parse_mac(std::string_view text);
[[nodiscard]] std::string to_string(const MacAddress& mac);

/// The address of a device that was given none: in Xen's range (00:16:3e), and the same each time
/// for the same place, so that a restarted daemon does not change a guest's hardware. `place` is
/// any text that names the place.
[[nodiscard]] MacAddress default_mac(std::string_view place);

}  // namespace vmsg::net
