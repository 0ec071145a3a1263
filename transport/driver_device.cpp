// What runs the sequences of a DriverDevice, and what happens to it from outside. The sequences
// themselves are in driver_sequences.cpp and driver_queue_sequences.cpp.
#include "transport/driver_device.hpp"

#include <utility>

#include "transport/driver_device_await.hpp"

namespace vmsg {

DriverFailure driver_failure(RequestFailure failure) {
  switch (failure) {
    case RequestFailure::kTimedOut:
      return DriverFailure::kTimedOut;
    case RequestFailure::kBadResponse:
      return DriverFailure::kBadResponse;
    case RequestFailure::kDeviceGone:
      return DriverFailure::kGone;
    case RequestFailure::kLinkLost:
      return DriverFailure::kLinkLost;
    case RequestFailure::kRefused:
    case RequestFailure::kTooLarge:
      break;
  }
  return DriverFailure::kRefusedByBus;
}

DriverDevice::DriverDevice(DriverBus& bus, std::uint16_t number, DriverDeviceListener& listener,
                           const DriverDeviceOptions& options)
    : bus_(bus), number_(number), listener_(listener), options_(options) {
  bus_.register_client(number_, *this);
}

DriverDevice::~DriverDevice() {
  VMSG_INVARIANT(!is_running_);
  // Another device may have the number by now.
  if (is_registered_) bus_.unregister_client(number_);
}

// ---- running operations ------------------------------------------------------------------------

/// Somebody has what the sequence waits for.
void DriverDevice::resume() {
  is_running_ = true;
  std::exchange(waiting_, nullptr).resume();
  is_running_ = false;
  settle();
}

/// Goes on until everything waits. Callbacks that queue more get here again and leave it to the
/// loop that they are called from.
void DriverDevice::settle() {
  if (is_running_ || is_settling_) return;
  is_settling_ = true;
  while (take_a_step()) {
  }
  is_settling_ = false;
}

bool DriverDevice::take_a_step() {
  if (ended_) {
    end(*std::exchange(ended_, std::nullopt));
    return true;
  }
  if (front_is_started_) {
    if (!operations_.front().body.is_done()) return false;
    operations_.pop_front();
    front_is_started_ = false;
    front_is_completed_ = false;
    return true;
  }
  if (needs_recovery_) {
    recover();
    return true;
  }
  if (operations_.empty()) return false;
  run_front();
  return true;
}

void DriverDevice::run_front() {
  front_is_started_ = true;
  is_running_ = true;
  operations_.front().body.start();
  is_running_ = false;
}

/// Ends every operation where it stands. Those that were not finished are told why.
void DriverDevice::abandon_all(DriverFailure why) {
  std::deque<Operation> ended = std::exchange(operations_, {});
  const bool skip_first = front_is_completed_;
  front_is_started_ = false;
  front_is_completed_ = false;
  waiting_ = nullptr;
  answer_.reset();
  wake_at_.reset();
  refresh_is_queued_ = false;
  for (Operation& operation : ended) operation.body = {};
  for (std::size_t i = skip_first ? 1 : 0; i < ended.size(); ++i) ended[i].abandon(why);
}

void DriverDevice::end(DriverFailure why) {
  state_ = DriverState::kGone;
  status_ = 0;
  needs_recovery_ = false;
  forget_queues();
  abandon_all(why);
  listener_.gone();
}

void DriverDevice::recover() {
  needs_recovery_ = false;
  if (state_ != DriverState::kStarting && state_ != DriverState::kSetup &&
      state_ != DriverState::kLive) {
    return;
  }
  const bool is_hopeless = recoveries_ >= options_.max_recoveries;
  ++recoveries_;
  state_ = DriverState::kBroken;
  abandon_all(DriverFailure::kNeedsReset);
  listener_.needs_reset();
  auto sequence = is_hopeless ? set_failed(DriverFailure::kNeedsReset) : reset_and_bring_up();
  // Before what the callbacks have queued up.
  operations_.push_front({finish<void>(std::move(sequence), nullptr), [](DriverFailure) {}});
}

// ---- from the bus ------------------------------------------------------------------------------

void DriverDevice::on_gone(RequestFailure why) {
  is_registered_ = false;
  ended_ = driver_failure(why);
  settle();
}

void DriverDevice::on_tick(Instant now) {
  now_ = now;
  if (!wake_at_ || now < *wake_at_) return;
  wake_at_.reset();
  resume();
}

void DriverDevice::on_event(const DriverInbound& event, Instant now) {
  now_ = now;
  if (state_ != DriverState::kLive) {
    ++dropped_events_;
  } else if (const auto* const config = std::get_if<EventConfig>(&event)) {
    on_config_event(*config);
  } else if (const auto* const used = std::get_if<EventUsed>(&event)) {
    on_used_event(*used);
  }
}

/// A hint only: what counts is read from the device, once for all events that came meanwhile.
void DriverDevice::on_config_event(const EventConfig& event) {
  if (!is_inside_config(event.offset, event.length)) {
    ++dropped_events_;
    return;
  }
  generation_ = event.generation;
  knows_generation_ = true;
  refresh(now_);
}

void DriverDevice::on_used_event(const EventUsed& event) {
  if (event.vq_index >= queues_.size() || !queues_[event.vq_index].is_enabled) {
    ++dropped_events_;
    return;
  }
  listener_.used(event.vq_index);
}

bool DriverDevice::flush() {
  bool is_done = true;
  for (std::uint32_t i = 0; i < queues_.size(); ++i) {
    if (queues_[i].has_kick) is_done = send_kick(i) && is_done;
  }
  return is_done;
}

// ---- from the driver ---------------------------------------------------------------------------

void DriverDevice::start(Instant now) {
  now_ = now;
  if (state_ != DriverState::kNew || !operations_.empty()) return;
  queue_up<void>(bring_up(), nullptr);
}

void DriverDevice::restart(Instant now) {
  now_ = now;
  queue_up<void>(bring_up(), nullptr);
}

void DriverDevice::go_live(Instant now, Done<void> done) {
  now_ = now;
  queue_up<void>(enter_live(), std::move(done));
}

void DriverDevice::stop(Instant now, Done<void> done) {
  now_ = now;
  queue_up<void>(stop_for_good(), std::move(done));
}

void DriverDevice::give_up(Instant now) {
  now_ = now;
  queue_up<void>(set_failed(DriverFailure::kGivenUp), nullptr);
}

void DriverDevice::read_config(std::uint32_t offset, std::span<std::byte> out, Instant now,
                               Done<std::uint32_t> done) {
  now_ = now;
  queue_up<std::uint32_t>(read_range(offset, out), std::move(done));
}

void DriverDevice::write_config(std::uint32_t offset, std::span<const std::byte> bytes, Instant now,
                                Done<void> done, bool is_always_writable) {
  now_ = now;
  queue_up<void>(write_range(offset, {bytes.begin(), bytes.end()}, is_always_writable),
                 std::move(done));
}

void DriverDevice::query_queue(std::uint32_t index, Instant now, Done<GetVqueueResponse> done) {
  now_ = now;
  queue_up<GetVqueueResponse>(query(index), std::move(done));
}

void DriverDevice::setup_queue(const SetVqueueRequest& setup, Instant now, Done<void> done) {
  now_ = now;
  queue_up<void>(enable_queue(setup), std::move(done));
}

void DriverDevice::reset_queue(std::uint32_t index, Instant now, Done<void> done) {
  now_ = now;
  queue_up<void>(take_queue_back(index), std::move(done));
}

void DriverDevice::find_shared_memory(std::uint32_t shmid, Instant now,
                                      Done<std::optional<SharedMemoryRegion>> done) {
  now_ = now;
  queue_up<std::optional<SharedMemoryRegion>>(read_region(shmid), std::move(done));
}

void DriverDevice::refresh(Instant now) {
  now_ = now;
  if (std::exchange(refresh_is_queued_, true)) return;
  queue_up<void>(reread(), nullptr);
}

bool DriverDevice::kick(std::uint32_t index, std::uint32_t next_offset) {
  if (state_ != DriverState::kLive || index >= queues_.size() || !queues_[index].is_enabled) {
    return false;
  }
  Queue& queue = queues_[index];
  if (queue.has_kick) ++merged_kicks_;
  queue.has_kick = true;
  queue.next_offset = selection_.has(RingFeature::kNotificationData) ? next_offset : 0;
  static_cast<void>(send_kick(index));
  return true;
}

bool DriverDevice::send_kick(std::uint32_t index) {
  Queue& queue = queues_[index];
  const EventAvail event{.vq_index = index, .next_offset = queue.next_offset};
  if (!bus_.send_event(number_, event)) return false;
  queue.has_kick = false;
  return true;
}

}  // namespace vmsg
