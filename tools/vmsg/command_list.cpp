// vmsg list and show: what devices there are, from xenstore, and what the daemon of this domain
// says about them.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/control_client.hpp"
#include "tools/vmsg/device_words.hpp"
#include "tools/vmsg/small_file.hpp"
#include "tools/vmsg/table.hpp"
#include "transport/message_text.hpp"

namespace vmsg::tool {
namespace {

using nlohmann::json;

json to_json(const ListedDevice& device) {
  json entry{{"guest", device.guest},
             {"guest_id", device.id.bus.driver_domain},
             {"backend", device.backend},
             {"backend_id", device.id.bus.device_domain},
             {"bus", device.id.bus.bus},
             {"bus_state", xen::to_string(device.bus_state)},
             {"device", device.id.number},
             {"type", printable(device.node.type)},
             {"status", xen::to_string(device.node.status)},
             {"parameters", json::object()},
             {"published", json::object()}};
  for (const auto& [key, value] : device.node.parameters) {
    entry["parameters"][key] = printable(value, 1024);
  }
  for (const auto& [key, value] : device.node.published) {
    entry["published"][key] = printable(value, 1024);
  }
  if (!device.node.error.empty()) entry["error"] = printable(device.node.error, 1024);
  if (!device.bus_error.empty()) entry["bus_error"] = device.bus_error;
  return entry;
}

std::string details_of(const ListedDevice& device) {
  std::string details = printable(device.node.error);
  const auto add = [&](std::string_view key, std::string_view value) {
    details += fmt::format("{}{}={}", details.empty() ? "" : " ", key, printable(value));
  };
  for (const auto& [key, value] : device.node.parameters) add(key, value);
  for (const auto& [key, value] : device.node.published) add(key, value);
  return details;
}

// ---- show ---------------------------------------------------------------------------------------

void line(std::string_view name, std::string_view value) {
  fmt::print("{:<18}{}\n", name, value.empty() ? "-" : value);
}

// No device is without VIRTIO_F_VERSION_1: none at all means that no driver has come so far.
std::string feature_line(const std::string& type, const std::string& text) {
  std::uint64_t features = 0;
  const std::string_view digits =
      std::string_view(text).starts_with("0x") ? std::string_view(text).substr(2) : "";
  const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), features, 16);
  if (digits.empty() || parsed.ec != std::errc{}) return text;
  if (features == 0) return "";
  return fmt::format("{} {}", text, feature_words(type, features));
}

void print_counters(const json& counters) {
  Table table({{"OPERATION"},
               {"COUNT", Table::Align::kRight},
               {"BYTES", Table::Align::kRight},
               {"ERRORS", Table::Align::kRight},
               {"P50", Table::Align::kRight},
               {"P90", Table::Align::kRight},
               {"P99", Table::Align::kRight},
               {"MAX", Table::Align::kRight}});
  std::string numbers;
  bool has_operations = false;
  for (const auto& [name, value] : counters.items()) {
    if (!value.is_object()) {
      numbers += fmt::format("{:<18}{}\n", printable(name), member_text(counters, name));
      continue;
    }
    has_operations = true;
    const json latency = member(value, "latency_ns");
    const auto time = [&](std::string_view key) {
      return latency.contains(key) ? duration_words(member_number(latency, key)) : "-";
    };
    table.add({printable(name), member_text(value, "operations"), member_text(value, "bytes"),
               member_text(value, "errors"), time("p50"), time("p90"), time("p99"), time("max")});
  }
  if (has_operations) fmt::print("\n{}", table.to_text());
  if (!numbers.empty()) fmt::print("\n{}", numbers);
}

void print_queues(const json& queues) {
  if (!queues.is_array() || queues.empty()) return;
  Table table({{"QUEUE", Table::Align::kRight},
               {"SIZE", Table::Align::kRight},
               {"FORMAT"},
               {"WORKER", Table::Align::kRight},
               {"PORT"},
               {"TURNS", Table::Align::kRight},
               {"CHAINS", Table::Align::kRight},
               {"KICKS", Table::Align::kRight},
               {"NOTIFIED", Table::Align::kRight},
               {"SUPPRESSED", Table::Align::kRight}});
  for (const json& queue : queues) {
    const auto text = [&](std::string_view key) { return member_text(queue, key); };
    table.add({text("index"), text("size"), text("format"), text("worker"), text("has_port"),
               text("turns"), text("chains"), text("kicks"), text("notifications"),
               text("suppressed")});
  }
  fmt::print("\n{}", table.to_text());
}

