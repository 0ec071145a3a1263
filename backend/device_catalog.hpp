// From what the toolstack wrote in xenstore to a device: which class serves which type. What each
// type's parameters may be is devices/device_types' business.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "devices/background_thread.hpp"
#include "devices/device_parameters.hpp"
#include "devices/net/network_script.hpp"
#include "devices/open_error.hpp"
#include "devices/queue_service.hpp"
#include "devices/rng/entropy_source.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Where a device will be, for the names of what it makes on the host.
struct DeviceContext {
  std::uint16_t guest = 0;
  std::uint32_t bus = 0;
  std::uint16_t number = 0;
};

/// create() may be called on any thread.
class DeviceCatalog {
 public:
  /// `scripts` outlives it; null: there are none to be had.
  explicit DeviceCatalog(net::NetworkScripts* scripts) : scripts_(scripts) {}

  /// Opens what stands behind the device, which may take a while.
  [[nodiscard]] Result<std::unique_ptr<ServedDevice>, OpenError> create(
      std::string_view type, const DeviceParameters& parameters, const DeviceContext& context);

  /// Takes back what such a device of a process that was killed left on the host under a name that
  /// leads elsewhere now. Before the first create().
  static void remove_leftovers(std::string_view type, const DeviceParameters& parameters);

 private:
  [[nodiscard]] Result<std::unique_ptr<ServedDevice>, OpenError> create_net(
      const DeviceParameters& parameters, const DeviceContext& context);

  net::NetworkScripts* scripts_;
  BackgroundThread background_;
  rng::KernelEntropy entropy_;
};

}  // namespace vmsg
