// The devices that a guest's configuration asks for, all judged before any is attached.
#pragma once

#include <string>
#include <vector>

#include "tools/vmsg/device_spec.hpp"
#include "tools/vmsg/domain_config.hpp"
#include "tools/vmsg/named_devices.hpp"
#include "transport/result.hpp"

namespace vmsg::tool {

struct PlannedDevice {
  std::string where;  // "guest.cfg: virtio_msg entry 1 ('type=rng')"
  DeviceSpec spec;
};

struct GuestPlan {
  std::string name;
  std::vector<PlannedDevice> devices;
};

/// What is wrong with devices together that are right each by itself.
[[nodiscard]] std::vector<Problem> find_conflicts(const std::vector<PlannedDevice>& devices);

/// Every problem of the file is found, not the first one alone.
[[nodiscard]] Result<GuestPlan, std::vector<Problem>> plan_guest(const DomainConfig& config,
                                                                 const NamedDevices& named);

}  // namespace vmsg::tool
