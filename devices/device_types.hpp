// The one list of the device types there are, for whoever judges what a toolstack wrote without
// opening anything. Which class serves a type is backend/device_catalog's business.
#pragma once

#include <string>
#include <string_view>

#include "devices/device_parameters.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Whether a device of this type can have these parameters. The error says in words what is wrong
/// with which parameter, and what is allowed.
[[nodiscard]] Result<void, std::string> check_parameters(std::string_view type,
                                                         const DeviceParameters& parameters);

/// "no device type 'x'; there are: ..."
[[nodiscard]] std::string unknown_type(std::string_view type);

}  // namespace vmsg
