#include "backend/device_catalog.hpp"

#include <utility>

#include "devices/blk/blk_device.hpp"
#include "devices/console/console_device.hpp"
#include "devices/device_types.hpp"
#include "devices/rng/rng_device.hpp"

namespace vmsg {

Result<std::unique_ptr<ServedDevice>, std::string> DeviceCatalog::create(
    std::string_view type, const DeviceParameters& parameters, const DeviceContext& context) {
  static_cast<void>(context);  // none of these makes something on the host that needs a name
  if (type == "blk") {
    const auto options = blk::parse_options(parameters);
    if (!options) return std::unexpected(options.error());
    return blk::BlkDevice::open(*options);
  }
  if (type == "console") {
    const auto options = console::parse_options(parameters);
    if (!options) return std::unexpected(options.error());
    return console::ConsoleDevice::create(*options);
  }
  if (type == "rng") {
    const auto options = rng::parse_options(parameters);
    if (!options) return std::unexpected(options.error());
    return std::make_unique<rng::RngDevice>(*options, entropy_);
  }
  return std::unexpected(unknown_type(type));
}

}  // namespace vmsg
