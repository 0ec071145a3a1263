#include "transport/packed_driver_queue.hpp"

#include <utility>

#include "transport/ring_words.hpp"

namespace vmsg {

PackedDriverQueue::PackedDriverQueue(const DriverQueueOptions& options) : DriverQueue(options) {
  free_ids_.reserve(size_);
  for (std::uint32_t id = size_; id-- > 0;) free_ids_.push_back(static_cast<std::uint16_t>(id));
}

void PackedDriverQueue::write_descriptor(const Segment& segment, std::uint16_t flags,
                                         std::uint16_t id) {
  const Descriptor entry{segment.address.raw(), segment.length,
                         static_cast<std::uint16_t>(flags | packed_avail_bits(next_avail_.wrap)),
                         id};
  if (unpublished_ == 0) {
    const std::size_t at = std::size_t{next_avail_.slot} * vring::kDescriptorSize;
    withheld_flags_ = entry.flags;
    areas_.descriptors.store_relaxed64(at, entry.address);
    areas_.descriptors.store_relaxed32(at + 8, entry.length);
    areas_.descriptors.store_relaxed16(at + 12, entry.tail);
  } else {
    // Looks available already; but the device does not come here before the first one is.
    store_words(areas_.descriptors, next_avail_.slot, entry.address, entry.packed_word1());
  }
  ++unpublished_;
  next_avail_.advance(1, size_);
}

std::uint16_t PackedDriverQueue::write_buffer(std::span<const Segment> readable,
                                              std::span<const Segment> writable,
                                              const IndirectTable* table) {
  const std::uint16_t id = free_ids_.back();
  free_ids_.pop_back();
  std::size_t left = readable.size() + writable.size();
  if (table != nullptr) {
    const auto bytes = static_cast<std::uint32_t>(left * vring::kDescriptorSize);
    std::size_t index = 0;
    const auto write = [&](const Segment& segment, std::uint16_t flags) {
      const Descriptor entry{segment.address.raw(), segment.length, flags, 0};
      store_table_words(table->bytes, index++, entry.address, entry.packed_word1());
    };
    for (const Segment& segment : readable) write(segment, 0);
    for (const Segment& segment : writable) write(segment, vring::kWrite);
    write_descriptor({table->address, bytes}, vring::kIndirect, id);
    return id;
  }
  const auto write = [&](const Segment& segment, std::uint16_t flags) {
    const std::uint16_t next = --left != 0 ? vring::kNext : 0;
    write_descriptor(segment, static_cast<std::uint16_t>(flags | next), id);
  };
  for (const Segment& segment : readable) write(segment, 0);
  for (const Segment& segment : writable) write(segment, vring::kWrite);
  return id;
}

bool PackedDriverQueue::publish() {
  if (unpublished_ == 0) return false;
  // ORDER: pairs with the device's acquire of these flags: everything else was written before.
  areas_.descriptors.store_release16(packed_flags_at(published_.slot), withheld_flags_);
  published_ = next_avail_;
  const std::uint32_t slots = std::exchange(unpublished_, 0);

  // ORDER: pairs with the device's barrier between its suppression structure and its last look.
  full_barrier();
  return wants_packed_event(areas_.device.load_relaxed32(0), event_idx_, next_avail_, slots, size_);
}

bool PackedDriverQueue::has_used() const {
  // ORDER: pairs with the device's release of the flags of the first entry that it publishes.
  const auto flags = areas_.descriptors.load_acquire16(packed_flags_at(next_used_.slot));
  return is_packed_used(flags, next_used_.wrap);
}

Result<std::optional<DriverQueue::UsedEntry>, QueueError> PackedDriverQueue::peek_used() {
  if (!has_used()) return std::nullopt;
  const Descriptor used = load_packed(areas_.descriptors, next_used_.slot);
  // Without WRITE nothing was written, and the length means nothing.
  return UsedEntry{used.tail, used.has(vring::kWrite) ? used.length : 0, size_};
}

void PackedDriverQueue::collect(std::uint16_t id, const Buffer& buffer) {
  next_used_.advance(buffer.descriptors, size_);
  free_ids_.push_back(id);
}

void PackedDriverQueue::disable_callbacks() {
  areas_.driver.store_relaxed32(0, std::uint32_t{vring::kEventDisable} << 16);
}

bool PackedDriverQueue::ask_for_callback() {
  areas_.driver.store_relaxed32(
      0, event_idx_ ? std::uint32_t{vring::kEventDescriptor} << 16 | next_used_.encoded()
                    : std::uint32_t{vring::kEventEnable} << 16);
  // ORDER: pairs with the device's barrier between the flags that it publishes and its look at
  // this structure.
  full_barrier();
  return has_used();
}

std::uint32_t PackedDriverQueue::notification_data() const {
  return published_.slot | (published_.wrap ? std::uint32_t{1} << 31 : 0U);
}

}  // namespace vmsg
