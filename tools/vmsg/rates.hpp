// What happened between two answers of the daemon: per device operations, bytes, kicks a second,
// and the latencies it reports. Pure.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

namespace vmsg::tool {

struct DeviceRates {
  unsigned guest = 0;
  unsigned bus = 0;
  unsigned device = 0;
  std::string type;
  std::string status;
  // A second. Nothing is known of a device that the earlier answer does not have.
  std::optional<double> operations;
  std::optional<double> bytes;
  std::optional<double> errors;
  std::optional<double> kicks;
  std::optional<double> notifications;
  // Over all operations of the device: that of the operation with the most of them. Nanoseconds.
  std::optional<double> p50;
  std::optional<double> p99;
};

/// `seconds` is the time between the answers. The busiest device first.
[[nodiscard]] std::vector<DeviceRates> rates_between(const nlohmann::json& before,
                                                     const nlohmann::json& after, double seconds);

/// The table that people see; `guests` has the name of the guest of each. At most `lines` lines.
[[nodiscard]] std::string rates_table(const std::vector<DeviceRates>& rates,
                                      const std::vector<std::string>& guests, std::size_t lines);

[[nodiscard]] nlohmann::json to_json(const DeviceRates& rates, const std::string& guest);

}  // namespace vmsg::tool
