// /etc/vmsg/devices.toml: devices by name, for the form of Xen 4.18 and newer in which xl itself
// hands a device on: virtio = [ 'type=vmsg-NAME,backend=...' ]. A table a device:
//
//   [root1]
//   type = "blk"
//   target = "/dev/vg0/guest1"
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg/device_spec.hpp"
#include "tools/vmsg/domain_config.hpp"
#include "transport/result.hpp"

namespace vmsg::tool {

using NamedDevices = std::map<std::string, DeviceSpec, std::less<>>;

constexpr const char* kDefaultNamedDevicesFile = "/etc/vmsg/devices.toml";

/// A file that is not there holds no devices. Problems name the file, the line and the key.
[[nodiscard]] Result<NamedDevices, std::vector<Problem>> read_named_devices(
    const std::string& file);
[[nodiscard]] Result<NamedDevices, std::vector<Problem>> parse_named_devices(
    std::string_view text, const std::string& file);

/// An entry of xl's `virtio` list.
struct VirtioEntry {
  std::string name;     // of ours: what follows "vmsg-" in its type; empty for somebody else's
  std::string backend;  // empty when it says none
};
[[nodiscard]] VirtioEntry parse_virtio_entry(std::string_view text);

/// The name in a type "vmsg-NAME"; nullopt for any other type.
[[nodiscard]] std::optional<std::string_view> name_in_type(std::string_view type);

}  // namespace vmsg::tool
