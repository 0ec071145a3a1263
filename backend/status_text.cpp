#include "backend/status_text.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

namespace vmsg {
namespace {

// Keys keep the order in which they are written here.
using Json = nlohmann::ordered_json;

Json to_json(const NamedCounts& counts) {
  Json object = Json::object();
  for (const auto& [name, value] : counts) object[std::string(name)] = value;
  return object;
}

Json to_json(const OperationTotal& total) {
  return {{"operations", total.operations},
          {"bytes", total.bytes},
          {"errors", total.errors},
          {"latency_ns",
           {{"p50", total.latency.quantile_ns(0.5)},
            {"p90", total.latency.quantile_ns(0.9)},
            {"p99", total.latency.quantile_ns(0.99)},
            {"max", total.latency.bound_ns()}}}};
}

Json to_json(const QueueSnapshot& queue) {
  return {{"index", queue.index},
          {"size", queue.size},
          {"format", queue.is_packed ? "packed" : "split"},
          {"worker", queue.worker},
          {"has_port", queue.has_port},
          {"turns", queue.turns},
          {"chains", queue.chains},
          {"kicks", queue.kicks},
          {"notifications", queue.notifications},
          {"suppressed", queue.suppressed}};
}

Json to_json(const DeviceSnapshot& device) {
  Json counters = Json::object();
  for (const auto& [name, total] : device.totals.operations) counters[name] = to_json(total);
  Json published = Json::object();
  for (const auto& [name, value] : device.published) published[name] = value;
  Json numbers = Json::object();
  for (const auto& [name, value] : device.totals.numbers) numbers[name] = value;
  Json queues = Json::array();
  for (const QueueSnapshot& queue : device.queues) queues.push_back(to_json(queue));
  Json object{{"number", device.number}, {"type", device.type}, {"status", device.status}};
  if (!device.error.empty()) object["error"] = device.error;
  object["driver_status"] = device.driver_status;
  object["features_offered"] = features_text(device.features_offered);
  object["features"] = features_text(device.features);
  object["published"] = std::move(published);
  object["counters"] = std::move(counters);
  object["numbers"] = std::move(numbers);
  object["messages"] = to_json(device.messages);
  object["dropped"] = to_json(device.dropped);
  object["queues"] = std::move(queues);
  return object;
}

Json to_json(const BusSnapshot& bus) {
  Json counters = to_json(bus.counters);
  counters["ring_full_ns"] = bus.ring_full_ns;
  counters["log_lines_held_back"] = bus.log_lines_held_back;
  counters["dropped"] = to_json(bus.dropped);
  Json devices = Json::array();
  for (const DeviceSnapshot& device : bus.devices) devices.push_back(to_json(device));
  Json object{{"guest", bus.guest}, {"bus", bus.bus}, {"state", bus.state}};
  if (!bus.error.empty()) object["error"] = bus.error;
  object["frames_in"] = bus.frames_in;
  object["frames_out"] = bus.frames_out;
  object["counters"] = std::move(counters);
  object["devices"] = std::move(devices);
  return object;
}

}  // namespace

std::string features_text(const FeatureSet& features) {
  std::string digits;
  for (std::size_t block = kFeatureBlocks; block > 0; --block) {
    const std::uint32_t word = features.word(block - 1);
    if (!digits.empty()) {
      digits += fmt::format("{:08x}", word);
    } else if (word != 0) {
      digits = fmt::format("{:x}", word);
    }
  }
  return "0x" + (digits.empty() ? "0" : digits);
}

std::string status_text(const Snapshot& snapshot, std::string_view version,
                        std::optional<std::uint16_t> guest) {
  Json workers = Json::array();
  for (const WorkerSnapshot& worker : snapshot.workers) {
    workers.push_back(
        {{"number", worker.number}, {"queues", worker.queues}, {"turns", worker.turns}});
  }
  Json buses = Json::array();
  for (const BusSnapshot& bus : snapshot.buses) {
    if (!guest || bus.guest == *guest) buses.push_back(to_json(bus));
  }
  const Json status{{"version", version},
                    {"domain", snapshot.domain},
                    {"uptime_seconds", snapshot.uptime_seconds},
                    {"workers", std::move(workers)},
                    {"buses", std::move(buses)}};
  // Words that came from xenstore may be no UTF-8.
  return status.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace vmsg
