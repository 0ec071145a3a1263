// vmsg: the toolstack side of virtio-msg on Xen, for people and scripts. This file is the command
// line; toolstack.hpp does the work.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <string>

#include "tools/vmsg/toolstack.hpp"

namespace {

using namespace vmsg::tool;  // NOLINT(google-build-using-namespace): this is their program
namespace xen = vmsg::xen;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

struct Options {
  std::string guest;
  std::string spec;
  std::uint16_t device = 0;
  bool force = false;
  bool json = false;
  unsigned timeout = 10;
};

int complain(int status, const std::string& what) {
  fmt::print(stderr, "vmsg: {}\n", what);
  return status;
}

int attach(Toolstack& toolstack, const Options& options) {
  const auto spec = parse_device_spec(options.spec);
  if (!spec) return complain(kExitUsage, spec.error());
  const auto guest = toolstack.find_domain(options.guest);
  if (!guest) return complain(kExitFailed, guest.error());
  const auto device = toolstack.attach(*guest, *spec, std::chrono::seconds(options.timeout));
  if (!device) return complain(kExitFailed, device.error());
  fmt::print("{}\n", device->number);
  return 0;
}

int detach(Toolstack& toolstack, const Options& options) {
  const auto guest = toolstack.find_domain(options.guest);
  if (!guest) return complain(kExitFailed, guest.error());
  const auto device = toolstack.find_device(*guest, options.device);
  if (!device) return complain(kExitFailed, device.error());
  const auto done = toolstack.detach(*device, options.force, std::chrono::seconds(options.timeout));
  return done ? 0 : complain(kExitFailed, done.error());
}

nlohmann::json to_json(const ListedDevice& device) {
  nlohmann::json entry{{"guest", device.guest},
                       {"guest_id", device.id.bus.driver_domain},
                       {"backend", device.backend},
                       {"backend_id", device.id.bus.device_domain},
                       {"bus", device.id.bus.bus},
                       {"bus_state", xen::to_string(device.bus_state)},
                       {"device", device.id.number},
                       {"type", device.node.type},
                       {"status", xen::to_string(device.node.status)},
                       {"parameters", device.node.parameters}};
  if (!device.node.error.empty()) entry["error"] = device.node.error;
  return entry;
}

int list(Toolstack& toolstack, const Options& options) {
  std::optional<xen::DomainId> guest;
  if (!options.guest.empty()) {
    const auto found = toolstack.find_domain(options.guest);
    if (!found) return complain(kExitFailed, found.error());
    guest = *found;
  }
  const auto devices = toolstack.list(guest);
  if (!devices) return complain(kExitFailed, devices.error());
  if (options.json) {
    auto all = nlohmann::json::array();
    for (const ListedDevice& device : *devices) all.push_back(to_json(device));
    fmt::print("{}\n", all.dump(2));
    return 0;
  }
  fmt::print("{:<20} {:>4} {:<8} {:<12} {:<14} {:<10} {}\n", "GUEST", "DEV", "TYPE", "BACKEND",
             "BUS", "STATUS", "DETAILS");
  for (const ListedDevice& device : *devices) {
    std::string details = device.node.error;
    for (const auto& [key, value] : device.node.parameters) {
      details += fmt::format("{}{}={}", details.empty() ? "" : " ", key, value);
    }
    fmt::print("{:<20} {:>4} {:<8} {:<12} {:<14} {:<10} {}\n", device.guest, device.id.number,
               device.node.type, device.backend, xen::to_string(device.bus_state),
               xen::to_string(device.node.status), details);
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Gives Xen guests virtio devices over virtio-msg, and takes them away"};
  app.require_subcommand(1);
  Options options;

  auto* attach_command = app.add_subcommand("attach", "Give a running guest a device");
  attach_command->add_option("GUEST", options.guest, "Name or id of the guest")->required();
  attach_command
      ->add_option("SPEC", options.spec, "The device: type=TYPE[,backend=DOMAIN][,KEY=VALUE...]")
      ->required();
  auto* detach_command = app.add_subcommand("detach", "Take a device away from a guest");
  detach_command->add_option("GUEST", options.guest, "Name or id of the guest")->required();
  detach_command->add_option("DEV", options.device, "Number of the device, as list shows it")
      ->required();
  detach_command->add_flag("--force", options.force, "At once, without asking the guest");
  auto* list_command = app.add_subcommand("list", "Show the devices of one guest, or of all");
  list_command->add_option("GUEST", options.guest, "Name or id of the guest");
  list_command->add_flag("--json", options.json, "For scripts");
  for (CLI::App* command : {attach_command, detach_command}) {
    command->add_option("--timeout", options.timeout, "Seconds to wait for the other side")
        ->check(CLI::Range(1U, 3600U))
        ->capture_default_str();
  }

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  auto toolstack = Toolstack::open();
  if (!toolstack) return complain(kExitFailed, toolstack.error());
  if (attach_command->parsed()) return attach(**toolstack, options);
  if (detach_command->parsed()) return detach(**toolstack, options);
  return list(**toolstack, options);
}
