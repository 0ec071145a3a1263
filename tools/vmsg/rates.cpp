#include "tools/vmsg/rates.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <tuple>

#include "tools/vmsg/device_words.hpp"
#include "tools/vmsg/table.hpp"

namespace vmsg::tool {
namespace {

using nlohmann::json;

/// What has been counted of one device since it was attached.
struct Totals {
  std::string type;
  std::string status;
  double operations = 0;
  double bytes = 0;
  double errors = 0;
  double kicks = 0;
  double notifications = 0;
  std::optional<double> p50;
  std::optional<double> p99;
};
using Key = std::tuple<unsigned, unsigned, unsigned>;

json list_member(const json& object, std::string_view key) {
  json list = member(object, key);
  return list.is_array() ? list : json::array();
}

unsigned number(const json& object, std::string_view key) {
  const double value = member_number(object, key);
  return value >= 0 && value < 4e9 ? static_cast<unsigned>(value) : 0;
}

Totals add_up(const json& device) {
  Totals totals{.type = member_text(device, "type"),
                .status = member_text(device, "status"),
                .p50 = {},
                .p99 = {}};
  double most = 0;
  const json counters = member(device, "counters");
  for (const json& operation : counters) {
    if (!operation.is_object()) continue;
    const double count = member_number(operation, "operations");
    totals.operations += count;
    totals.bytes += member_number(operation, "bytes");
    totals.errors += member_number(operation, "errors");
    const json latency = member(operation, "latency_ns");
    if (count <= most || !latency.contains("p50") || !latency.contains("p99")) continue;
    most = count;
    totals.p50 = member_number(latency, "p50");
    totals.p99 = member_number(latency, "p99");
  }
  for (const json& queue : list_member(device, "queues")) {
    totals.kicks += member_number(queue, "kicks");
    totals.notifications += member_number(queue, "notifications");
  }
  return totals;
}

std::map<Key, Totals> totals_of(const json& status) {
  std::map<Key, Totals> all;
  for (const json& bus : list_member(status, "buses")) {
    for (const json& device : list_member(bus, "devices")) {
      all[{number(bus, "guest"), number(bus, "bus"), number(device, "number")}] = add_up(device);
    }
  }
  return all;
}

std::string rate_text(const std::optional<double>& rate) {
  if (!rate) return "-";
  return fmt::format("{:.{}f}", *rate, *rate > 0 && *rate < 10 ? 1 : 0);
}

std::string time_text(const std::optional<double>& nanoseconds) {
  return nanoseconds ? duration_words(*nanoseconds) : "-";
}

}  // namespace

std::vector<DeviceRates> rates_between(const json& before, const json& after, double seconds) {
  const auto earlier = totals_of(before);
  std::vector<DeviceRates> rates;
  for (const auto& [key, now] : totals_of(after)) {
    DeviceRates device;
    std::tie(device.guest, device.bus, device.device) = key;
    device.type = now.type;
    device.status = now.status;
    device.p50 = now.p50;
    device.p99 = now.p99;
    if (const auto then = earlier.find(key); then != earlier.end() && seconds > 0) {
      // A counter that went back belongs to a device that was made anew: it counts from zero.
      const auto rate = [&](double Totals::* total) {
        const double from = now.*total < then->second.*total ? 0 : then->second.*total;
        return (now.*total - from) / seconds;
      };
      device.operations = rate(&Totals::operations);
      device.bytes = rate(&Totals::bytes);
      device.errors = rate(&Totals::errors);
      device.kicks = rate(&Totals::kicks);
      device.notifications = rate(&Totals::notifications);
    }
    rates.push_back(std::move(device));
  }
  // The busiest first; those alike in the order of their numbers.
  std::ranges::sort(rates, [](const DeviceRates& a, const DeviceRates& b) {
    const auto key = [](const DeviceRates& device) {
      return std::tuple(-device.operations.value_or(0), -device.bytes.value_or(0), device.guest,
                        device.bus, device.device);
    };
    return key(a) < key(b);
  });
  return rates;
}

std::string rates_table(const std::vector<DeviceRates>& rates,
                        const std::vector<std::string>& guests, std::size_t lines) {
  using Align = Table::Align;
  Table table({{"GUEST"},
               {"DEV", Align::kRight},
               {"TYPE"},
               {"STATUS"},
               {"OPS/s", Align::kRight},
               {"BYTES/s", Align::kRight},
               {"ERRORS/s", Align::kRight},
               {"P50", Align::kRight},
               {"P99", Align::kRight},
               {"KICKS/s", Align::kRight},
               {"NOTIFIED/s", Align::kRight}});
  for (std::size_t i = 0; i < rates.size() && i + 1 < lines; ++i) {
    const DeviceRates& device = rates[i];
    table.add({guests[i], fmt::format("{}", device.device), device.type, device.status,
               rate_text(device.operations), device.bytes ? size_words(*device.bytes) : "-",
               rate_text(device.errors), time_text(device.p50), time_text(device.p99),
               rate_text(device.kicks), rate_text(device.notifications)});
  }
  return table.to_text();
}

json to_json(const DeviceRates& rates, const std::string& guest) {
  const auto optional = [](const std::optional<double>& value) {
    return value ? json(*value) : json(nullptr);
  };
  return {{"guest", guest},
          {"guest_id", rates.guest},
          {"bus", rates.bus},
          {"device", rates.device},
          {"type", rates.type},
          {"status", rates.status},
          {"operations_per_second", optional(rates.operations)},
          {"bytes_per_second", optional(rates.bytes)},
          {"errors_per_second", optional(rates.errors)},
          {"kicks_per_second", optional(rates.kicks)},
          {"notifications_per_second", optional(rates.notifications)},
          {"p50_ns", optional(rates.p50)},
          {"p99_ns", optional(rates.p99)}};
}

}  // namespace vmsg::tool
