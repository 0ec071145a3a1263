#include "xenbus-glue/device_nodes.hpp"

#include <array>
#include <cerrno>
#include <limits>
#include <utility>

#include "xenbus-glue/node_text.hpp"

namespace vmsg::xen {
namespace {

constexpr std::size_t kMaxTypeLength = 32;
constexpr std::size_t kMaxFacts = 16;
constexpr std::array<std::string_view, 6> kOwnNodes{"type",   "status", "error",
                                                    "detach", "resize", "published"};

bool is_own_node(std::string_view name) {
  for (const std::string_view own : kOwnNodes) {
    if (name == own) return true;
  }
  return false;
}

std::unexpected<NodeError> wrong(NodeFault fault, std::string_view node) {
  return std::unexpected(NodeError{fault, node, std::nullopt});
}

std::unexpected<NodeError> store_failed(std::string_view node, const XenError& error) {
  // A value that is too long is the writer's fault, not the store's.
  if (error.error == E2BIG) return wrong(NodeFault::kMalformed, node);
  return std::unexpected(NodeError{NodeFault::kStore, node, error});
}

AttachStatus parse_status(std::string_view text) {
  for (const AttachStatus status : {AttachStatus::kAttaching, AttachStatus::kAttached,
                                    AttachStatus::kDetaching, AttachStatus::kFailed}) {
    if (text == to_string(status)) return status;
  }
  return AttachStatus::kNone;
}

/// What the device side published. Facts come and go with it, so one that cannot be read is no
/// fault of the device.
std::map<std::string, std::string, std::less<>> read_published(StoreOps& store,
                                                               const Path& directory) {
  std::map<std::string, std::string, std::less<>> facts;
  const auto names = store.list(directory, kMaxFacts);
  if (!names) return facts;
  for (const std::string& name : *names) {
    const auto path = directory.child(name);
    if (!path) continue;
    auto value = store.find(*path, DeviceNode::kMaxValue);
    if (value && *value) facts.emplace(name, std::move(**value));
  }
  return facts;
}

DetachRequest parse_detach(std::string_view text) {
  if (text == "1") return DetachRequest::kGraceful;
  if (text == "force") return DetachRequest::kForce;
  return DetachRequest::kNone;
}

/// What one node below a device's directory says of it.
void take_node(StoreOps& store, const std::string& name, const Path& path, std::string value,
               DeviceNode& node) {
  if (name == "type") {
    node.type = std::move(value);
  } else if (name == "error") {
    node.error = std::move(value);
  } else if (name == "detach") {
    node.detach = parse_detach(value);
  } else if (name == "resize") {
    node.wants_refresh = true;
  } else if (name == "published") {
    node.published = read_published(store, path);
  } else {
    node.parameters.emplace(name, std::move(value));
  }
}

}  // namespace

Path DeviceNodeId::directory() const { return bus.devices_directory() / number; }

std::string_view to_string(AttachStatus status) {
  switch (status) {
    case AttachStatus::kNone:
      return "";
    case AttachStatus::kAttaching:
      return "attaching";
    case AttachStatus::kAttached:
      return "attached";
    case AttachStatus::kDetaching:
      return "detaching";
    case AttachStatus::kFailed:
      return "failed";
  }
  return "";
}

bool is_parameter_name(std::string_view name) {
  return Path::is_component(name) && !is_own_node(name);
}

bool is_type_name(std::string_view name) {
  return name.size() <= kMaxTypeLength && Path::is_component(name);
}

Result<std::vector<std::uint16_t>, XenError> list_devices(StoreOps& store, const BusId& bus) {
  const auto numbers =
      store.list_numbers(bus.devices_directory(), std::numeric_limits<std::uint16_t>::max());
  if (!numbers) return std::unexpected(numbers.error());
  std::vector<std::uint16_t> devices;
  devices.reserve(numbers->size());
  for (const std::uint32_t number : *numbers) devices.push_back(static_cast<std::uint16_t>(number));
  return devices;
}

Result<std::optional<DeviceNode>, NodeError> read_device(StoreOps& store,
                                                         const DeviceNodeId& device) {
  const Path directory = device.directory();
  // The status before all else: the device side writes what belongs to a status together with it,
  // so what is read from now on is at least as new. A status that is older by then has a watch.
  const auto status = store.find(directory / "status", DeviceNode::kMaxValue);
  if (!status) return store_failed("parameters", status.error());
  const auto names = store.list(directory, kOwnNodes.size() + DeviceNode::kMaxParameters);
  if (!names) return store_failed("parameters", names.error());
  const auto is_there = store.exists(directory);
  if (!is_there) return store_failed("parameters", is_there.error());
  if (!*is_there) return std::nullopt;

  DeviceNode node;
  bool has_changed = false;
  if (*status) node.status = parse_status(**status);
  for (const std::string& name : *names) {
    if (name == "status") continue;
    const auto path = directory.child(name);
    if (!path) continue;
    auto value = store.find(*path, DeviceNode::kMaxValue);
    const std::string_view literal = name == "type" ? "type" : "parameters";
    if (!value) return store_failed(literal, value.error());
    if (!*value) {  // removed since we listed it
      has_changed = true;
      continue;
    }
    take_node(store, name, *path, std::move(**value), node);
  }
  // Both are written in one transaction, after the children were listed perhaps.
  if (node.status == AttachStatus::kFailed && node.error.empty()) {
    auto error = store.find(directory / "error", DeviceNode::kMaxValue);
    if (!error) return store_failed("parameters", error.error());
    node.error = std::move(*error).value_or("");
  }
  // The rest of a device that is removed meanwhile says what nobody has written: half of a request,
  // an error without it.
  if (has_changed) {
    const auto is_still_there = store.exists(directory);
    if (!is_still_there) return store_failed("parameters", is_still_there.error());
    if (!*is_still_there) return std::nullopt;
  }
  if (node.type.empty()) return wrong(NodeFault::kMissing, "type");
  if (!is_type_name(node.type)) return wrong(NodeFault::kMalformed, "type");
  return node;
}

Result<void, XenError> write_device_status(StoreOps& store, const DeviceNodeId& device,
                                           AttachStatus status, std::string_view error) {
  const Path directory = device.directory();
  auto done = status == AttachStatus::kFailed ? store.write(directory / "error", one_line(error))
                                              : store.remove(directory / "error");
  if (!done) return done;
  return store.write(directory / "status", to_string(status));
}

Result<void, XenError> write_published(
    StoreOps& store, const DeviceNodeId& device,
    const std::vector<std::pair<std::string, std::string>>& facts) {
  const Path directory = device.directory() / "published";
  if (auto done = store.remove(directory); !done) return done;
  for (const auto& [name, value] : facts) {
    const auto path = directory.child(name);
    if (!path) return std::unexpected(XenError{XenCall::kStoreWrite, EINVAL, 0});
    if (auto done = store.write(*path, one_line(value)); !done) return done;
  }
  return {};
}

Result<void, XenError> answer_refresh(StoreOps& store, const DeviceNodeId& device,
                                      std::string_view error) {
  const Path directory = device.directory();
  auto done = error.empty() ? store.remove(directory / "error")
                            : store.write(directory / "error", one_line(error));
  if (!done) return done;
  return store.remove(directory / "resize");
}

Result<void, XenError> remove_device(StoreOps& store, const DeviceNodeId& device) {
  return store.remove(device.directory());
}

std::vector<NodeValue> nodes_of_new_device(
    const DeviceNodeId& device, std::string_view type,
    const std::map<std::string, std::string, std::less<>>& parameters) {
  const Path directory = device.directory();
  std::vector<NodeValue> nodes;
  for (const auto& [name, value] : parameters) {
    if (const auto path = directory.child(name)) nodes.push_back({*path, value});
  }
  nodes.push_back({directory / "type", std::string(type)});  // last: it makes the device complete
  return nodes;
}

Result<void, XenError> create_device(
    StoreOps& store, const DeviceNodeId& device, std::string_view type,
    const std::map<std::string, std::string, std::less<>>& parameters) {
  const auto refused = [&](int error) {
    return std::unexpected(XenError{XenCall::kStoreWrite, error, device.bus.driver_domain});
  };
  if (!is_type_name(type)) return refused(EINVAL);
  if (parameters.size() > DeviceNode::kMaxParameters) return refused(E2BIG);
  const Path directory = device.directory();
  const auto is_there = store.exists(directory);
  if (!is_there) return std::unexpected(is_there.error());
  if (*is_there) return refused(EEXIST);
  for (const auto& [name, value] : parameters) {
    if (!is_parameter_name(name)) return refused(EINVAL);
    if (value.size() > DeviceNode::kMaxValue) return refused(E2BIG);
  }
  for (const auto& [path, value] : nodes_of_new_device(device, type, parameters)) {
    if (auto done = store.write(path, value); !done) return done;
  }
  return {};
}

Result<void, XenError> request_detach(StoreOps& store, const DeviceNodeId& device,
                                      DetachRequest how) {
  const Path node = device.directory() / "detach";
  if (how == DetachRequest::kNone) return store.remove(node);
  return store.write(node, how == DetachRequest::kForce ? "force" : "1");
}

Result<void, XenError> request_refresh(StoreOps& store, const DeviceNodeId& device) {
  return store.write(device.directory() / "resize", "1");
}

}  // namespace vmsg::xen
