#include "backend/device_catalog.hpp"

#include <fmt/format.h>

#include <utility>

#include "devices/blk/blk_device.hpp"
#include "devices/console/console_device.hpp"
#include "devices/console/host_stream.hpp"
#include "devices/device_types.hpp"
#include "devices/net/net_device.hpp"
#include "devices/net/net_options.hpp"
#include "devices/net/stream_host.hpp"
#include "devices/net/tap_host.hpp"
#include "devices/rng/rng_device.hpp"

namespace vmsg {
namespace {

std::unexpected<OpenError> refused(std::string words) {
  return std::unexpected(OpenError{.words = std::move(words)});
}

}  // namespace

Result<std::unique_ptr<ServedDevice>, OpenError> DeviceCatalog::create(
    std::string_view type, const DeviceParameters& parameters, const DeviceContext& context) {
  if (type == "blk") {
    const auto options = blk::parse_options(parameters);
    if (!options) return refused(options.error());
    return blk::BlkDevice::open(*options);
  }
  if (type == "console") {
    const auto options = console::parse_options(parameters);
    if (!options) return refused(options.error());
    auto created = console::ConsoleDevice::create(*options);
    if (!created) return refused(created.error());
    return std::move(*created);
  }
  if (type == "net") return create_net(parameters, context);
  if (type == "rng") {
    const auto options = rng::parse_options(parameters);
    if (!options) return refused(options.error());
    return std::make_unique<rng::RngDevice>(*options, entropy_);
  }
  return refused(unknown_type(type));
}

void DeviceCatalog::remove_leftovers(std::string_view type, const DeviceParameters& parameters) {
  // A disk's claim and a network interface go with the process.
  if (type != "console") return;
  if (const auto options = console::parse_options(parameters)) console::remove_leftovers(*options);
}

Result<std::unique_ptr<ServedDevice>, OpenError> DeviceCatalog::create_net(
    const DeviceParameters& parameters, const DeviceContext& context) {
  auto options = net::parse_options(parameters);
  if (!options) return refused(options.error());
  // A guest has one bus as a rule; the names of the interfaces on it are short then.
  const std::string place =
      context.bus == 0 ? fmt::format("{}.{}", context.guest, context.number)
                       : fmt::format("{}.{}.{}", context.guest, context.bus, context.number);
  if (!options->mac) options->mac = net::default_mac(place);
  auto host = options->socket.empty()
                  ? net::TapHost::open(*options, "vmsg" + place, background_, scripts_)
                  : net::StreamHost::open(*options);
  if (!host) return refused(host.error());
  return std::make_unique<net::NetDevice>(*options, *options->mac, std::move(*host));
}

}  // namespace vmsg
