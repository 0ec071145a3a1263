// The queues of a device endpoint: what each is set up as, and how it is taken back.
#include "transport/device_endpoint.hpp"
#include "transport/queue_setup.hpp"

namespace vmsg {
namespace {

bool is_admin_queue(const DeviceIdentity& identity, std::uint32_t index) {
  return index >= identity.admin_vq_start &&
         index - identity.admin_vq_start < identity.admin_vq_count;
}

}  // namespace

bool DeviceEndpoint::is_available(std::uint32_t index) const {
  if (index >= queues_.size() || queues_[index].max_size == 0) return false;
  if (!has_status(kStatusFeaturesOk)) return true;
  if (is_admin_queue(identity_, index) && !selection_.has(RingFeature::kAdminVq)) return false;
  return device_.has_queue(index, selection_);
}

QueueState DeviceEndpoint::queue_state(std::uint32_t index) const {
  if (!is_available(index)) return QueueState::kUnavailable;
  const Queue& queue = queues_[index];
  if (queue.is_enabled) return QueueState::kEnabled;
  return queue.size != 0 ? QueueState::kConfigured : QueueState::kIdle;
}

QueueFormat DeviceEndpoint::queue_format() const {
  return selection_.has(RingFeature::kRingPacked) ? QueueFormat::kPacked : QueueFormat::kSplit;
}

void DeviceEndpoint::handle(MessageAddress from, const GetVqueueRequest& request) {
  GetVqueueResponse record{.index = request.index};
  if (is_available(request.index)) {
    const Queue& queue = queues_[request.index];
    record.max_size = queue.max_size;
    record.cur_size = queue.size;
    record.flags = queue.is_enabled ? VIRTIO_MSG_VQUEUE_ENABLED : 0;
    record.descriptor_addr = queue.descriptor_addr;
    record.driver_addr = queue.driver_addr;
    record.device_addr = queue.device_addr;
  } else {
    ++counters_.refused;
  }
  respond(from, record);
}

void DeviceEndpoint::handle(MessageAddress from, const SetVqueueRequest& request) {
  if (!set_up_queue(request)) ++counters_.refused;
  respond(from, SetVqueueResponse{});
}

bool DeviceEndpoint::may_set_up_queues() const {
  return has_status(kStatusFeaturesOk) && !is_spoiled();
}

bool DeviceEndpoint::set_up_queue(const SetVqueueRequest& request) {
  if (!may_set_up_queues() || !is_available(request.index)) return false;
  Queue& queue = queues_[request.index];
  if (queue.is_enabled || !is_valid_setup(request, queue.max_size, queue_format())) return false;
  const bool is_enable = request.flags == VIRTIO_MSG_VQUEUE_ENABLE;
  if (is_enable && !host_.enable({.index = request.index,
                                  .size = request.size,
                                  .descriptor_address = request.descriptor_addr,
                                  .driver_address = request.driver_addr,
                                  .device_address = request.device_addr,
                                  .features = selection_})) {
    return false;
  }
  queue.size = request.size;
  queue.is_enabled = is_enable;
  queue.descriptor_addr = request.descriptor_addr;
  queue.driver_addr = request.driver_addr;
  queue.device_addr = request.device_addr;
  return true;
}

bool DeviceEndpoint::may_reset_queue(std::uint32_t index) const {
  return may_set_up_queues() && selection_.has(RingFeature::kRingReset) && is_available(index);
}

void DeviceEndpoint::handle(MessageAddress from, const ResetVqueueRequest& request) {
  if (!may_reset_queue(request.index)) {
    ++counters_.refused;
    return respond(from, ResetVqueueResponse{});
  }
  Queue& queue = queues_[request.index];
  if (queue.size == 0) return respond(from, ResetVqueueResponse{});
  ++counters_.queue_resets;
  // Idle from here on for everything that happens on our side; the driver learns it when the
  // memory is really given back.
  forget(queue);
  if (host_.release(request.index) == Release::kPending) {
    held_ = HeldAnswer{.to = from, .is_queue_reset = true, .is_ready = false};
    return;
  }
  respond(from, ResetVqueueResponse{});
}

void DeviceEndpoint::forget(Queue& queue) {
  queue.size = 0;
  queue.is_enabled = false;
  queue.wants_used = false;
  queue.descriptor_addr = 0;
  queue.driver_addr = 0;
  queue.device_addr = 0;
}

void DeviceEndpoint::handle(MessageAddress /*from*/, const EventAvail& event) {
  if (!is_live() || queue_state(event.vq_index) != QueueState::kEnabled) {
    return counters_.dropped.add(DropReason::kNotLive);
  }
  ++counters_.kicks;
  const bool has_data = selection_.has(RingFeature::kNotificationData);
  const std::uint32_t size = queues_[event.vq_index].size;
  host_.kick(event.vq_index,
             has_data ? notification_hint(event.next_offset, size, queue_format()) : 0);
}

}  // namespace vmsg
