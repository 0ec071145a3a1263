// The driver side of one virtio device over virtio-msg: from GET_DEVICE_INFO to a live device,
// configuration, queues, reset, recovery and removal. It knows nothing of what the device does, and
// nothing of rings: whoever owns the queues' memory hears when it may be used and when it is free.
//
//   start()   info, reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK  -> ready_for_setup()
//             setup_queue(), read_config(), write_config(), ...
//   go_live() DRIVER_OK                                                -> kick(), used()
//   stop()    reset                                                    -> was_reset()
//
// Operations are queued and done one at a time, so at most one request of a device is outstanding.
// Each ends with exactly one call of its `done`. Operations never repeat a request that may have
// changed something: they read what became of it, or end in a reset.
//
// A device that says DEVICE_NEEDS_RESET is recovered by itself: operations fail with kNeedsReset,
// needs_reset() is called, the device is reset, was_reset() is called, and bringing it up begins
// again at ACKNOWLEDGE, up to ready_for_setup().
#pragma once

#include <chrono>
#include <coroutine>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "transport/device.hpp"
#include "transport/device_status.hpp"
#include "transport/driver_bus.hpp"
#include "transport/driver_task.hpp"
#include "transport/features.hpp"
#include "transport/message.hpp"

namespace vmsg {

enum class DriverFailure : std::uint8_t {
  // the request, see RequestFailure
  kTimedOut,
  kBadResponse,  // also: an echo that differs
  kGone,
  kLinkLost,
  kRefusedByBus,
  // the device
  kBadDevice,       // GET_DEVICE_INFO makes no sense
  kMissingFeature,  // one that this bus or the driver cannot do without
  kFeaturesRefused,
  kStatusRefused,
  kResetTimedOut,  // of no use until it was removed and added again
  kNeedsReset,
  // the caller, nothing was sent
  kNotNow,      // the state forbids it
  kOutOfRange,  // outside the configuration space
  kBadQueue,    // size or addresses that no device accepts
  kReadFirst,   // strict profile: the last write was rejected and nothing was read since
  kGivenUp,
  // what was asked for
  kRejected,      // the device did not apply the write
  kUnstable,      // the configuration kept changing while it was read
  kNoSuchQueue,   // the zero sentinel
  kQueueInUse,    // it is configured already
  kInconsistent,  // a queue record that contradicts itself
  kNotApplied,    // what was confirmed is not what was asked for
};

enum class DriverState : std::uint8_t {
  kNew,        // only GET_DEVICE_INFO may be sent
  kResetting,  // only GET_DEVICE_STATUS may be sent
  kStarting,   // reset; ACKNOWLEDGE to FEATURES_OK
  kSetup,      // FEATURES_OK is confirmed
  kLive,       // DRIVER_OK
  kBroken,     // needs a reset that has not begun
  kStopped,    // reset, and left there
  kFailed,     // given up
  kGone,       // removed, or the link was lost
};

template <typename T>
using DriverResult = Result<T, DriverFailure>;

struct DriverDeviceOptions {
  /// The bus carries the payload of EVENT_AVAIL, so NOTIFICATION_DATA may be selected.
  bool notification_data_allowed = true;
  Instant reset_poll_interval = std::chrono::milliseconds{10};
  Instant reset_limit = std::chrono::seconds{10};
  /// How often one configuration read starts again because the generation changed.
  std::uint32_t max_config_restarts = 5;
  /// How often in a row a device may need a reset before it was live.
  std::uint32_t max_recoveries = 3;
};

/// What the driver of a device type hears. Called from within calls to the DriverDevice or its bus.
/// It may queue operations; it may not destroy the device.
class DriverDeviceListener {
 public:
  DriverDeviceListener() = default;
  DriverDeviceListener(const DriverDeviceListener&) = delete;
  DriverDeviceListener& operator=(const DriverDeviceListener&) = delete;
  virtual ~DriverDeviceListener() = default;

