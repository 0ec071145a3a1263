// vmsg-guest probe: what is on the bus.
#include <fmt/format.h>

#include <memory>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {
namespace {

std::string_view type_name(std::uint32_t device_id) {
  switch (device_id) {
    case 1:
      return "net";
    case 2:
      return "blk";
    case 3:
      return "console";
    case 4:
      return "rng";
    default:
      return "other";
  }
}

}  // namespace

int complain(const Failure& what) {
  fmt::print(stderr, "vmsg-guest: {}\n", what);
  return kExitFailed;
}

Result<std::unique_ptr<GuestDevice>, Failure> find_device(GuestLink& link,
                                                          const CommandOptions& options,
                                                          std::uint32_t device_id,
                                                          std::string_view what) {
  const std::set<std::uint16_t> numbers = link.devices();
  DeviceChoice choice = options.device;
  choice.features_of = device_id;
  for (const std::uint16_t number : numbers) {
    if (options.number && *options.number != number) continue;
    auto device = std::make_unique<GuestDevice>(link, number, choice);
    if (auto up = device->bring_up(); !up) {
      return std::unexpected(fmt::format("device {}: {}", number, up.error()));
    }
    if (device->state().info().device_id == device_id) return device;
    if (auto stopped = device->stop(); !stopped) return std::unexpected(stopped.error());
  }
  return std::unexpected(options.number ? fmt::format("device {} is no {}", *options.number, what)
                                        : fmt::format("there is no {}", what));
}

int run_probe(const CommandOptions& options) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  fmt::print("{:>5} {:<8} {:>9} {:>7} {:>7}  {}\n", "DEV", "TYPE", "DEVICE-ID", "QUEUES", "CONFIG",
             "FEATURES");
  int status = 0;
  const std::set<std::uint16_t> numbers = (*link)->devices();
  for (const std::uint16_t number : numbers) {
    GuestDevice device(**link, number, {});
    if (auto up = device.bring_up(); !up) {
      status = complain(fmt::format("device {}: {}", number, up.error()));
      continue;
    }
    const auto& info = device.state().info();
    const FeatureSet& offered = device.state().offered();
    fmt::print("{:>5} {:<8} {:>9} {:>7} {:>7}  {:08x}{:08x}\n", number, type_name(info.device_id),
               info.device_id, info.max_virtqueues, info.config_size, offered.word(1),
               offered.word(0));
    if (auto stopped = device.stop(); !stopped) {
      status = complain(fmt::format("device {}: {}", number, stopped.error()));
    }
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
