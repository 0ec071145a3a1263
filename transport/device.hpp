// A virtio device as the message layer sees it: its virtio semantics and nothing of messages,
// grants or ports. devices/ implements Device; DeviceEndpoint speaks virtio-msg for it; whatever
// runs its queues (backend/, or a fake in tests) implements QueueHost.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "transport/features.hpp"

namespace vmsg {

struct DeviceIdentity {
  std::uint32_t device_id = 0;  // virtio device type, never 0
  std::uint32_t vendor_id = 0;
  std::array<std::uint8_t, 16> uuid{};  // RFC 4122 byte order, all zero for none
  std::uint32_t config_size = 0;
  std::uint32_t max_virtqueues = 0;  // admin queues included
  std::uint32_t admin_vq_start = 0;
  std::uint32_t admin_vq_count = 0;
};

struct SharedMemoryRegion {
  std::uint64_t length = 0;
  std::uint64_t address = 0;
};

enum class ConfigWrite : std::uint8_t {
  kRefused,                 // nothing was applied
  kApplied,                 // exactly the addressed bytes changed
  kAppliedWithSideEffects,  // other visible bytes changed too: a new generation is due
};

/// One virtio device. All members are called on the control thread. Nothing here depends on what
/// a guest's memory holds.
class Device {
 public:
  Device() = default;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;
  virtual ~Device() = default;

  /// Constant for the device's life.
  [[nodiscard]] virtual const DeviceIdentity& identity() const = 0;

  /// The device type's own bits; the ring and transport bits are added by the endpoint's options.
  [[nodiscard]] virtual FeatureSet device_features() const = 0;

  /// Judges a selection that is already a subset of what is offered. Dependencies between the
  /// type's own bits are its to check.
  [[nodiscard]] virtual bool accepts(const FeatureSet& selection) const = 0;

  /// FEATURES_OK was confirmed with this selection.
  virtual void features_negotiated(const FeatureSet& selection) = 0;

  /// A power of two up to 32768, constant between resets; 0 when the queue is not implemented.
  [[nodiscard]] virtual std::uint32_t max_queue_size(std::uint32_t index) const = 0;

  /// Whether a queue that is implemented exists under this selection.
  [[nodiscard]] virtual bool has_queue(std::uint32_t index, const FeatureSet& selection) const = 0;

  /// `offset` + `out.size()` lies inside identity().config_size.
  virtual void read_config(std::uint32_t offset, std::span<std::byte> out) const = 0;

  /// Applies all of `bytes` or nothing. The range lies inside the configuration space.
  [[nodiscard]] virtual ConfigWrite write_config(std::uint32_t offset,
                                                 std::span<const std::byte> bytes) = 0;

  /// Whether all addressed bytes may be written in any state (console emerg_wr).
  [[nodiscard]] virtual bool is_always_writable(std::uint32_t offset, std::uint32_t length) const {
    static_cast<void>(offset);
    static_cast<void>(length);
    return false;
  }

  [[nodiscard]] virtual std::optional<SharedMemoryRegion> find_shared_memory(
      std::uint32_t shmid) const {
    static_cast<void>(shmid);
    return std::nullopt;
  }

  /// Back to the state after power-on, as far as the device type says so. Queues are gone already.
  virtual void reset() = 0;
};

struct QueueSetup {
  std::uint32_t index = 0;
  std::uint32_t size = 0;
  std::uint64_t descriptor_address = 0;  // claims of the driver, nonzero and aligned
  std::uint64_t driver_address = 0;
  std::uint64_t device_address = 0;
  FeatureSet features;  // the negotiated selection
};

enum class Release : std::uint8_t { kDone, kPending };

/// Where the queues of one device really are: mapped, served by a worker, given back.
/// kPending answers are followed by exactly one DeviceEndpoint::released().
class QueueHost {
 public:
  QueueHost() = default;
  QueueHost(const QueueHost&) = delete;
  QueueHost& operator=(const QueueHost&) = delete;
  virtual ~QueueHost() = default;

  /// Maps the areas. False when they are not memory that is shared with us or a limit is reached;
  /// nothing is kept then. The queue is not used before go_live().
  [[nodiscard]] virtual bool enable(const QueueSetup& setup) = 0;

  /// DRIVER_OK: serve the enabled queues, looking once at each. Queues enabled later are live at
  /// once, and looked at once.
  virtual void go_live() = 0;

  /// A notification of the driver. `hint` is what EVENT_AVAIL carried, 0 without notification data.
  virtual void kick(std::uint32_t index, std::uint32_t hint) = 0;

  /// Broken or failed: take no more buffers and use none. Memory stays mapped until a release.
  virtual void stop() = 0;

  /// Really gives back everything of one queue.
  [[nodiscard]] virtual Release release(std::uint32_t index) = 0;

  /// Really gives back everything of the device.
  [[nodiscard]] virtual Release release_all() = 0;
};

}  // namespace vmsg
