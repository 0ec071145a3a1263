// The driver side of one bus instance: finds the devices, carries their requests and events, and
// speaks the bus messages of virtio-msg and of its Xen binding. DriverDevice is what drives one
// device over it. The same for every driver side in userspace; no ring, no Xen, no clock in here.
//
//   frames of the device side      -> on_frame(frame, now)
//   frames to the device side      -> FrameSink (has_room() false makes things wait, never get
//   lost) the clock                      -> tick(now), no later than next_deadline() room was made
//   by the peer      -> flush(now), when wants_room()
//
// Callbacks come from within these calls. They may begin new requests; they must not destroy the
// bus, nor the device that they are about.
//
// Unlike the device side, this side takes every frame at any time: were both sides to wait for room
// before they take, two full rings would wait for each other for ever. What it owes the peer is
// bounded instead: answers to PING, beyond a few, are given up.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>

#include "transport/driver_enumeration.hpp"
#include "transport/driver_requests.hpp"
#include "transport/frame_sink.hpp"
#include "transport/message.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// What was agreed with the peer before the first frame, and our own limits.
struct DriverBusOptions {
  std::uint32_t revision = VIRTIO_MSG_REVISION_1;
  std::uint32_t max_message_size = kRecommendedMaxMessageSize;
  std::uint64_t transport_features = 0;
  RequestLimits limits{};
};

/// Why a bus instance is not attached to. The offending number stands in the options.
enum class BadBus : std::uint8_t { kRevision, kMaxMessageSize, kTransportFeatures };

class DriverBusListener {
 public:
  DriverBusListener() = default;
  DriverBusListener(const DriverBusListener&) = delete;
  DriverBusListener& operator=(const DriverBusListener&) = delete;
  virtual ~DriverBusListener() = default;

  /// A number has a device now; GET_DEVICE_INFO will tell what it is.
  virtual void device_appeared(std::uint16_t number) = 0;

  /// It has none any more. Its requests have failed and its client was told; nothing more is sent
  /// to it. The same number may appear again, as another device.
  virtual void device_gone(std::uint16_t number) = 0;

  /// Discovery is complete, or was given up; then what was known before stays known.
  virtual void enumerated(const Result<void, EnumerationError>& result) = 0;

  /// The device side would like to have a device back. Answer with DriverBus::ejected() within
  /// `seconds`, after the device was reset.
  virtual void eject_requested(std::uint16_t number, std::uint16_t seconds) = 0;
};

/// Who drives one device. Called by the bus.
class DriverBusClient {
 public:
  DriverBusClient() = default;
  DriverBusClient(const DriverBusClient&) = delete;
  DriverBusClient& operator=(const DriverBusClient&) = delete;
  virtual ~DriverBusClient() = default;

  /// EVENT_CONFIG or EVENT_USED.
  virtual void on_event(const DriverInbound& event, Instant now) = 0;
  /// The device is no longer there. The client is unregistered already.
  virtual void on_gone(RequestFailure why) = 0;
  virtual void on_tick(Instant now) = 0;
  [[nodiscard]] virtual std::optional<Instant> next_deadline() const = 0;
  /// Sends events that wait for room. False when some are left.
  [[nodiscard]] virtual bool flush() = 0;
};

struct DriverBusCounters {
  std::uint64_t frames = 0;
  std::uint64_t responses = 0;
  std::uint64_t late_responses = 0;  // nobody waited (any more)
  std::uint64_t bad_responses = 0;   // somebody waited for something else
  std::uint64_t events = 0;          // handed to a device
  std::uint64_t device_events = 0;   // EVENT_DEVICE that made us look again
  std::uint64_t pings_answered = 0;
  std::uint64_t pings_dropped = 0;
  std::uint64_t dropped = 0;  // every frame that was thrown away
};

class DriverBus {
 public:
  template <typename T>
  using Done = std::function<void(const Result<T, RequestFailure>&)>;

  /// `sink` and `listener` must outlive the bus.
  static Result<std::unique_ptr<DriverBus>, BadBus> create(FrameSink& sink,
                                                           DriverBusListener& listener,
                                                           const DriverBusOptions& options);
  DriverBus(const DriverBus&) = delete;
  DriverBus& operator=(const DriverBus&) = delete;
  ~DriverBus() = default;

  // ---- what goes on ---------------------------------------------------------------------------

  /// One frame as taken from the ring: a private copy.
  void on_frame(std::span<const std::byte> delivered, Instant now);
  void tick(Instant now);
  [[nodiscard]] std::optional<Instant> next_deadline() const;
  /// True when nothing waits for room any more.
  bool flush(Instant now);
  [[nodiscard]] bool wants_room() const { return wants_room_; }