  /// Which features to use of those offered: the type's own and the ring's. VERSION_1 and
  /// ACCESS_PLATFORM are added; what is not offered or never to be used is left out.
  [[nodiscard]] virtual FeatureSet select_features(const FeatureSet& offered) = 0;
  /// FEATURES_OK is confirmed: set up queues, then go_live().
  virtual void ready_for_setup() = 0;
  virtual void used(std::uint32_t queue) = 0;
  /// The configuration may have changed: read it. `generation` is the device's own word for it,
  /// asked for after the event.
  virtual void config_changed(std::uint32_t generation) = 0;
  /// No buffer comes back any more; the memory is still the device's.
  virtual void needs_reset() = 0;
  /// Status 0 was read: queue memory is free.
  virtual void was_reset() = 0;
  /// Given up, with FAILED set where that may be. Queue memory is free only if was_reset() came
  /// after it was handed over.
  virtual void failed(DriverFailure why) = 0;
  /// Removed, or the link was lost; status counts as 0.
  virtual void gone() = 0;
};

class DriverDevice final : private DriverBusClient {
 public:
  template <typename T>
  using Done = std::function<void(const DriverResult<T>&)>;

  /// `bus` and `listener` must outlive the device. The number is present on the bus.
  DriverDevice(DriverBus& bus, std::uint16_t number, DriverDeviceListener& listener,
               const DriverDeviceOptions& options = {});
  /// Sends nothing and calls nobody.
  ~DriverDevice() override;

  // ---- life -----------------------------------------------------------------------------------

  /// Once, in kNew.
  void start(Instant now);
  /// In kSetup, after the queues that are needed from the beginning.
  void go_live(Instant now, Done<void> done);
  /// Resets the device and leaves it so. From any state but kGone.
  void stop(Instant now, Done<void> done);
  /// From kStopped or kFailed: begins again. A device whose reset was never confirmed stays failed.
  void restart(Instant now);
  /// Sets FAILED, for a driver that cannot go on with the device (its queues, its requests).
  void give_up(Instant now);

  // ---- configuration (from kSetup on) ---------------------------------------------------------

  /// Fills `out`, which must live until `done`; the result is the generation that all bytes belong
  /// to.
  void read_config(std::uint32_t offset, std::span<std::byte> out, Instant now,
                   Done<std::uint32_t> done);
  /// All of it or nothing, as far as it fits one message; longer ones go in pieces. Bytes that are
  /// `is_always_writable` (console emerg_wr) may be written to a device that was given up, too.
  void write_config(std::uint32_t offset, std::span<const std::byte> bytes, Instant now,
                    Done<void> done, bool is_always_writable = false);

  // ---- queues (from kSetup on) ----------------------------------------------------------------

  /// The device's record of a queue, checked.
  void query_queue(std::uint32_t index, Instant now, Done<GetVqueueResponse> done);
  /// Finds it idle, sets it up enabled, and confirms every field. `setup.flags` is ignored.
  void setup_queue(const SetVqueueRequest& setup, Instant now, Done<void> done);
  /// With RING_RESET. Success: the queue's memory is free. When it cannot be confirmed the device
  /// is recovered by a reset.
  void reset_queue(std::uint32_t index, Instant now, Done<void> done);

  /// Buffers were made available and the device wants to hear of it. `next_offset` is
  /// DriverQueue::notification_data(); it is sent only where negotiated. Kicks that find no room
  /// are merged, the latest wins. False: the queue is not live.
  bool kick(std::uint32_t index, std::uint32_t next_offset);

  // ---- other ----------------------------------------------------------------------------------

  void find_shared_memory(std::uint32_t shmid, Instant now,
                          Done<std::optional<SharedMemoryRegion>> done);
  /// Reads status and generation, as after an EVENT_CONFIG: for a bus that is polled.
  void refresh(Instant now);

  [[nodiscard]] std::uint16_t number() const { return number_; }
  [[nodiscard]] DriverState state() const { return state_; }
  /// As last read; 0 after a removal.
  [[nodiscard]] std::uint32_t status() const { return status_; }
  [[nodiscard]] const GetDeviceInfoResponse& info() const { return info_; }
  [[nodiscard]] const FeatureSet& offered() const { return offered_; }
  [[nodiscard]] const FeatureSet& selection() const { return selection_; }
  [[nodiscard]] std::uint64_t dropped_events() const { return dropped_events_; }
  [[nodiscard]] std::uint64_t merged_kicks() const { return merged_kicks_; }

 private:
  struct Unit {};
  template <typename T>
  using Task = DriverTask<DriverResult<T>>;

  /// A sequence in the queue. `abandon` is what its `done` is told when it is not finished.
  struct Operation {
    DriverTask<Unit> body;
    std::function<void(DriverFailure)> abandon;
  };

