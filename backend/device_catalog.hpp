// From what the toolstack wrote in xenstore to a device: the one list of the device types that
// this daemon has.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "devices/queue_service.hpp"
#include "devices/rng/entropy_source.hpp"
#include "transport/result.hpp"

namespace vmsg {

using DeviceParameters = std::map<std::string, std::string, std::less<>>;

class DeviceCatalog {
 public:
  /// The error says in words what is wrong with which parameter, and what is allowed.
  [[nodiscard]] Result<std::unique_ptr<ServedDevice>, std::string> create(
      std::string_view type, const DeviceParameters& parameters);

 private:
  rng::KernelEntropy entropy_;
};

}  // namespace vmsg