  /// The link is gone: every request fails, every device is gone. Once there is a new link (behind
  /// the same sink), discover() starts anew.
  void lose_link(Instant now);

  // ---- the bus's own requests -------------------------------------------------------------------

  /// Finds the devices there are; the listener hears of each difference. Also happens by itself
  /// when the device side announces a change. While one runs, another follows it.
  void discover(Instant now);
  [[nodiscard]] bool has_device(std::uint16_t number) const { return present_.test(number); }

  /// Success is the peer's answer with the same data. Failure says something about the link only.
  Result<void, RequestFailure> ping(std::uint32_t data, Instant now, Done<void> done);
  /// Results: the status words of the binding.
  Result<void, RequestFailure> queue_event_channel(std::uint16_t dev_num, std::uint32_t vq_index,
                                                   std::uint32_t port, Instant now,
                                                   Done<std::uint16_t> done);
  Result<void, RequestFailure> share_region(std::uint32_t region, std::uint32_t pages,
                                            std::uint64_t address, Instant now,
                                            Done<std::uint32_t> done);
  Result<void, RequestFailure> unshare_region(std::uint32_t region, Instant now,
                                              Done<std::uint32_t> done);
  /// VMSG_XEN_EJECTED_DONE after the device was reset, or VMSG_XEN_EJECTED_BUSY.
  Result<void, RequestFailure> ejected(std::uint16_t dev_num, std::uint16_t status, Instant now,
                                       Done<void> done);

  // ---- for the driver of a device
  // -----------------------------------------------------------------

  /// One client a number. Unregistering forgets its requests without calling back.
  void register_client(std::uint16_t number, DriverBusClient& client);
  void unregister_client(std::uint16_t number);

  template <typename Request>
  Result<void, RequestFailure> begin(std::uint16_t number, const Request& request, Instant now,
                                     DriverRequests::Done done) {
    static_assert(!Request::kKind.is_bus);
    if (!present_.test(number)) return std::unexpected(RequestFailure::kDeviceGone);
    return begin_any(number, request, now, std::move(done));
  }

  /// False: no room now. The client keeps it and is asked by flush().
  [[nodiscard]] bool send_event(std::uint16_t number, const EventAvail& event);

  [[nodiscard]] std::uint32_t max_message_size() const { return options_.max_message_size; }
  [[nodiscard]] bool is_strict() const;
  [[nodiscard]] const DriverBusCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t outstanding() const { return requests_.outstanding(); }

 private:
  struct OwedPing {
    std::uint16_t token;
    std::uint32_t data;
  };

  DriverBus(FrameSink& sink, DriverBusListener& listener, const DriverBusOptions& options);

  template <typename Request>
  Result<void, RequestFailure> begin_any(std::uint16_t number, const Request& request, Instant now,
                                         DriverRequests::Done done) {
    const auto begun = requests_.begin(number, request, now, std::move(done));
    wants_room_ |= requests_.is_waiting_for_room();
    return begun;
  }

  void on_response(const Frame& frame, Instant now);
  void on_bus_frame(const Frame& frame, Instant now);
  void on_device_frame(const Frame& frame, Instant now);
  void on_announcement(const EventDevice& event, Instant now);
  void answer(const PingRequest& request, std::uint16_t token);
  bool send_owed_pings();
  void ask_for_devices(Instant now);
  void on_devices(const Result<Frame, RequestFailure>& response, Instant now);
  void end_enumeration(const Result<void, EnumerationError>& result, Instant now);
  void apply(const DeviceNumberSet& found, Instant now);
  void appear(std::uint16_t number);
  void disappear(std::uint16_t number, RequestFailure why, Instant now);

  FrameSink& sink_;
  DriverBusListener& listener_;
  DriverBusOptions options_;
  DriverRequests requests_;
  DriverBusCounters counters_;
  bool wants_room_ = false;

  std::map<std::uint16_t, DriverBusClient*> clients_;
  DeviceNumberSet present_;

  std::optional<DeviceEnumeration> enumeration_;
  bool look_again_ = false;  // something changed while it ran
  DeviceNumberSet touched_;  // numbers whose announcement is newer than what it may have found
  Instant now_{};            // of the call that we are in

  static constexpr std::size_t kOwedPings = 8;
  std::array<OwedPing, kOwedPings> owed_pings_{};
  std::size_t owed_count_ = 0;
};

}  // namespace vmsg
