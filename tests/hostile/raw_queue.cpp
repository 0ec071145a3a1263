#include "tests/hostile/raw_queue.hpp"

namespace vmsg::hostile {

RawQueue::RawQueue(Attacker& attacker, QueueFormat format)
    : attacker_(attacker),
      format_(format),
      descriptors_(attacker.share(
          1, format == QueueFormat::kPacked ? Access::kReadWrite : Access::kReadOnly)),
      driver_(attacker.share(1, Access::kReadOnly)),
      device_(attacker.share(1, Access::kReadWrite)),
      buffers_(attacker.share(kSize, Access::kReadWrite)) {}

SetVqueueRequest RawQueue::request() const {
  return {.index = 0,
          .flags = VIRTIO_MSG_VQUEUE_ENABLE,
          .size = kSize,
          .descriptor_addr = descriptors_.address()->raw(),
          .driver_addr = driver_.address()->raw(),
          .device_addr = device_.address()->raw()};
}

bool RawQueue::enable(const SetVqueueRequest& request) {
  expect(attacker_.ask<SetVqueueResponse>(request).has_value(), "SET_VQUEUE is not answered");
  const auto record = attacker_.ask<GetVqueueResponse>(GetVqueueRequest{.index = request.index});
  expect(record.has_value(), "GET_VQUEUE is not answered");
  return (record->flags & VIRTIO_MSG_VQUEUE_ENABLED) != 0;
}

void RawQueue::go_live(bool with_port) {
  expect(enable(request()), "a right queue is refused");
  if (with_port) {
    auto port = attacker_.events().alloc_unbound(attacker_.id().device_domain);
    expect(port.has_value(), "no port");
    port_ = std::move(*port);
    const auto answer = attacker_.ask<QueueEventChannelResponse>(
        QueueEventChannelRequest{.dev_num = attacker_.options().device,
                                 .vq_index = 0,
                                 .port = static_cast<std::uint32_t>(port_.local())});
    expect(answer && answer->status == VMSG_XEN_QEC_OK, "the queue gets no event channel");
  }
  attacker_.set_status(kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
}

void RawQueue::descriptor(std::uint32_t index, std::uint64_t address, std::uint32_t length,
                          std::uint16_t flags, std::uint16_t next) const {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize;
  const SharedBytes table = descriptors();
  table.store(at, Le64(address));
  table.store(at + 8, Le32(length));
  table.store(at + 12, Le16(flags));
  table.store(at + 14, Le16(next));
}

void RawQueue::available(std::uint16_t position, std::uint16_t head) const {
  driver().store(vring::kRingEntries + vring::kAvailEntrySize * (position % kSize), Le16(head));
}

void RawQueue::set_available_index(std::uint16_t index) const {
  driver().store_release16(vring::kRingIdx, index);
}

std::uint16_t RawQueue::used_index() const { return device().load_acquire16(vring::kRingIdx); }

void RawQueue::packed(std::uint32_t index, std::uint64_t address, std::uint32_t length,
                      std::uint16_t id, std::uint16_t flags, bool is_available) const {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize;
  const SharedBytes ring = descriptors();
  ring.store(at, Le64(address));
  ring.store(at + 8, Le32(length));
  ring.store(at + 12, Le16(id));
  // The first lap: the wrap counter is 1.
  const auto all = static_cast<std::uint16_t>(flags | (is_available ? vring::kPackedAvail : 0));
  ring.store_release16(at + vring::kPackedFlagsOffset, all);
}

bool RawQueue::is_used(std::uint32_t index) const {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize + vring::kPackedFlagsOffset;
  return (descriptors().load_acquire16(at) & vring::kPackedUsed) != 0;
}

void RawQueue::publish_one(std::uint32_t slot, std::uint32_t length) const {
  if (format_ == QueueFormat::kPacked) {
    packed(slot, buffer(slot), length, static_cast<std::uint16_t>(slot), vring::kWrite);
  } else {
    descriptor(slot, buffer(slot), length, vring::kWrite, 0);
    available(static_cast<std::uint16_t>(slot), static_cast<std::uint16_t>(slot));
    set_available_index(static_cast<std::uint16_t>(slot + 1));
  }
}

bool RawQueue::came_back(std::uint32_t slot) const {
  return format_ == QueueFormat::kPacked ? is_used(slot) : used_index() > slot;
}

void RawQueue::kick() const {
  if (port_.is_open()) {
    static_cast<void>(port_.notify());
  } else {
    attacker_.tell(EventAvail{.vq_index = 0, .next_offset = 0});
  }
}

std::uint64_t RawQueue::buffer(std::uint32_t slot) const {
  return buffers_.address()->checked_add(std::uint64_t{slot} * kGrantPageSize)->raw();
}

SharedBytes RawQueue::buffer_bytes(std::uint32_t slot) const {
  return buffers_.bytes().sub(std::size_t{slot} * kGrantPageSize, kGrantPageSize);
}

void RawQueue::unshare_areas() {
  descriptors_.unshare();
  driver_.unshare();
  device_.unshare();
}

}  // namespace vmsg::hostile
