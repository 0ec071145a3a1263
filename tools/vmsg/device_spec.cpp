#include "tools/vmsg/device_spec.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>
#include <optional>
#include <set>
#include <vector>

#include "devices/device_types.hpp"
#include "xenbus-glue/device_nodes.hpp"

namespace vmsg::tool {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

std::unexpected<SpecError> wrong(std::string_view key, std::string what, std::string hint = {}) {
  return std::unexpected(
      SpecError{.key = std::string(key), .what = std::move(what), .hint = std::move(hint)});
}

bool is_printable(std::string_view text) {
  return std::ranges::all_of(text, [](char c) { return c >= ' ' && c <= '~'; });
}

/// How many letters have to be changed, added or left out to get from one word to the other.
std::size_t distance(std::string_view from, std::string_view to) {
  std::vector<std::size_t> row(to.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < from.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < to.size(); ++j) {
      const std::size_t changed = diagonal + (from[i] == to[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({changed, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

/// For "no ... 'wrod'; there are: word, other": the word that was probably meant.
std::optional<std::string_view> meant_word(std::string_view complaint) {
  constexpr std::string_view kNo = "no ";
  constexpr std::string_view kThereAre = "there are: ";
  const auto quote = complaint.find('\'');
  const auto list = complaint.find(kThereAre);
  if (!complaint.starts_with(kNo) || list == std::string_view::npos || quote > list) return {};
  std::string_view word = complaint.substr(quote + 1);
  word = word.substr(0, word.find('\''));
  std::optional<std::string_view> best;
  std::size_t best_distance = 1 + word.size() / 3;  // more than that is another word
  std::string_view rest = complaint.substr(list + kThereAre.size());
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const std::string_view candidate = trimmed(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (const std::size_t far = distance(word, candidate); far <= best_distance) {
      best = candidate;
      best_distance = far == 0 ? 0 : far - 1;
    }
  }
  return best;
}

}  // namespace

std::string to_text(const SpecError& error) {
  std::string text = error.key.empty() ? error.what : fmt::format("{}: {}", error.key, error.what);
  if (!error.hint.empty()) text += fmt::format(" ({})", error.hint);
  return text;
}

Result<DeviceSpec, SpecError> parse_device_spec(std::string_view text) {
  DeviceSpec spec;
  std::set<std::string_view> given;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const std::string_view part = trimmed(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (part.empty()) continue;  // as xl: a trailing comma is no error

    if (!is_printable(part)) {
      return wrong({}, "only printable ASCII characters are allowed");
    }
    const auto equals = part.find('=');
    if (equals == std::string_view::npos) {
      return wrong({}, fmt::format("'{}': key=value is expected", part),
                   "a value cannot have a comma in it");
    }
    const std::string_view key = trimmed(part.substr(0, equals));
    const std::string_view value = trimmed(part.substr(equals + 1));
    if (!xen::Path::is_component(key)) {
      return wrong({}, fmt::format("'{}': a key has letters, digits, - and _", key));
    }
    if (value.empty()) return wrong(key, "the value is missing", fmt::format("{}=...", key));
    if (value.size() > xen::DeviceNode::kMaxValue) {
      return wrong(key, fmt::format("the value has {} characters; {} are allowed", value.size(),
                                    xen::DeviceNode::kMaxValue));
    }
    if (!given.insert(key).second) return wrong(key, fmt::format("'{}' is given twice", key));
    if (key == "type") {
      spec.type = value;
    } else if (key == "backend") {
      spec.backend = value;
    } else if (!xen::is_parameter_name(key)) {
      return wrong(key, fmt::format("'{}' is no parameter: the daemon writes it", key));
    } else if (spec.parameters.size() == xen::DeviceNode::kMaxParameters) {
      return wrong(
          key, fmt::format("a device has at most {} parameters", xen::DeviceNode::kMaxParameters));
    } else {
      spec.parameters.emplace(key, value);
    }
  }
  if (spec.type.empty()) {
    return wrong("type", fmt::format("'{}': type=... is missing", text),
                 "type=blk,target=/dev/vg0/guest1");
  }
  if (!xen::is_type_name(spec.type)) {
    return wrong("type", fmt::format("'{}' is no name of a type", spec.type));
  }
  return spec;
}

Result<void, SpecError> check_device_spec(const DeviceSpec& spec) {
  const auto checked = check_parameters(spec.type, spec.parameters);
  if (checked) return {};
  const std::string& what = checked.error();
  const auto meant = meant_word(what);
  const std::string hint = meant ? fmt::format("'{}' was probably meant", *meant) : std::string{};
  // Complaints begin with the parameter that they are about: "rate='x': ...".
  for (const auto& [name, value] : spec.parameters) {
    if (what.starts_with(name + "=") || what.starts_with(fmt::format("no parameter '{}'", name))) {
      return wrong(name, what, hint);
    }
  }
  return wrong(what.starts_with("no device type") ? "type" : "", what, hint);
}

Result<DeviceSpec, SpecError> read_device_spec(std::string_view text) {
  auto spec = parse_device_spec(text);
  if (!spec) return spec;
  if (auto checked = check_device_spec(*spec); !checked) {
    return std::unexpected(std::move(checked).error());
  }
  return spec;
}

}  // namespace vmsg::tool
