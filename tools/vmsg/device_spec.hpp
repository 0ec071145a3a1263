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

  friend bool operator==(const DeviceSpec&, const DeviceSpec&) = default;
};

/// What is wrong with a specification, and what would be right.
struct SpecError {
  std::string key;   // empty when it is about the whole
  std::string what;  // in words; names the key and the value
  std::string hint;  // empty when `what` says it all

  friend bool operator==(const SpecError&, const SpecError&) = default;
};

/// "key: what (hint)", in one line.
[[nodiscard]] std::string to_text(const SpecError& error);

/// Reads the words and nothing more: that the type exists and takes these parameters is
/// check_device_spec()'s business.
[[nodiscard]] Result<DeviceSpec, SpecError> parse_device_spec(std::string_view text);

/// Whether the daemon would take a device with these parameters, as far as that can be told without
/// opening anything.
[[nodiscard]] Result<void, SpecError> check_device_spec(const DeviceSpec& spec);

/// Both.
[[nodiscard]] Result<DeviceSpec, SpecError> read_device_spec(std::string_view text);

}  // namespace vmsg::tool
