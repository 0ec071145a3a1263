// The toolstack's view of xenstore: domains by name, and the devices that this project attaches.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg/device_spec.hpp"
#include "transport/result.hpp"
#include "xenbus-glue/device_nodes.hpp"
#include "xenbus-glue/store.hpp"
#include "xenbus-glue/watches.hpp"

namespace vmsg::tool {

/// One line for the person who asked: what failed and why.
using Failure = std::string;

struct ListedDevice {
  xen::DeviceNodeId id;
  std::string guest;
  std::string backend;
  xen::DeviceNode node;
  xen::XenbusState bus_state{};
};

class Toolstack {
 public:
  static Result<std::unique_ptr<Toolstack>, Failure> open();

  /// A domain id, or the name of a running domain.
  [[nodiscard]] Result<xen::DomainId, Failure> find_domain(std::string_view name_or_id);
  [[nodiscard]] std::string name_of(xen::DomainId domain);

  /// Creates the bus if there is none, and the device; waits until the device side has taken it.
  /// On failure nothing of the device is left.
  [[nodiscard]] Result<xen::DeviceNodeId, Failure> attach(xen::DomainId guest,
                                                          const DeviceSpec& spec,
                                                          std::chrono::seconds patience);

  /// Waits until the device is gone. A guest that refuses is an error, and the device stays.
  [[nodiscard]] Result<void, Failure> detach(const xen::DeviceNodeId& device, bool force,
                                             std::chrono::seconds patience);

  /// Of one guest, or of all.
  [[nodiscard]] Result<std::vector<ListedDevice>, Failure> list(std::optional<xen::DomainId> guest);

  /// The device that `number` names on the guest's buses.
  [[nodiscard]] Result<xen::DeviceNodeId, Failure> find_device(xen::DomainId guest,
                                                               std::uint16_t number);

 private:
  enum class Wait : std::uint8_t { kDone, kTimeout };

  explicit Toolstack(std::unique_ptr<xen::Store> store);

  /// Waits until `is_done` says so, looking again whenever something below `path` changes.
  [[nodiscard]] Result<Wait, Failure> wait_for(const xen::Path& path, std::chrono::seconds patience,
                                               const std::function<bool()>& is_done);

  std::unique_ptr<xen::Store> store_;
  xen::Watches watches_;
};

}  // namespace vmsg::tool
