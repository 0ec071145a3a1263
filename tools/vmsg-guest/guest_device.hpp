// One virtio device as vmsg-guest drives it: brought up, its queues in memory that is shared with
// the device side, and waiting for things in order. The protocol is transport/driver_device.hpp.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "tools/vmsg-guest/guest_buffers.hpp"
#include "tools/vmsg-guest/guest_link.hpp"
#include "transport/driver_device.hpp"
#include "transport/driver_queue.hpp"

namespace vmsg::guest {

/// A virtqueue in pages that the device side may map, with a pool of pages for buffers beside it.
struct GuestQueue {
  std::uint32_t index = 0;
  xen::SharedPages descriptors;
  xen::SharedPages driver;
  xen::SharedPages device;
  std::unique_ptr<DriverQueue> queue;
  xen::Port port;
  bool was_used = false;  // the device side said so since it was last looked at
};

struct DeviceChoice {
  FeatureSet features;                       // of the device type
  std::optional<std::uint32_t> features_of;  // only of this one, whose bits they are
  bool packed = false;
  bool event_idx = true;
  bool indirect = true;
  bool in_order = false;
  bool queue_channels = true;
};

class GuestDevice final : private DriverDeviceListener {
 public:
  GuestDevice(GuestLink& link, std::uint16_t number, const DeviceChoice& choice);
  ~GuestDevice() override;

  /// Up to FEATURES_OK.
  Result<void, Failure> bring_up();
  Result<GuestQueue*, Failure> add_queue(std::uint32_t index, std::uint32_t size);
  Result<void, Failure> go_live();
  /// Resets the device; its queues are gone then.
  Result<void, Failure> stop();
  Result<std::vector<std::byte>, Failure> read_config();
  Result<void, Failure> write_config(std::uint32_t offset, std::span<const std::byte> bytes);

  /// Publishes what was added to the queue and kicks if the device wants it.
  void publish(GuestQueue& queue);
  /// The next used buffer if there is one already.
  Result<std::optional<UsedBuffer>, Failure> poll_used(GuestQueue& queue);
  /// Waits until one of the queues may have used buffers, or `patience` is over: false then.
  Result<bool, Failure> wait_any(std::span<GuestQueue* const> queues,
                                 std::chrono::nanoseconds patience);
  /// Waits for the next used buffer.
  Result<UsedBuffer, Failure> wait_used(GuestQueue& queue);

  /// Runs the loop until `is_done`; false when `patience` ran out first.
  Result<bool, Failure> run_until(const std::function<bool()>& is_done,
                                  std::chrono::nanoseconds patience);
  /// Waits until `is_done`, or the device or the link fails. `what` is for the complaint.
  Result<void, Failure> wait_until(const std::function<bool()>& is_done, std::string_view what) {
    return wait(is_done, what);
  }
  /// How often the device said that its configuration has changed by itself.
  [[nodiscard]] std::uint32_t config_changes() const { return config_changes_; }
  /// Why it cannot go on; empty while it can.
  [[nodiscard]] const Failure& failure() const { return failure_; }

  /// Pages for buffers; `access` is what the device may do.
  Result<GuestBuffers, Failure> share_buffers(std::uint32_t pages, Access access);

  [[nodiscard]] const DriverDevice& state() const { return device_; }

 private:
  FeatureSet select_features(const FeatureSet& offered) override;
  void ready_for_setup() override { is_ready_ = true; }
  void used(std::uint32_t queue) override;
  void config_changed(std::uint32_t) override { ++config_changes_; }
  void needs_reset() override { failure_ = "the device needs a reset"; }
  void was_reset() override {}
  void failed(DriverFailure why) override;
  void gone() override { failure_ = "the device is gone"; }

  /// Runs the loop until `is_done`, or the device or the link fails.
  Result<void, Failure> wait(const std::function<bool()>& is_done, std::string_view what);

  GuestLink& link_;
  const DeviceChoice choice_;
  bool is_ready_ = false;
  Failure failure_;
  std::uint32_t config_changes_ = 0;
  std::map<std::uint32_t, GuestQueue> queues_;
  DriverDevice device_;
};

}  // namespace vmsg::guest
