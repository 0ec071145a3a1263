// What a person writes for one device: 'type=blk,target=/dev/vg0/guest1,access=ro'. The same words
// stand in the virtio_msg list of a guest's configuration and on vmsg's command line.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "transport/result.hpp"

namespace vmsg::tool {

struct DeviceSpec {
  std::string type;
  std::string backend = "0";  // name or id of the domain that serves it
  std::map<std::string, std::string, std::less<>> parameters;
};

/// The error says in words which part is wrong and what is allowed.
[[nodiscard]] Result<DeviceSpec, std::string> parse_device_spec(std::string_view text);

}  // namespace vmsg::tool
