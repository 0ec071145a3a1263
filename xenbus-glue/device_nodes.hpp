// The xenstore nodes of the devices of a bus: /local/domain/<be>/virtio-msg/<fe>/<bus>/<dev_num>/.
// The toolstack writes them and asks for removal, the device side answers. The guest sees nothing
// of it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "xenbus-glue/bus_nodes.hpp"

namespace vmsg::xen {

struct DeviceNodeId {
  BusId bus;
  std::uint16_t number = 0;

  [[nodiscard]] Path directory() const;
  friend auto operator<=>(const DeviceNodeId&, const DeviceNodeId&) = default;
};

enum class AttachStatus : std::uint8_t { kNone, kAttaching, kAttached, kDetaching, kFailed };
[[nodiscard]] std::string_view to_string(AttachStatus status);

enum class DetachRequest : std::uint8_t { kNone, kGraceful, kForce };

/// A device as the toolstack wrote it.
struct DeviceNode {
  static constexpr std::size_t kMaxParameters = 64;
  static constexpr std::size_t kMaxValue = 1024;

  std::string type;
  std::map<std::string, std::string, std::less<>> parameters;  // all nodes but the ones below
  DetachRequest detach = DetachRequest::kNone;
  bool wants_refresh = false;  // what stands behind the device has changed: look at it again
  AttachStatus status = AttachStatus::kNone;
  std::string error;
  std::map<std::string, std::string, std::less<>> published;  // written by the device side
};

[[nodiscard]] Result<std::vector<std::uint16_t>, XenError> list_devices(StoreOps& store,
                                                                        const BusId& bus);
/// nullopt when there is no such device. A device without a valid `type` is malformed.
[[nodiscard]] Result<std::optional<DeviceNode>, NodeError> read_device(StoreOps& store,
                                                                       const DeviceNodeId& device);
/// Writes `status`, and `error` for kFailed (removes it otherwise).
[[nodiscard]] Result<void, XenError> write_device_status(StoreOps& store,
                                                         const DeviceNodeId& device,
                                                         AttachStatus status,
                                                         std::string_view error = {});
/// Facts that the administrator needs, each a node in `published`.
[[nodiscard]] Result<void, XenError> write_published(
    StoreOps& store, const DeviceNodeId& device,
    const std::vector<std::pair<std::string, std::string>>& facts);
/// Takes a request to look again back; `error` says why nothing was changed, or is empty.
[[nodiscard]] Result<void, XenError> answer_refresh(StoreOps& store, const DeviceNodeId& device,
                                                    std::string_view error);
[[nodiscard]] Result<void, XenError> remove_device(StoreOps& store, const DeviceNodeId& device);

/// Whether a parameter may have this name: a component of a path, and none of the nodes above.
[[nodiscard]] bool is_parameter_name(std::string_view name);
/// Whether a type may have this name. That there is such a type is another matter.
[[nodiscard]] bool is_type_name(std::string_view name);

/// What create_device() writes, for parameters with names that are allowed.
[[nodiscard]] std::vector<NodeValue> nodes_of_new_device(
    const DeviceNodeId& device, std::string_view type,
    const std::map<std::string, std::string, std::less<>>& parameters);

/// Toolstack, inside of transact(): EEXIST when the number is taken, EINVAL for a bad parameter
/// name, E2BIG for too many or too long ones.
[[nodiscard]] Result<void, XenError> create_device(
    StoreOps& store, const DeviceNodeId& device, std::string_view type,
    const std::map<std::string, std::string, std::less<>>& parameters);
[[nodiscard]] Result<void, XenError> request_detach(StoreOps& store, const DeviceNodeId& device,
                                                    DetachRequest how);
[[nodiscard]] Result<void, XenError> request_refresh(StoreOps& store, const DeviceNodeId& device);

}  // namespace vmsg::xen
