// The device side of one bus instance: which device numbers exist, the bus messages, and the way
// of every frame to its DeviceEndpoint. One object per connected bus; a bus that is connected anew
// gets a new one, so nothing of the old link is carried over.
//
// Memory is bounded whatever the driver side does: frames are only taken while there is room for
// the largest answer, events wait as flags, and frames for a device that is busy wait in a fixed
// number of places. Nothing is allocated per message; attach() and detach() allocate.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/bus_counters.hpp"
#include "transport/bus_host.hpp"
#include "transport/device_endpoint.hpp"
#include "transport/device_numbers.hpp"
#include "transport/frame_sink.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Constant for the life of a bus: agreed before the first frame.
struct BusOptions {
  std::uint32_t max_message_size = kRecommendedMaxMessageSize;  // 52..65535
  bool strict_config_generation = false;
  bool queue_event_channels = false;  // the driver side asked for them
  bool shared_regions = false;        // likewise
  std::uint32_t max_regions = 16;
  std::uint64_t max_region_pages = 16384;  // of all regions together
  std::uint32_t max_waiting_frames = 16;   // for busy devices, of all devices together
  Instant number_quarantine = DeviceNumbers::kDefaultQuarantine;
};

/// What both transport ends must know before the first transport message.
struct BusParameters {
  std::uint32_t revision;
  std::uint32_t max_message_size;
  std::uint64_t transport_features;
};

struct AttachOptions {
  FeatureSet ring_features;  // see EndpointOptions
  bool notification_data_allowed = false;
  /// False for devices that are there before the bus is connected: enumeration finds them.
  bool is_announced = true;
};

enum class AttachError : std::uint8_t {
  kNumberTaken,
  kNumberQuarantined,  // or something of the old device still waits for room: try again later
  kBadDevice,          // see DeviceEndpoint::create()
};

enum class Taken : std::uint8_t {
  kTaken,   // done with: answered, dropped, or kept until its device is free
  kNotNow,  // not looked at: offer the same frame again, see can_take_refused()
};

class BusEndpoint {
 public:
  /// nullptr when options.max_message_size is outside 52..65535. `host` and `sink` must outlive
  /// the endpoint.
  static std::unique_ptr<BusEndpoint> create(BusHost& host, FrameSink& sink,
                                             const BusOptions& options);
  BusEndpoint(const BusEndpoint&) = delete;
  BusEndpoint& operator=(const BusEndpoint&) = delete;
  ~BusEndpoint();

  [[nodiscard]] BusParameters parameters() const;

  // ---- devices ------------------------------------------------------------------------------

  /// Exposes a device. `device` and `queues` must outlive its detach(). The endpoint stays valid
  /// until then; its state is for looking at, what happens goes through the members below.
  Result<const DeviceEndpoint*, AttachError> attach(std::uint16_t number, Device& device,
                                                    QueueHost& queues, const AttachOptions& options,
                                                    Instant now);

  /// Takes a device off the bus at once: its unsent events and held answers are discarded, frames
  /// that waited for it find no device any more, and REMOVED is the last the driver side hears of
  /// it. Its queues are stopped; giving them back is the caller's, who also stops calling the
  /// members below for it. False when there is no such device. Not from within a call of Device or
  /// QueueHost.
  bool detach(std::uint16_t number, Instant now);

  /// The two halves of it, for queues that are still being given back. After withdraw() the number
  /// is listed but nobody answers; removed() lets the driver side hear of it, which then ends its
  /// grants of the queues: none may be in use any more.
  bool withdraw(std::uint16_t number);
  void removed(std::uint16_t number, Instant now);

  /// Asks the driver side to let go of a device within `seconds`. What it says comes by
  /// BusHost::ejected(); the time limit is the caller's. False when there is no such device.
  bool eject(std::uint16_t number, std::uint16_t seconds);

  [[nodiscard]] const DeviceEndpoint* find(std::uint16_t number) const;
  [[nodiscard]] std::size_t device_count() const;

  // ---- frames of the driver side ------------------------------------------------------------

  /// One frame as taken from the ring: a private copy, whose msg_size the ring checked or not.
  [[nodiscard]] Taken on_frame(std::span<const std::byte> delivered);

  /// Sends what waits for room and handles what waited for a device. Call it when the driver side
  /// made room. False when something still waits for room: ask to be told of more.
  bool flush();

  /// Whether an event, an answer or a frame that on_frame() refused waits for room in the sink.
  [[nodiscard]] bool wants_room() const;

  /// Whether a frame that on_frame() refused would be taken now: room was made, or a device is free
  /// again. To be asked after flush() and after released() and answer_pending_reset().
  [[nodiscard]] bool can_take_refused() const;

  // ---- happenings on the devices' side; for absent numbers, nothing -------------------------

  void released(std::uint16_t number);
  void answer_pending_reset(std::uint16_t number);
  void config_changed(std::uint16_t number);
  void needs_reset(std::uint16_t number);
  void used(std::uint16_t number, std::uint32_t queue);

  /// The end of what BusHost answered with kPending.
  void region_shared(std::uint32_t region, RegionAnswer answer);
  void region_unshared(std::uint32_t region);

  [[nodiscard]] const BusCounters& counters() const;

 private:
  struct Impl;
  explicit BusEndpoint(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace vmsg