  struct Queue {
    bool is_enabled = false;
    bool has_kick = false;  // waits for room
    std::uint32_t next_offset = 0;
  };

  // Awaiting: the one request, or the one timer.
  template <typename Response>
  struct Answer;
  struct Pause;

  void on_event(const DriverInbound& event, Instant now) override;
  void on_gone(RequestFailure why) override;
  void on_tick(Instant now) override;
  [[nodiscard]] std::optional<Instant> next_deadline() const override { return wake_at_; }
  [[nodiscard]] bool flush() override;

  // Running operations.
  template <typename T>
  void queue_up(Task<T> work, Done<T> done);
  template <typename T>
  DriverTask<Unit> finish(Task<T> work, Done<T> done);
  void resume();
  void settle();
  [[nodiscard]] bool take_a_step();
  void run_front();
  void abandon_all(DriverFailure why);
  void end(DriverFailure why);
  void recover();

  template <typename Response, typename Request>
  Answer<Response> ask(const Request& request);
  Pause pause_until(Instant when);

  // The sequences (driver_sequences.cpp, driver_queue_sequences.cpp).
  Task<void> bring_up();
  Task<void> reset_and_bring_up();
  Task<void> read_info();
  Task<void> reset();
  Task<void> negotiate();
  Task<void> read_offered();
  Task<void> write_selection();
  Task<void> add_status(std::uint32_t bits);
  Task<void> read_status();
  Task<void> enter_live();
  Task<void> stop_for_good();
  Task<void> set_failed(DriverFailure why);
  Task<void> reread();
  Task<std::uint32_t> read_range(std::uint32_t offset, std::span<std::byte> out);
  Task<std::uint32_t> read_once(std::uint32_t offset, std::span<std::byte> out);
  Task<void> write_range(std::uint32_t offset, std::vector<std::byte> bytes,
                         bool is_always_writable);
  Task<void> write_piece(std::uint32_t offset, std::span<const std::byte> bytes);
  Task<GetVqueueResponse> query(std::uint32_t index);
  Task<GetVqueueResponse> read_queue(std::uint32_t index);
  Task<void> enable_queue(SetVqueueRequest setup);
  Task<void> take_queue_back(std::uint32_t index);
  Task<std::optional<SharedMemoryRegion>> read_region(std::uint32_t shmid);

  [[nodiscard]] DriverResult<void> note_status(std::uint32_t status);
  [[nodiscard]] bool is_sensible(const GetDeviceInfoResponse& info) const;
  [[nodiscard]] bool is_inside_config(std::uint64_t offset, std::uint64_t length) const;
  [[nodiscard]] bool may_set_up() const;
  [[nodiscard]] FeatureSet sanitized(const FeatureSet& wanted) const;
  [[nodiscard]] bool send_kick(std::uint32_t index);
  void forget_queues() { queues_.clear(); }
  void on_config_event(const EventConfig& event);
  void on_used_event(const EventUsed& event);

  DriverBus& bus_;
  std::uint16_t number_;
  DriverDeviceListener& listener_;
  DriverDeviceOptions options_;

  DriverState state_ = DriverState::kNew;
  std::uint32_t status_ = 0;
  std::uint32_t generation_ = 0;  // the latest that was seen, for the strict profile
  bool knows_generation_ = false;
  bool must_read_first_ = false;
  GetDeviceInfoResponse info_;
  FeatureSet offered_;
  FeatureSet selection_;
  std::vector<Queue> queues_;  // as many as were set up so far

  // Operations wait in a queue; the first one runs.
  std::deque<Operation> operations_;
  bool front_is_started_ = false;
  bool front_is_completed_ = false;  // it has called its `done`
  bool is_running_ = false;          // inside a sequence right now
  bool is_settling_ = false;
  std::coroutine_handle<> waiting_;
  std::optional<Result<Frame, RequestFailure>> answer_;
  std::optional<Instant> wake_at_;
  std::optional<DriverFailure> ended_;  // everything ends as soon as nothing runs
  bool is_registered_ = true;
  bool is_unusable_ = false;  // a reset was never confirmed
  bool needs_recovery_ = false;
  bool refresh_is_queued_ = false;
  std::uint32_t recoveries_ = 0;
  Instant now_{};
  std::uint64_t dropped_events_ = 0;
  std::uint64_t merged_kicks_ = 0;
};

}  // namespace vmsg
