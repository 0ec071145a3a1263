// What an administrator may say about an entropy device.
#pragma once

#include <cstdint>
#include <string>

#include "devices/device_parameters.hpp"
#include "transport/result.hpp"

namespace vmsg::rng {

struct RngOptions {
  /// Bytes a second for the guest, 0 for no limit. A second's worth may be drawn at once.
  std::uint64_t bytes_per_second = 0;
};

[[nodiscard]] Result<RngOptions, std::string> parse_options(const DeviceParameters& parameters);

}  // namespace vmsg::rng
