#include "tools/vmsg/device_spec.hpp"

#include <fmt/format.h>

#include "xenbus-glue/store_path.hpp"

namespace vmsg::tool {
namespace {

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

}  // namespace

Result<DeviceSpec, std::string> parse_device_spec(std::string_view text) {
  DeviceSpec spec;
  std::string_view rest = text;
  while (!rest.empty()) {
    const auto comma = rest.find(',');
    const std::string_view part = trimmed(rest.substr(0, comma));
    rest = comma == std::string_view::npos ? std::string_view{} : rest.substr(comma + 1);
    if (part.empty()) continue;  // as xl: a trailing comma is no error

    const auto equals = part.find('=');
    if (equals == std::string_view::npos) {
      return std::unexpected(fmt::format("'{}': key=value is expected", part));
    }
    const std::string_view key = trimmed(part.substr(0, equals));
    const std::string_view value = trimmed(part.substr(equals + 1));
    if (!xen::Path::is_component(key)) {
      return std::unexpected(fmt::format("'{}': a key has letters, digits, - and _", key));
    }
    if (value.empty()) return std::unexpected(fmt::format("'{}': the value is missing", key));
    if (key == "type") {
      spec.type = value;
    } else if (key == "backend") {
      spec.backend = value;
    } else if (!spec.parameters.emplace(key, value).second) {
      return std::unexpected(fmt::format("'{}' is given twice", key));
    }
  }
  if (spec.type.empty()) {
    return std::unexpected(fmt::format("'{}': type=... is missing", text));
  }
  return spec;
}

}  // namespace vmsg::tool
