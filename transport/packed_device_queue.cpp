#include "transport/packed_device_queue.hpp"

#include "transport/ring_words.hpp"

namespace vmsg {
namespace {

constexpr std::uint16_t kPlainFlags =
    vring::kNext | vring::kWrite | vring::kPackedAvail | vring::kPackedUsed;

}  // namespace

bool PackedDeviceQueue::has_next() const {
  // ORDER: pairs with the driver's release of the flags of the first descriptor that it publishes:
  // all the others, and the rest of this one, were written before.
  const auto flags = areas_.descriptors.load_acquire16(packed_flags_at(next_avail_.slot));
  return is_packed_avail(flags, next_avail_.wrap);
}

std::optional<QueueError> PackedDeviceQueue::read_heads(std::size_t max) {
  for (std::size_t i = 0; i < max && can_begin() && has_next(); ++i) {
    if (const auto error = read_chain()) return error;
  }
  return std::nullopt;
}

std::optional<QueueError> PackedDeviceQueue::read_chain() {
  ChainBuilder chain = begin_chain();
  RingPosition at = next_avail_;
  for (std::uint32_t descriptors = 1;; ++descriptors) {
    // This copy is what counts, whatever has_next() saw.
    const Descriptor descriptor = load_packed(areas_.descriptors, at.slot);
    if (!is_packed_avail(descriptor.flags, at.wrap)) {
      return QueueError{QueueFault::kNotAvailable, at.slot};
    }
    at.advance(1, size_);
    if ((descriptor.flags & ~kPlainFlags) != 0) [[unlikely]] {
      if (const auto error = read_special(chain, descriptor)) return error;
    } else if (!chain.add(descriptor)) {
      return chain.find_fault(descriptor);
    }
    if (!descriptor.has(vring::kNext)) {
      // The last descriptor carries the buffer id.
      if (descriptor.tail >= size_) return QueueError{QueueFault::kBadIndex, descriptor.tail};
      next_avail_ = at;
      return end_chain(chain, descriptor.tail, descriptors);
    }
    if (descriptors == size_) return QueueError{QueueFault::kChainLoop, next_avail_.slot};
  }
}

std::optional<QueueError> PackedDeviceQueue::read_special(const ChainBuilder& chain,
                                                          const Descriptor& descriptor) {
  if ((descriptor.flags & ~(kPlainFlags | vring::kIndirect)) != 0) {
    return QueueError{QueueFault::kUnknownFlags, descriptor.flags};
  }
  // Unlike split: a table stands alone.
  if (descriptor.has(vring::kNext) || chain.used() != 0) {
    return QueueError{QueueFault::kIndirectAndNext, descriptor.flags};
  }
  return want_table(chain, descriptor);
}

std::optional<QueueError> PackedDeviceQueue::read_table(ChainBuilder& chain,
                                                        std::span<const std::uint64_t> words) {
  for (std::size_t i = 0; i < words.size(); i += 2) {
    const Descriptor descriptor = Descriptor::packed(words[i], words[i + 1]);
    if (descriptor.has(vring::kIndirect)) return QueueError{QueueFault::kNestedIndirect, i / 2};
    // WRITE is the only flag with a meaning here; the device ignores the others.
    if (!chain.add(descriptor)) return chain.find_fault(descriptor);
  }
  return std::nullopt;
}

bool PackedDeviceQueue::write_used(std::span<ChainRecord* const> done) {
  const RingPosition first = next_used_;
  std::uint16_t first_flags = 0;
  std::uint32_t slots = 0;
  for (const ChainRecord* record : done) {
    Descriptor used{0, record->written, packed_used_bits(next_used_.wrap), record->head};
    if (record->written != 0) used.flags |= vring::kWrite;
    const std::size_t at = std::size_t{next_used_.slot} * vring::kDescriptorSize + 8;
    if (slots == 0) {
      first_flags = used.flags;
      areas_.descriptors.store_relaxed32(at, used.length);
      areas_.descriptors.store_relaxed16(at + 4, used.tail);
    } else {
      areas_.descriptors.store_relaxed64(at, used.packed_word1());
    }
    slots += record->descriptors;
    next_used_.advance(record->descriptors, size_);
  }
  // The driver does not look behind the first entry before it is used; so this makes all visible.
  // ORDER: pairs with the driver's acquire of these flags.
  areas_.descriptors.store_release16(packed_flags_at(first.slot), first_flags);

  // ORDER: pairs with the driver's barrier between its suppression structure and its last look.
  full_barrier();
  return wants_packed_event(areas_.driver.load_relaxed32(0), event_idx_, next_used_, slots, size_);
}

void PackedDeviceQueue::suppress_notifications() {
  areas_.device.store_relaxed32(0, std::uint32_t{vring::kEventDisable} << 16);
}

bool PackedDeviceQueue::ask_for_notification() {
  areas_.device.store_relaxed32(
      0, event_idx_ ? std::uint32_t{vring::kEventDescriptor} << 16 | next_avail_.encoded()
                    : std::uint32_t{vring::kEventEnable} << 16);
  // ORDER: pairs with the driver's barrier between the flags that it publishes and its look at
  // this structure.
  full_barrier();
  return has_next();
}

}  // namespace vmsg
