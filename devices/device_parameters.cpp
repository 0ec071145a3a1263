#include "devices/device_parameters.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <array>
#include <charconv>
#include <utility>

namespace vmsg {
namespace {

std::optional<std::uint64_t> parse_number(std::string_view text) {
  std::uint64_t value = 0;
  const char* const begin = text.begin();
  const char* const end = text.end();
  const auto parsed = std::from_chars(begin, end, value);
  if (parsed.ec != std::errc{} || parsed.ptr != end) return std::nullopt;
  return value;
}

}  // namespace

std::optional<std::uint64_t> parse_size(std::string_view text) {
  constexpr std::string_view kSuffixes = "KMGT";
  unsigned shift = 0;
  if (!text.empty()) {
    const char last = text.back();
    const char upper = last >= 'a' && last <= 'z' ? static_cast<char>(last - 'a' + 'A') : last;
    if (const auto at = kSuffixes.find(upper); at != std::string_view::npos) {
      shift = 10 * (static_cast<unsigned>(at) + 1);
      text.remove_suffix(1);
    }
  }
  const auto value = parse_number(text);
  if (!value || (*value << shift) >> shift != *value) return std::nullopt;
  return *value << shift;
}

const std::string* ParameterReader::find(std::string_view name) {
  known_.emplace(name);
  const auto found = parameters_.find(name);
  return found == parameters_.end() ? nullptr : &found->second;
}

std::optional<std::string> ParameterReader::text(std::string_view name) {
  const std::string* const value = find(name);
  return value == nullptr ? std::nullopt : std::optional(*value);
}

std::string ParameterReader::required_text(std::string_view name) {
  auto value = text(name);
  if (!value || value->empty()) complain(fmt::format("{}=... is missing", name));
  return std::move(value).value_or(std::string{});
}

std::uint64_t ParameterReader::number(std::string_view name, std::uint64_t fallback, Range range) {
  const std::string* const text = find(name);
  if (text == nullptr) return fallback;
  const auto value = parse_number(*text);
  if (value && *value >= range.least && *value <= range.most) return *value;
  complain(fmt::format("{}='{}': a number from {} to {} is allowed", name, *text, range.least,
                       range.most));
  return fallback;
}

std::uint64_t ParameterReader::size(std::string_view name, std::uint64_t fallback, Range range) {
  const std::string* const text = find(name);
  if (text == nullptr) return fallback;
  const auto value = parse_size(*text);
  if (value && *value >= range.least && *value <= range.most) return *value;
  complain(
      fmt::format("{}='{}': a number of bytes from {} to {} is allowed, perhaps with K, M, G "
                  "or T behind it",
                  name, *text, range.least, range.most));
  return fallback;
}

bool ParameterReader::flag(std::string_view name, bool fallback) {
  // In pairs: what means yes, then what means no.
  constexpr std::array<std::string_view, 8> kWords{"on",   "off",   "yes", "no",
                                                   "true", "false", "1",   "0"};
  const std::string* const text = find(name);
  if (text == nullptr) return fallback;
  for (std::size_t i = 0; i < kWords.size(); ++i) {
    if (*text == kWords[i]) return i % 2 == 0;
  }
  complain(fmt::format("{}='{}': on or off is allowed", name, *text));
  return fallback;
}

std::size_t ParameterReader::choice(std::string_view name, std::size_t fallback,
                                    std::initializer_list<std::string_view> allowed) {
  const std::string* const text = find(name);
  if (text == nullptr) return fallback;
  std::size_t at = 0;
  for (const std::string_view word : allowed) {
    if (*text == word) return at;
    ++at;
  }
  complain(fmt::format("{}='{}': one of {} is allowed", name, *text, fmt::join(allowed, ", ")));
  return fallback;
}

void ParameterReader::complain(std::string text) {
  if (complaint_.empty()) complaint_ = std::move(text);
}

Result<void, std::string> ParameterReader::finish() {
  for (const auto& [name, value] : parameters_) {
    if (!known_.contains(name)) {
      complain(fmt::format("no parameter '{}'; there are: {}", name, fmt::join(known_, ", ")));
    }
  }
  if (!complaint_.empty()) return std::unexpected(complaint_);
  return {};
}

}  // namespace vmsg
