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
#include <optional>
#include <span>
#include <vector>

#include "transport/bus_counters.hpp"
#include "transport/device.hpp"
#include "transport/device_status.hpp"
#include "transport/features.hpp"
#include "transport/frame_sink.hpp"
#include "transport/message.hpp"
#include "transport/queue_setup.hpp"
#include "transport/result.hpp"

namespace vmsg {

struct EndpointOptions {
  /// Which of the device-independent bits to offer besides VERSION_1 and ACCESS_PLATFORM, which
  /// always are: INDIRECT_DESC, EVENT_IDX, RING_PACKED, IN_ORDER, ORDER_PLATFORM, RING_RESET, and
  /// NOTIFICATION_DATA where EVENT_AVAIL reaches the device unchanged. Other bits are left out.
  FeatureSet ring_features;
  bool notification_data_allowed = false;
  bool strict_config_generation = false;
  std::uint32_t max_message_size = kRecommendedMaxMessageSize;
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

  /// The same for a frame that parse_frame() already looked at with this bus's maximum size.
  void on_frame(const Frame& frame);

  /// Whether an answer is held: RESET_VQUEUE or a device reset waits for released(), or such an
  /// answer waits for room in the sink. No further frame of this device may be handled until then.
  [[nodiscard]] bool is_busy() const { return held_.has_value(); }

  // ---- happenings on the device's side ------------------------------------------------------

  /// What QueueHost answered with Release::kPending is done. Not from within a call of QueueHost,
  /// and nothing when nothing is pending.
  void released();

  /// The reset that is held takes too long: answers it with the old status, so that the driver
  /// polls. The device is not busy any more; status 0 shows once released() was called. Without a
  /// held reset, nothing.
  void answer_pending_reset();

  /// Where the generation count goes on from: for a device that is taken over from a process before
  /// this one. Before the first frame.
  void set_config_generation(std::uint32_t generation) { generation_ = generation; }

  /// Bytes of the configuration space changed, and not because the driver wrote them. Call it
  /// together with the change, before any frame is handled.
  void config_changed();

  /// The device cannot go on: DEVICE_NEEDS_RESET. Repeated calls change nothing.
  void needs_reset();

  /// Buffers of a queue were used and its driver wants to know, by message.
  void used(std::uint32_t queue);

  /// The device is about to be taken away: no more events, no more use of its queues. Nothing but
  /// its destruction may follow.
  void stop();

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
  [[nodiscard]] bool is_resetting() const { return is_resetting_; }
  [[nodiscard]] QueueState queue_state(std::uint32_t index) const;
  [[nodiscard]] const EndpointCounters& counters() const { return counters_; }

 private:
  /// A response that must wait. Two requests can have one: RESET_VQUEUE, and SET_DEVICE_STATUS(0).
  struct HeldAnswer {
    MessageAddress to;
    bool is_queue_reset = false;
    bool is_ready = false;  // only room in the sink is missing
  };

  struct Queue {
    std::uint32_t max_size = 0;  // 0: not implemented
    std::uint32_t size = 0;      // 0: idle
    bool is_enabled = false;
    bool wants_used = false;  // an EVENT_USED waits for room
    bool is_linked = false;   // in the list of those that wait or waited
    std::uint32_t next_linked = 0;
    std::uint64_t descriptor_addr = 0;
    std::uint64_t driver_addr = 0;
    std::uint64_t device_addr = 0;
  };

  DeviceEndpoint(std::uint16_t number, Device& device, QueueHost& queues, FrameSink& sink,
                 const EndpointOptions& options);

  // One function a message.
  void handle(MessageAddress from, const GetDeviceInfoRequest& request);
  void handle(MessageAddress from, const GetDeviceFeaturesRequest& request);
  void handle(MessageAddress from, const SetDriverFeaturesRequest& request);
  void handle(MessageAddress from, const GetConfigRequest& request);
  void handle(MessageAddress from, const SetConfigRequest& request);
  void handle(MessageAddress from, const GetDeviceStatusRequest& request);
  void handle(MessageAddress from, const SetDeviceStatusRequest& request);
  void handle(MessageAddress from, const GetVqueueRequest& request);
  void handle(MessageAddress from, const SetVqueueRequest& request);
  void handle(MessageAddress from, const ResetVqueueRequest& request);
  void handle(MessageAddress from, const GetShmRequest& request);
  void handle(MessageAddress from, const EventAvail& event);

  [[nodiscard]] bool has_status(std::uint32_t bits) const { return (status_ & bits) == bits; }
  [[nodiscard]] bool is_spoiled() const;
  [[nodiscard]] bool may_announce_config() const;
  [[nodiscard]] bool may_set_up_queues() const;
  [[nodiscard]] bool accepts_selection() const;
  [[nodiscard]] bool is_available(std::uint32_t index) const;

  [[nodiscard]] bool update_selection(const SetDriverFeaturesRequest& request);
  [[nodiscard]] bool write_config(const SetConfigRequest& request);
  [[nodiscard]] bool set_up_queue(const SetVqueueRequest& request);
  [[nodiscard]] bool may_reset_queue(std::uint32_t index) const;
  [[nodiscard]] QueueFormat queue_format() const;
  [[nodiscard]] std::uint32_t climb(std::uint32_t want);
  void stop_queues();
  [[nodiscard]] Release start_reset();
  void finish_reset();
  void forget(Queue& queue);
  void forget_unsent_events();

  template <typename Message>
  void respond(MessageAddress to, const Message& message);
  template <typename Message>
  void send_event(const Message& message);
  void send(const EncodeResult& frame);
  [[nodiscard]] bool send_held_answer();
  [[nodiscard]] bool send_used_events();

  std::uint16_t number_;
  Device& device_;
  QueueHost& host_;
  FrameSink& sink_;
  DeviceIdentity identity_;
  FeatureSet offered_;
  std::uint32_t feature_blocks_;
  bool is_strict_;

  std::uint32_t status_ = 0;
  std::uint32_t generation_ = 0;
  FeatureSet selection_;
  bool is_unsatisfiable_ = false;         // something was selected that cannot be offered
  bool is_resetting_ = false;             // release_all() is pending
  bool is_stopped_ = false;               // the host was told to stop
  bool is_config_change_unsaid_ = false;  // happened between DRIVER and DRIVER_OK
  bool wants_config_ = false;             // an EVENT_CONFIG waits for room
  std::optional<HeldAnswer> held_;

  std::vector<Queue> queues_;
  static constexpr std::uint32_t kNoQueue = UINT32_MAX;
  std::uint32_t first_linked_ = kNoQueue;
  std::uint32_t last_linked_ = kNoQueue;

  std::vector<std::byte> buffer_;           // of the maximum message size
  std::vector<std::byte> config_at_reset_;  // the space before a reset, to see what it changed
  EndpointCounters counters_;
};

template <typename Message>
void DeviceEndpoint::respond(MessageAddress to, const Message& message) {
  ++counters_.responses;
  send(encode(std::span<std::byte>(buffer_), to, message));
}

template <typename Message>
void DeviceEndpoint::send_event(const Message& message) {
  send(encode(std::span<std::byte>(buffer_), {.dev_num = number_, .token = 0}, message));
}

}  // namespace vmsg
