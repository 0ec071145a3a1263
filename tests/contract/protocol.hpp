// How contract-tests tells contract-peer what to do: one request at a time through xenstore, below
// the peer's own directory (a guest may write below its `data`, and nowhere else by default).
//
//   DIR/generation   written by every new peer process: 1, 2, 3 ... after each death
//   DIR/request      "SEQ VERB ARG..."         written by the tests
//   DIR/reply        "SEQ ERRNO WORD..."       written by the peer; ERRNO 0 means done
//
// Words hold no spaces; bytes travel as hexadecimal ("-" when there are none). The verbs are listed
// in peer/commands.cpp.
#pragma once

#include <charconv>
#include <concepts>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace vmsg::contract {

inline constexpr std::string_view kGenerationNode = "/generation";
inline constexpr std::string_view kRequestNode = "/request";
inline constexpr std::string_view kReplyNode = "/reply";

inline std::vector<std::string> split_words(std::string_view line) {
  std::vector<std::string> words;
  while (!line.empty()) {
    const auto end = line.find(' ');
    if (end != 0) words.emplace_back(line.substr(0, end));
    if (end == std::string_view::npos) break;
    line.remove_prefix(end + 1);
  }
  return words;
}

template <std::integral Number>
Number to_number(std::string_view word) {
  Number number{};
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size())
    throw std::invalid_argument("not a number: " + std::string(word));
  return number;
}

inline std::string to_hex(std::string_view bytes) {
  static constexpr std::string_view kDigits = "0123456789abcdef";
  if (bytes.empty()) return "-";
  std::string hex;
  for (const char byte : bytes) {
    const auto value = static_cast<unsigned char>(byte);
    hex += kDigits[value >> 4U];
    hex += kDigits[value & 0xfU];
  }
  return hex;
}

inline std::string from_hex(std::string_view hex) {
  std::string bytes;
  if (hex == "-") return bytes;
  if (hex.size() % 2 != 0) throw std::invalid_argument("odd number of hexadecimal digits");
  for (std::size_t i = 0; i < hex.size(); i += 2) {
    unsigned value = 0;
    const auto [end, error] = std::from_chars(hex.data() + i, hex.data() + i + 2, value, 16);
    if (error != std::errc() || end != hex.data() + i + 2)
      throw std::invalid_argument("not hexadecimal: " + std::string(hex));
    bytes += static_cast<char>(value);
  }
  return bytes;
}

}  // namespace vmsg::contract
