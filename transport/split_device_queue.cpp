#include "transport/split_device_queue.hpp"

#include <algorithm>

#include "transport/event_index.hpp"

namespace vmsg {
namespace {

constexpr std::uint16_t kPlainFlags = vring::kNext | vring::kWrite;

}  // namespace

std::optional<QueueError> SplitDeviceQueue::read_heads(std::size_t max) {
  // ORDER: pairs with the driver's barrier between ring entries and avail.idx.
  const std::uint16_t avail = areas_.driver.load_acquire16(vring::kRingIdx);
  const auto distance = static_cast<std::uint16_t>(avail - next_avail_);
  if (distance > size_) return QueueError{QueueFault::kIndexRunaway, distance};

  const std::size_t count = std::min<std::size_t>(distance, max);
  for (std::size_t i = 0; i < count && can_begin(); ++i) {
    const std::size_t entry = vring::kRingEntries + vring::kAvailEntrySize * (next_avail_ & mask_);
    const std::uint16_t head = areas_.driver.load_relaxed16(entry);
    if (const auto error = read_chain(head)) return error;
    ++next_avail_;
  }
  return std::nullopt;
}

std::optional<QueueError> SplitDeviceQueue::read_chain(std::uint32_t head) {
  if (head >= size_) return QueueError{QueueFault::kBadIndex, head};
  if (in_order_ && head != next_head_) return QueueError{QueueFault::kOutOfOrder, head};

  ChainBuilder chain = begin_chain();
  std::uint32_t index = head;
  for (std::uint32_t descriptors = 1;; ++descriptors) {
    const Descriptor descriptor = load_split(areas_.descriptors, index);
    if ((descriptor.flags & ~kPlainFlags) != 0) [[unlikely]] {
      if (const auto error = read_special(chain, descriptor)) return error;
    } else if (!chain.add(descriptor)) {
      return chain.find_fault(descriptor);
    }
    const auto following = static_cast<std::uint16_t>((index + 1) & mask_);
    if (!descriptor.has(vring::kNext)) {
      next_head_ = following;
      return end_chain(chain, head, descriptors);
    }
    if (descriptor.tail >= size_) return QueueError{QueueFault::kBadIndex, descriptor.tail};
    if (in_order_ && descriptor.tail != following) {
      return QueueError{QueueFault::kOutOfOrder, descriptor.tail};
    }
    if (descriptors == size_) return QueueError{QueueFault::kChainLoop, head};
    index = descriptor.tail;
  }
}

std::optional<QueueError> SplitDeviceQueue::read_special(const ChainBuilder& chain,
                                                         const Descriptor& descriptor) {
  if ((descriptor.flags & ~(kPlainFlags | vring::kIndirect)) != 0) {
    return QueueError{QueueFault::kUnknownFlags, descriptor.flags};
  }
  if (descriptor.has(vring::kNext)) {
    return QueueError{QueueFault::kIndirectAndNext, descriptor.flags};
  }
  return want_table(chain, descriptor);
}

std::optional<QueueError> SplitDeviceQueue::read_table(ChainBuilder& chain,
                                                       std::span<const std::uint64_t> words) {
  const std::size_t entries = words.size() / 2;
  std::size_t index = 0;
  for (std::size_t count = 1;; ++count) {
    const Descriptor descriptor = Descriptor::split(words[2 * index], words[2 * index + 1]);
    if ((descriptor.flags & ~kPlainFlags) != 0) {
      if (descriptor.has(vring::kIndirect)) return QueueError{QueueFault::kNestedIndirect, index};
      return QueueError{QueueFault::kUnknownFlags, descriptor.flags};
    }
    if (!chain.add(descriptor)) return chain.find_fault(descriptor);
    if (!descriptor.has(vring::kNext)) return std::nullopt;
    if (descriptor.tail >= entries) return QueueError{QueueFault::kBadIndex, descriptor.tail};
    if (count == entries) return QueueError{QueueFault::kChainLoop, chain.record().head};
    index = descriptor.tail;
  }
}

bool SplitDeviceQueue::write_used(std::span<ChainRecord* const> done) {
  const std::uint16_t before = next_used_;
  for (const ChainRecord* record : done) {
    const std::size_t entry = vring::kRingEntries + vring::kUsedEntrySize * (next_used_ & mask_);
    areas_.device.store_relaxed32(entry, record->head);
    areas_.device.store_relaxed32(entry + 4, record->written);
    ++next_used_;
  }
  // ORDER: pairs with the driver's acquire of used.idx: entries and buffers before the index.
  areas_.device.store_release16(vring::kRingIdx, next_used_);

  // ORDER: pairs with the driver's barrier between its used_event or flags and its last look at
  // used.idx: one of the two sides sees what the other wrote.
  full_barrier();
  if (event_idx_) {
    const std::uint16_t event = areas_.driver.load_relaxed16(vring::used_event_offset(size_));
    return passes_event(event, before, next_used_);
  }
  return (areas_.driver.load_relaxed16(vring::kRingFlags) & vring::kAvailNoInterrupt) == 0;
}

void SplitDeviceQueue::suppress_notifications() {
  if (!event_idx_) {
    areas_.device.store_relaxed16(vring::kRingFlags, vring::kUsedNoNotify);
    return;
  }
  // The event index has no "none": an event that the driver has passed is one, for the next 2^16
  // chains. Usually it has, since that is what woke us, and then its line of memory is left alone.
  // Whoever was woken by something else takes the wish back: the driver never fills the entry
  // before the next one, since the ring is at most half of the indices long.
  if (event_ != next_avail_ || look_for_next()) return;
  event_ = static_cast<std::uint16_t>(next_avail_ - 1);
  areas_.device.store_relaxed16(vring::avail_event_offset(size_), event_);
}

bool SplitDeviceQueue::look_for_next() const {
  // ORDER: only a reason to look properly, which read_heads() does.
  return areas_.driver.load_relaxed16(vring::kRingIdx) != next_avail_;
}

bool SplitDeviceQueue::ask_for_notification() {
  if (event_idx_) {
    event_ = next_avail_;
    areas_.device.store_relaxed16(vring::avail_event_offset(size_), event_);
  } else {
    areas_.device.store_relaxed16(vring::kRingFlags, 0);
  }
  // ORDER: pairs with the driver's barrier between avail.idx and its look at avail_event or flags.
  full_barrier();
  return areas_.driver.load_acquire16(vring::kRingIdx) != next_avail_;
}

}  // namespace vmsg
