// Numbers from xenstore: text that others wrote. Strict: digits only, no sign, no space, no prefix,
// nothing after them, and inside the bounds; or nothing.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <limits>
#include <optional>
#include <string_view>

namespace vmsg::xen {

namespace detail {

template <std::unsigned_integral T>
std::optional<T> parse_number(std::string_view text, int base, T min, T max) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  // from_chars takes a minus sign for signed types only, and never a plus sign or a space.
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  if (value < min || value > max) return std::nullopt;
  return value;
}

}  // namespace detail

template <std::unsigned_integral T>
std::optional<T> parse_decimal(std::string_view text, T min = 0,
                               T max = std::numeric_limits<T>::max()) {
  return detail::parse_number<T>(text, 10, min, max);
}

/// With or without `0x`, both cases of letters.
template <std::unsigned_integral T>
std::optional<T> parse_hex(std::string_view text, T min = 0,
                           T max = std::numeric_limits<T>::max()) {
  if (text.starts_with("0x")) text.remove_prefix(2);
  return detail::parse_number<T>(text, 16, min, max);
}

}  // namespace vmsg::xen
