// The device side of virtio-msg for one device: the state machine that turns requests into
// responses and device happenings into events, for any Device. It knows nothing of what a device
// does, nor of how its queues are served; it decides what the protocol allows, when, and in which
// order.
//
// It is not a bus: frames come one at a time through on_frame(), and leave through a FrameSink.
// Nothing is allocated after creation, nothing blocks, no time passes in here.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "transport/bus_counters.hpp"
#include "transport/device.hpp"
#include "transport/device_status.hpp"
#include "transport/features.hpp"
#include "transport/frame_sink.hpp"
#include "transport/result.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg {

struct EndpointOptions {
  /// Which of the device-independent bits to offer besides VERSION_1 and ACCESS_PLATFORM, which
  /// always are: INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER, ORDER_PLATFORM, RING_RESET, and
  /// NOTIFICATION_DATA where EVENT_AVAIL reaches the device unchanged. Other bits are left out.
  FeatureSet ring_features;
  bool notification_data_allowed = false;
  bool strict_config_generation = false;
  std::uint16_t max_message_size = VIRTIO_MSG_RECOMMENDED_MAX_SIZE;
};

/// Why a Device cannot be put on a bus. Our configuration's fault or our bug, never a guest's.
enum class BadDevice : std::uint8_t {
  kNoDeviceId,
  kTooManyQueues,
  kAdminRange,    // outside the queues, or a start without a count
  kAdminFeature,  // ADMIN_VQ and admin queues do not come together
  kFeatures,      // a device-independent bit that is not the device's to offer
  kQueueSize,     // not a power of two up to 32768
  kMessageSize,   // of the bus: outside 52..65535
};

enum class QueueState : std::uint8_t { kUnavailable, kIdle, kConfigured, kEnabled };

class DeviceEndpoint {
 public:
  /// `device`, `queues` and `sink` must outlive the endpoint.
  static Result<std::unique_ptr<DeviceEndpoint>, BadDevice> create(std::uint16_t number,
                                                                   Device& device,
                                                                   QueueHost& queues,
                                                                   FrameSink& sink,
                                                                   const EndpointOptions& options);
  DeviceEndpoint(const DeviceEndpoint&) = delete;
  DeviceEndpoint& operator=(const DeviceEndpoint&) = delete;
  ~DeviceEndpoint() = default;

  /// One frame as delivered: a private copy, padding after msg_size allowed, any content. Call it
  /// only while !is_busy() and the sink has room for a frame of the maximum size. Sends exactly one
  /// response for a request, at once or (then is_busy()) later; drops and counts what is to be
  /// dropped.
  void on_frame(std::span<const std::byte> delivered);

  /// Whether an answer is held: RESET_VQUEUE or a device reset waits for released(), or an answer
  /// waits for room in the sink. No further frame of this device may be handled until then.
  [[nodiscard]] bool is_busy() const { return held_ != Held::kNothing; }

  // ---- happenings on the device's side ------------------------------------------------------

  /// What QueueHost answered with Release::kPending is done. Exactly once for each.
  void released();

  /// The reset that is held takes too long: answers it with the old status, so that the driver
  /// polls. The device is not busy any more; status 0 shows once released() was called. Without a
  /// held reset, nothing.
  void answer_pending_reset();

  /// Bytes of the configuration space changed, and not because the driver wrote them. Call it
  /// together with the change, before any frame is handled.
  void config_changed();

  /// The device cannot go on: DEVICE_NEEDS_RESET. Repeated calls change nothing.
  void needs_reset();

  /// Buffers of a queue were used and its driver wants to know, by message.
  void used(std::uint32_t queue);

  /// Sends what waits for room, as far as there is room. False when something is left.
  bool flush();

  // ---- what it is now -----------------------------------------------------------------------

  [[nodiscard]] std::uint16_t number() const { return number_; }
  /// As GET_DEVICE_STATUS reports it.
  [[nodiscard]] std::uint32_t status() const { return status_; }
  [[nodiscard]] std::uint32_t config_generation() const { return generation_; }
  [[nodiscard]] const FeatureSet& offered() const { return offered_; }
  [[nodiscard]] const FeatureSet& selection() const { return selection_; }
  [[nodiscard]] bool is_live() const;
  [[nodiscard]] bool is_resetting() const { return reset_pending_; }
  [[nodiscard]] QueueState queue_state(std::uint32_t index) const;
  [[nodiscard]] const EndpointCounters& counters() const { return counters_; }

 private:
  enum class Held : std::uint8_t { kNothing, kQueueReset, kDeviceReset, kForRoom };

  DeviceEndpoint(std::uint16_t number, Device& device, QueueHost& queues, FrameSink& sink,
                 const EndpointOptions& options);

  std::uint16_t number_;
  Device& device_;
  QueueHost& queues_;
  FrameSink& sink_;
  FeatureSet offered_;
  FeatureSet selection_;
  std::uint32_t status_ = 0;
  std::uint32_t generation_ = 0;
  bool reset_pending_ = false;
  Held held_ = Held::kNothing;
  EndpointCounters counters_;
};

}  // namespace vmsg
