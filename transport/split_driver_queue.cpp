#include "transport/split_driver_queue.hpp"

#include "transport/event_index.hpp"
#include "transport/ring_words.hpp"

namespace vmsg {

SplitDriverQueue::SplitDriverQueue(const DriverQueueOptions& options)
    : DriverQueue(options), mask_(options.size - 1), next_(options.size) {
  for (std::uint32_t i = 0; i < size_; ++i) {
    next_[i] = static_cast<std::uint16_t>((i + 1) & mask_);
  }
}

std::uint16_t SplitDriverQueue::write_buffer(std::span<const Segment> readable,
                                             std::span<const Segment> writable,
                                             const IndirectTable* table) {
  const std::uint16_t head = free_head_;
  std::size_t left = readable.size() + writable.size();
  if (table != nullptr) {
    const auto bytes = static_cast<std::uint32_t>(left * vring::kDescriptorSize);
    std::uint16_t index = 0;
    const auto write = [&](const Segment& segment, std::uint16_t flags) {
      Descriptor entry{segment.address.raw(), segment.length, flags, 0};
      if (--left != 0) {
        entry.flags |= vring::kNext;
        entry.tail = static_cast<std::uint16_t>(index + 1);
      }
      store_table_words(table->bytes, index++, entry.address, entry.split_word1());
    };
    for (const Segment& segment : readable) write(segment, 0);
    for (const Segment& segment : writable) write(segment, vring::kWrite);
    const Descriptor link{table->address.raw(), bytes, vring::kIndirect, 0};
    store_words(areas_.descriptors, head, link.address, link.split_word1());
    free_head_ = next_[head];
  } else {
    const auto write = [&](const Segment& segment, std::uint16_t flags) {
      const std::uint16_t at = free_head_;
      free_head_ = next_[at];
      Descriptor entry{segment.address.raw(), segment.length, flags, 0};
      if (--left != 0) {
        entry.flags |= vring::kNext;
        entry.tail = free_head_;
      }
      store_words(areas_.descriptors, at, entry.address, entry.split_word1());
    };
    for (const Segment& segment : readable) write(segment, 0);
    for (const Segment& segment : writable) write(segment, vring::kWrite);
  }
  areas_.driver.store_relaxed16(
      vring::kRingEntries + vring::kAvailEntrySize * (next_avail_ & mask_), head);
  ++next_avail_;
  return head;
}

bool SplitDriverQueue::publish() {
  if (published_ == next_avail_) return false;
  const std::uint16_t before = published_;
  published_ = next_avail_;
  // ORDER: pairs with the device's acquire of avail.idx: entries and descriptors before the index.
  areas_.driver.store_release16(vring::kRingIdx, published_);

  // ORDER: pairs with the device's barrier between its avail_event or flags and its last look at
  // avail.idx.
  full_barrier();
  if (event_idx_) {
    const std::uint16_t event = areas_.device.load_relaxed16(vring::avail_event_offset(size_));
    return passes_event(event, before, published_);
  }
  return (areas_.device.load_relaxed16(vring::kRingFlags) & vring::kUsedNoNotify) == 0;
}

Result<std::optional<DriverQueue::UsedEntry>, QueueError> SplitDriverQueue::peek_used() {
  // ORDER: pairs with the device's release of used.idx.
  const std::uint16_t used = areas_.device.load_acquire16(vring::kRingIdx);
  const auto distance = static_cast<std::uint16_t>(used - next_used_);
  if (distance == 0) return std::nullopt;
  if (distance > outstanding()) {
    return std::unexpected(QueueError{QueueFault::kUsedRunaway, distance});
  }
  const std::size_t entry = vring::kRingEntries + vring::kUsedEntrySize * (next_used_ & mask_);
  return UsedEntry{areas_.device.load_relaxed32(entry), areas_.device.load_relaxed32(entry + 4),
                   distance};
}

void SplitDriverQueue::collect(std::uint16_t id, const Buffer& buffer) {
  ++next_used_;
  if (in_order_) return;
  std::uint16_t last = id;
  for (std::uint16_t i = 1; i < buffer.descriptors; ++i) last = next_[last];
  next_[last] = free_head_;
  free_head_ = id;
}

void SplitDriverQueue::disable_callbacks() {
  // With the event index the event that was asked for lies behind, and stays there.
  if (!event_idx_) areas_.driver.store_relaxed16(vring::kRingFlags, vring::kAvailNoInterrupt);
}

bool SplitDriverQueue::ask_for_callback() {
  if (event_idx_) {
    areas_.driver.store_relaxed16(vring::used_event_offset(size_), next_used_);
  } else {
    areas_.driver.store_relaxed16(vring::kRingFlags, 0);
  }
  // ORDER: pairs with the device's barrier between used.idx and its look at used_event or flags.
  full_barrier();
  return areas_.device.load_acquire16(vring::kRingIdx) != next_used_;
}

}  // namespace vmsg
