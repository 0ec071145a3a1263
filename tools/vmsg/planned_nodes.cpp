#include "tools/vmsg/planned_nodes.hpp"

#include <fmt/format.h>

#include <map>
#include <optional>

#include "xenbus-glue/device_nodes.hpp"

namespace vmsg::tool {
namespace {

/// Domains that have no id yet get one that no domain can have, and their name in the text.
class Placeholders {
 public:
  xen::DomainId add(const std::string& name) {
    for (const auto& [id, known] : names_) {
      if (known == name) return id;
    }
    const auto id = static_cast<xen::DomainId>(xen::kFirstReservedDomain + 0x1000 + names_.size());
    names_.emplace(id, name);
    return id;
  }

  [[nodiscard]] std::string replace_in_path(std::string_view path) const {
    std::string text;
    while (!path.empty()) {
      const auto slash = path.find('/');
      text += replace(path.substr(0, slash));
      if (slash == std::string_view::npos) break;
      text += '/';
      path.remove_prefix(slash + 1);
    }
    return text;
  }

 private:
  [[nodiscard]] std::string replace(std::string_view component) const {
    for (const auto& [id, name] : names_) {
      if (component == fmt::format("{}", id)) return fmt::format("<{}>", name);
    }
    return std::string(component);
  }

  std::map<xen::DomainId, std::string> names_;
};

}  // namespace

std::vector<std::string> planned_nodes(
    const GuestPlan& plan,
    const std::function<std::optional<xen::DomainId>(std::string_view)>& backend_id) {
  std::vector<std::string> lines;
  Placeholders placeholders;
  const xen::DomainId guest = placeholders.add(plan.name);
  const auto add = [&](const std::vector<xen::NodeValue>& nodes, bool has_paths_as_values) {
    for (const auto& [path, value] : nodes) {
      lines.push_back(
          fmt::format("  {} = \"{}\"", placeholders.replace_in_path(path.text()),
                      has_paths_as_values ? placeholders.replace_in_path(value) : value));
    }
  };
  std::map<std::string, xen::BusId> buses;
  std::uint16_t number = 0;
  for (const PlannedDevice& device : plan.devices) {
    const std::string& backend = device.spec.backend;
    auto found = buses.find(backend);
    if (found == buses.end()) {
      const auto id = backend_id(backend);
      const xen::BusId bus{id ? *id : placeholders.add(backend), guest,
                           static_cast<std::uint32_t>(buses.size())};
      found = buses.emplace(backend, bus).first;
      lines.push_back(fmt::format("bus to {}", backend));
      add(xen::nodes_of_new_bus(bus), true);
    }
    lines.push_back(device.where);
    add(xen::nodes_of_new_device({found->second, number++}, device.spec.type,
                                 device.spec.parameters),
        false);
  }
  return lines;
}

}  // namespace vmsg::tool