void print_device(const ListedDevice& device, const json& bus, const json& live) {
  line("guest", fmt::format("{} ({})", device.guest, device.id.bus.driver_domain));
  line("device", fmt::format("{} on bus {}", device.id.number, device.id.bus.bus));
  line("type", printable(device.node.type));
  line("backend", fmt::format("{} ({})", device.backend, device.id.bus.device_domain));
  line("status", xen::to_string(device.node.status));
  if (!device.node.error.empty()) line("error", printable(device.node.error, 1024));
  line("bus state", xen::to_string(device.bus_state));
  if (!device.bus_error.empty()) line("bus error", device.bus_error);
  for (const auto& [key, value] : device.node.parameters) {
    line("  " + key, printable(value, 1024));
  }
  for (const auto& [key, value] : device.node.published) {
    line("  " + key, printable(value, 1024) + " (published)");
  }
  line("xenstore", device.id.directory().text());
  if (!live.is_object()) return;
  const std::string type = printable(device.node.type);
  line("driver status",
       live.contains("driver_status")
           ? device_status_text(static_cast<std::uint32_t>(member_number(live, "driver_status")))
           : "-");
  line("features offered", feature_line(type, member_text(live, "features_offered")));
  line("features", feature_line(type, member_text(live, "features")));
  line("messages", fmt::format("{} in, {} out (of the bus)", member_text(bus, "frames_in"),
                               member_text(bus, "frames_out")));
  print_queues(member(live, "queues"));
  print_counters(member(live, "counters"));
}

}  // namespace

int list(const ListOptions& options) {
  return with_toolstack([&](Toolstack& toolstack) {
    std::optional<xen::DomainId> guest;
    if (!options.guest.empty()) {
      const auto found = toolstack.find_domain(options.guest);
      if (!found) return complain(kExitFailed, found.error());
      guest = *found;
    }
    const auto devices = toolstack.list(guest);
    if (!devices) return complain(kExitFailed, devices.error());
    if (options.json) {
      auto all = json::array();
      for (const ListedDevice& device : *devices) all.push_back(to_json(device));
      fmt::print("{}\n", all.dump(2));
      return 0;
    }
    Table table({{"GUEST"},
                 {"DEV", Table::Align::kRight},
                 {"TYPE"},
                 {"BACKEND"},
                 {"BUS"},
                 {"STATUS"},
                 {"DETAILS"}});
    for (const ListedDevice& device : *devices) {
      table.add({device.guest, fmt::format("{}", device.id.number), printable(device.node.type),
                 device.backend, std::string(xen::to_string(device.bus_state)),
                 std::string(xen::to_string(device.node.status)), details_of(device)});
    }
    fmt::print("{}", table.to_text());
    return 0;
  });
}

int show(const ListOptions& options) {
  return with_guest(options.guest, [&](Toolstack& toolstack, xen::DomainId guest) {
    const auto device = toolstack.find_device(guest, options.device);
    if (!device) return complain(kExitFailed, device.error());
    const auto status = read_daemon_status(options.socket);
    const xen::BusId& id = device->id.bus;
    const json bus =
        status ? find_bus(*status, id.device_domain, id.driver_domain, id.bus) : json{};
    const json live = find_device(bus, device->id.number);
    if (options.json) {
      json all = to_json(*device);
      all["daemon"] = live;
      fmt::print("{}\n", all.dump(2));
    } else {
      print_device(*device, bus, live);
    }
    // What is missing is said, and no failure: a driver domain's daemon has its socket over there.
    if (!status) {
      complain(0, status.error() + "; shown is what xenstore knows");
    } else if (live.is_null()) {
      complain(0, fmt::format("the vmsgd at {} does not serve this device; shown is what xenstore "
                              "knows",
                              options.socket));
    }
    return 0;
  });
}

}  // namespace vmsg::tool
