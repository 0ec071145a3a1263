#include "devices/device_types.hpp"

#include <fmt/format.h>

#include <array>

#include "devices/blk/blk_options.hpp"
#include "devices/console/console_options.hpp"
#include "devices/net/net_options.hpp"
#include "devices/rng/rng_options.hpp"

namespace vmsg {
namespace {

using Check = Result<void, std::string> (*)(const DeviceParameters&);

/// Reads the options and forgets them: only whether they can be read is asked.
template <auto parse>
Result<void, std::string> check_by(const DeviceParameters& parameters) {
  const auto options = parse(parameters);
  if (!options) return std::unexpected(options.error());
  return {};
}

struct DeviceType {
  std::string_view name;
  Check check;
};

constexpr std::array kTypes{
    DeviceType{"blk", check_by<blk::parse_options>},
    DeviceType{"console", check_by<console::parse_options>},
    DeviceType{"net", check_by<net::parse_options>},
    DeviceType{"rng", check_by<rng::parse_options>},
};

}  // namespace

Result<void, std::string> check_parameters(std::string_view type,
                                           const DeviceParameters& parameters) {
  for (const DeviceType& known : kTypes) {
    if (known.name == type) return known.check(parameters);
  }
  return std::unexpected(unknown_type(type));
}

std::string unknown_type(std::string_view type) {
  std::string names;
  for (const DeviceType& known : kTypes) {
    names += names.empty() ? "" : ", ";
    names += known.name;
  }
  return fmt::format("no device type '{}'; there are: {}", type, names);
}

}  // namespace vmsg
