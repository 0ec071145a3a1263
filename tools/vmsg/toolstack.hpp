// The toolstack's view of xenstore: domains by name, and the devices that this project attaches.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
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
  std::string bus_error;
};

/// A device that could not be attached.
struct AttachFailure {
  std::optional<std::size_t> device;  // its place in the list, when one device is to blame
  Failure what;
};

[[nodiscard]] Failure no_such_domain(std::string_view name_or_id);

class Toolstack {
 public:
  using Clock = std::chrono::steady_clock;

  static Result<std::unique_ptr<Toolstack>, Failure> open();

  /// Waiting ends early, as a failure, when this descriptor becomes readable. Not owned.
  void cancel_on(int fd) { cancel_fd_ = fd; }

  /// A domain id, or the name of a running domain. None: no such domain runs.
  [[nodiscard]] Result<std::optional<xen::DomainId>, Failure> look_for_domain(
      std::string_view name_or_id);
  /// The same for whom it must be there.
  [[nodiscard]] Result<xen::DomainId, Failure> find_domain(std::string_view name_or_id);
  /// Whether the domain runs, or is about to. Its nodes alone say nothing: they may come before it
  /// and stay after it.
  [[nodiscard]] Result<bool, Failure> is_introduced(xen::DomainId domain);
  [[nodiscard]] std::string name_of(xen::DomainId domain);
  /// All domains that xenstore knows.
  [[nodiscard]] Result<std::vector<xen::DomainId>, Failure> domains();

  /// Writes the devices to xenstore, all or none, and the buses that are missing; does not wait.
  /// `backends` has the domain that serves each of them.
  [[nodiscard]] Result<std::vector<xen::DeviceNodeId>, AttachFailure> write_devices(
      xen::DomainId guest, std::span<const DeviceSpec> specs,
      std::span<const xen::DomainId> backends);

  /// Looks for their backends, writes them, and waits until the device sides have taken all of
  /// them. On failure nothing of them is left.
  [[nodiscard]] Result<std::vector<xen::DeviceNodeId>, AttachFailure> attach(
      xen::DomainId guest, std::span<const DeviceSpec> specs, std::chrono::seconds patience);

  /// Waits until the device is gone. A guest that refuses is an error, and the device stays. A bus
  /// goes with its last device.
  [[nodiscard]] Result<void, Failure> detach(const xen::DeviceNodeId& device, bool force,
                                             std::chrono::seconds patience);

  /// Asks the device side to look at what stands behind the device again, and waits until it has.
  [[nodiscard]] Result<void, Failure> resize(const xen::DeviceNodeId& device,
                                             std::chrono::seconds patience);

  /// Takes devices back that were written, whatever has become of them, and their buses with the
  /// last one.
  void take_back(std::span<const xen::DeviceNodeId> devices);

  /// Ends a bus that has no devices: asks its device side to, and removes what is left. A bus with
  /// devices, or one that is gone, is left alone.
  void retire_bus(const xen::BusId& bus);

  /// Waits until the device sides have removed all buses of a guest that is gone; removes by itself
  /// what is left then.
  void clean_up_after(xen::DomainId guest, std::chrono::milliseconds patience);

  /// Of one guest, or of all.
  [[nodiscard]] Result<std::vector<ListedDevice>, Failure> list(std::optional<xen::DomainId> guest);

  /// The device that `number` names on the guest's buses.
  [[nodiscard]] Result<ListedDevice, Failure> find_device(xen::DomainId guest,
                                                          std::uint16_t number);

  [[nodiscard]] xen::Store& store() { return *store_; }
  [[nodiscard]] xen::Watches& watches() { return watches_; }

 private:
  enum class Wait : std::uint8_t { kDone, kTimeout, kCancelled };

  explicit Toolstack(std::unique_ptr<xen::Store> store);

  /// Waits until `is_done` says so, looking again whenever something below one of the paths
  /// changes.
  [[nodiscard]] Result<Wait, Failure> wait_for(std::span<const xen::Path> paths,
                                               std::chrono::milliseconds patience,
                                               const std::function<bool()>& is_done);
  [[nodiscard]] Result<Wait, Failure> wait_for(const xen::Path& path,
                                               std::chrono::milliseconds patience,
                                               const std::function<bool()>& is_done) {
    return wait_for(std::span(&path, 1), patience, is_done);
  }
  [[nodiscard]] Result<std::vector<xen::DomainId>, AttachFailure> find_backends(
      std::span<const DeviceSpec> specs);
  [[nodiscard]] Result<std::vector<xen::BusId>, Failure> buses_of(xen::DomainId guest);

  std::unique_ptr<xen::Store> store_;
  xen::Watches watches_;
  int cancel_fd_ = -1;
};

}  // namespace vmsg::tool
