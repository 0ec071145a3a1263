// vmsg attach, detach, resize: one device of a running guest.
#include <fmt/format.h>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/stop_signals.hpp"

namespace vmsg::tool {
namespace {

struct Options {
  std::string guest;
  std::string spec;
  std::uint16_t device = 0;
  bool force = false;
  unsigned timeout = 10;
};

int attach(const Options& options) {
  const auto spec = read_device_spec(options.spec);
  if (!spec) return complain(kExitUsage, to_text(spec.error()));
  const StopSignals stop;
  return with_guest(options.guest, [&](Toolstack& toolstack, xen::DomainId guest) {
    toolstack.cancel_on(stop.fd());
    const auto devices =
        toolstack.attach(guest, std::span(&*spec, 1), std::chrono::seconds(options.timeout));
    if (!devices) return complain(kExitFailed, devices.error().what);
    fmt::print("{}\n", devices->front().number);
    return 0;
  });
}

int with_device(
    const Options& options,
    const std::function<Result<void, Failure>(Toolstack&, const xen::DeviceNodeId&)>& work) {
  const StopSignals stop;
  return with_guest(options.guest, [&](Toolstack& toolstack, xen::DomainId guest) {
    const auto device = toolstack.find_device(guest, options.device);
    if (!device) return complain(kExitFailed, device.error());
    toolstack.cancel_on(stop.fd());
    const auto done = work(toolstack, device->id);
    return done ? 0 : complain(kExitFailed, done.error());
  });
}

}  // namespace

Command add_attach(CLI::App& parent) {
  auto options = std::make_shared<Options>();
  CLI::App* const command = parent.add_subcommand("attach", "Give a running guest a device");
  add_guest(*command, options->guest);
  command
      ->add_option("SPEC", options->spec, "The device: type=TYPE[,backend=DOMAIN][,KEY=VALUE...]")
      ->required();
  add_timeout(*command, options->timeout);
  command->footer("Prints the number of the device. Types and their keys: virtio_msg(5).");
  return {command, [options] { return attach(*options); }};
}

Command add_detach(CLI::App& parent) {
  auto options = std::make_shared<Options>();
  CLI::App* const command = parent.add_subcommand("detach", "Take a device away from a guest");
  add_guest(*command, options->guest);
  add_device(*command, options->device);
  command->add_flag("--force", options->force, "At once, without asking the guest");
  add_timeout(*command, options->timeout);
  return {
      command, [options] {
        return with_device(*options, [&](Toolstack& toolstack, const xen::DeviceNodeId& device) {
          return toolstack.detach(device, options->force, std::chrono::seconds(options->timeout));
        });
      }};
}

Command add_resize(CLI::App& parent) {
  auto options = std::make_shared<Options>();
  CLI::App* const command =
      parent.add_subcommand("resize", "Tell a guest that its disk has another size now");
  add_guest(*command, options->guest);
  add_device(*command, options->device);
  add_timeout(*command, options->timeout);
  command->footer("First change the file or volume itself (truncate, lvextend), then run this.");
  return {command, [options] {
            return with_device(
                *options, [&](Toolstack& toolstack, const xen::DeviceNodeId& device) {
                  return toolstack.resize(device, std::chrono::seconds(options->timeout));
                });
          }};
}

}  // namespace vmsg::tool
