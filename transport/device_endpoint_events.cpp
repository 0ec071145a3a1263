// What leaves a device endpoint by itself: events, and answers that had to wait. Each waits as a
// flag until there is room, so memory is constant and nothing is lost.
#include "transport/device_endpoint.hpp"
#include "transport/wire.hpp"

namespace vmsg {

void DeviceEndpoint::used(std::uint32_t queue) {
  if (!is_live() || queue_state(queue) != QueueState::kEnabled) {
    ++counters_.used_dropped;
    return;
  }
  Queue& entry = queues_[queue];
  if (entry.wants_used) {
    ++counters_.used_merged;
    return;
  }
  entry.wants_used = true;
  if (!entry.is_linked) {
    entry.is_linked = true;
    entry.next_linked = kNoQueue;
    if (last_linked_ == kNoQueue) {
      first_linked_ = queue;
    } else {
      queues_[last_linked_].next_linked = queue;
    }
    last_linked_ = queue;
  }
  static_cast<void>(flush());
}

bool DeviceEndpoint::flush() {
  if (!send_held_answer()) return false;
  if (wants_config_) {
    if (!sink_.has_room(kHeaderSize + sizeof(wire::EventConfig))) return false;
    wants_config_ = false;
    ++counters_.config_sent;
    // Status and generation as they are now, whatever they were when the event came up.
    send_event(EventConfig{
        .device_status = status_, .generation = generation_, .offset = 0, .length = 0, .data = {}});
  }
  return send_used_events();
}

bool DeviceEndpoint::send_held_answer() {
  if (!held_ || !held_->is_ready) return true;
  const HeldAnswer answer = *held_;
  const std::size_t payload = answer.is_queue_reset ? 0 : sizeof(wire::DeviceStatus);
  if (!sink_.has_room(kHeaderSize + payload)) return false;
  held_.reset();
  if (answer.is_queue_reset) {
    respond(answer.to, ResetVqueueResponse{});
  } else {
    respond(answer.to, SetDeviceStatusResponse{.status = status_});
  }
  return true;
}

bool DeviceEndpoint::send_used_events() {
  while (first_linked_ != kNoQueue) {
    Queue& queue = queues_[first_linked_];
    if (queue.wants_used && !sink_.has_room(kHeaderSize + sizeof(wire::EventUsed))) return false;
    const std::uint32_t index = first_linked_;
    const bool is_wanted = queue.wants_used;
    first_linked_ = queue.next_linked;
    if (first_linked_ == kNoQueue) last_linked_ = kNoQueue;
    queue.is_linked = false;
    queue.wants_used = false;
    if (!is_wanted) continue;  // its queue was reset while it waited
    ++counters_.used_sent;
    send_event(EventUsed{.vq_index = index});
  }
  return true;
}

void DeviceEndpoint::forget_unsent_events() {
  wants_config_ = false;
  while (first_linked_ != kNoQueue) {
    Queue& queue = queues_[first_linked_];
    first_linked_ = queue.next_linked;
    queue.is_linked = false;
    queue.wants_used = false;
  }
  last_linked_ = kNoQueue;
}

void DeviceEndpoint::send(const EncodeResult& frame) {
  // 52 bytes hold every fixed frame, and the variable ones were measured: this is ours to keep.
  VMSG_INVARIANT(frame.has_value());
  sink_.send(*frame);
}

}  // namespace vmsg
