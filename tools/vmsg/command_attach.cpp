// vmsg attach, detach, resize: one device of a running guest.
#include <fmt/format.h>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/stop_signals.hpp"

namespace vmsg::tool {
namespace {

int with_device(
    const DeviceOptions& options,
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

int attach(const DeviceOptions& options) {
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

int detach(const DeviceOptions& options) {
  return with_device(options, [&](Toolstack& toolstack, const xen::DeviceNodeId& device) {
    return toolstack.detach(device, options.force, std::chrono::seconds(options.timeout));
  });
}

int resize(const DeviceOptions& options) {
  return with_device(options, [&](Toolstack& toolstack, const xen::DeviceNodeId& device) {
    return toolstack.resize(device, std::chrono::seconds(options.timeout));
  });
}

}  // namespace vmsg::tool
