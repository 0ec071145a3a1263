// The sequences of DriverDevice that concern one queue: look, set up, take back. What the device is
// asked for is always confirmed by its own record.
#include <bit>

#include "transport/driver_device.hpp"
#include "transport/driver_device_await.hpp"
#include "transport/queue_setup.hpp"

namespace vmsg {
namespace {

bool has_no_address(const GetVqueueResponse& record) {
  return record.descriptor_addr == 0 && record.driver_addr == 0 && record.device_addr == 0;
}

bool has_all_addresses(const GetVqueueResponse& record) {
  return record.descriptor_addr != 0 && record.driver_addr != 0 && record.device_addr != 0;
}

bool is_sentinel(const GetVqueueResponse& record) {
  return record == GetVqueueResponse{.index = record.index};
}

bool is_consistent(const GetVqueueResponse& record) {
  if (!std::has_single_bit(record.max_size) || record.max_size > VIRTIO_MSG_MAX_QUEUE_SIZE) {
    return false;
  }
  if ((record.flags & ~std::uint32_t{VIRTIO_MSG_VQUEUE_ENABLED}) != 0) return false;
  if (record.cur_size > record.max_size) return false;
  if (record.cur_size == 0) return record.flags == 0 && has_no_address(record);
  return has_all_addresses(record);
}

bool is_as_asked(const GetVqueueResponse& record, const SetVqueueRequest& asked,
                 std::uint32_t max_size) {
  return record == GetVqueueResponse{.index = asked.index,
                                     .max_size = max_size,
                                     .cur_size = asked.size,
                                     .flags = VIRTIO_MSG_VQUEUE_ENABLED,
                                     .descriptor_addr = asked.descriptor_addr,
                                     .driver_addr = asked.driver_addr,
                                     .device_addr = asked.device_addr};
}

}  // namespace

/// kNoSuchQueue for the zero sentinel. A record that contradicts itself is a fault of the device.
DriverDevice::Task<GetVqueueResponse> DriverDevice::read_queue(std::uint32_t index) {
  const auto record = co_await ask<GetVqueueResponse>(GetVqueueRequest{.index = index});
  if (!record) co_return std::unexpected(record.error());
  if (record->index != index) co_return std::unexpected(DriverFailure::kBadResponse);
  const GetVqueueResponse copy = *record;
  if (is_sentinel(copy)) co_return std::unexpected(DriverFailure::kNoSuchQueue);
  if (!is_consistent(copy)) {
    const auto failed = co_await set_failed(DriverFailure::kInconsistent);
    co_return std::unexpected(failed.error());
  }
  co_return copy;
}

DriverDevice::Task<GetVqueueResponse> DriverDevice::query(std::uint32_t index) {
  if (!may_set_up()) co_return std::unexpected(DriverFailure::kNotNow);
  const auto record = co_await read_queue(index);
  co_return record;
}

DriverDevice::Task<void> DriverDevice::enable_queue(SetVqueueRequest setup) {
  setup.flags = VIRTIO_MSG_VQUEUE_ENABLE;
  if (!may_set_up()) co_return std::unexpected(DriverFailure::kNotNow);
  if (setup.index >= info_.max_virtqueues) co_return std::unexpected(DriverFailure::kNoSuchQueue);

  const auto before = co_await read_queue(setup.index);
  if (!before) co_return std::unexpected(before.error());
  if (before->cur_size != 0) co_return std::unexpected(DriverFailure::kQueueInUse);
  const bool is_packed = selection_.has(RingFeature::kRingPacked);
  const auto format = is_packed ? QueueFormat::kPacked : QueueFormat::kSplit;
  if (!is_valid_setup(setup, before->max_size, format)) {
    co_return std::unexpected(DriverFailure::kBadQueue);
  }

  const auto set = co_await ask<SetVqueueResponse>(setup);
  static_cast<void>(set);  // the same bytes for yes and no; and if it is missing, this tells:
  const auto after = co_await read_queue(setup.index);
  if (!after) co_return std::unexpected(after.error());
  if (!is_as_asked(*after, setup, before->max_size)) {
    co_return std::unexpected(DriverFailure::kNotApplied);
  }
  if (setup.index >= queues_.size()) queues_.resize(std::size_t{setup.index} + 1);
  queues_[setup.index] = {.is_enabled = true};
  co_return DriverResult<void>();
}

DriverDevice::Task<void> DriverDevice::take_queue_back(std::uint32_t index) {
  if (!may_set_up() || !selection_.has(RingFeature::kRingReset)) {
    co_return std::unexpected(DriverFailure::kNotNow);
  }
  if (index >= queues_.size()) co_return std::unexpected(DriverFailure::kNoSuchQueue);
  queues_[index] = {};
  const auto reset = co_await ask<ResetVqueueResponse>(ResetVqueueRequest{.index = index});
  static_cast<void>(reset);
  const auto after = co_await read_queue(index);
  const bool is_idle = after ? after->cur_size == 0 : after.error() == DriverFailure::kNoSuchQueue;
  if (is_idle) co_return DriverResult<void>();
  // The memory cannot be had back in this way; in the other one it can.
  needs_recovery_ = true;
  co_return std::unexpected(after ? DriverFailure::kNotApplied : after.error());
}

}  // namespace vmsg
