#include "transport/driver_queue.hpp"

#include <limits>

#include "transport/packed_driver_queue.hpp"
#include "transport/split_driver_queue.hpp"

namespace vmsg {
namespace {

void clear(const SharedBytes& area) {
  constexpr std::byte kZero{0};
  for (std::size_t i = 0; i < area.size(); ++i) area.store(i, kZero);
}

}  // namespace

Result<std::unique_ptr<DriverQueue>, QueueError> DriverQueue::create(
    const DriverQueueOptions& options) {
  if (const auto fault = find_area_fault(options.format, options.size, options.areas)) {
    return std::unexpected(*fault);
  }
  clear(options.areas.descriptors);
  clear(options.areas.driver);
  clear(options.areas.device);
  if (options.format == QueueFormat::kPacked) return std::make_unique<PackedDriverQueue>(options);
  return std::make_unique<SplitDriverQueue>(options);
}

DriverQueue::DriverQueue(const DriverQueueOptions& options)
    : areas_(options.areas),
      size_(options.size),
      event_idx_(options.event_idx),
      indirect_(options.indirect),
      in_order_(options.in_order),
      buffers_(options.size),
      order_(options.in_order ? options.size : 0),
      free_(options.size) {}

AddOutcome DriverQueue::add(std::span<const Segment> readable, std::span<const Segment> writable,
                            std::uint64_t cookie, const IndirectTable* table) {
  const std::size_t segments = readable.size() + writable.size();
  if (segments == 0 || segments > kMaxQueueSize) return AddOutcome::kRefused;
  if (table != nullptr && (!indirect_ || table->bytes.size() < segments * vring::kDescriptorSize)) {
    return AddOutcome::kRefused;
  }
  const auto needed = static_cast<std::uint32_t>(table != nullptr ? 1 : segments);
  if (needed > size_) return AddOutcome::kRefused;

  std::uint64_t writable_length = 0;
  for (const Segment& segment : writable) writable_length += segment.length;
  std::uint64_t total = writable_length;
  for (const Segment& segment : readable) total += segment.length;
  if (total > std::numeric_limits<std::uint32_t>::max()) return AddOutcome::kRefused;

  if (needed > free_) return AddOutcome::kFull;

  const std::uint16_t id = write_buffer(readable, writable, table);
  buffers_[id] = {.cookie = cookie,
                  .writable_length = static_cast<std::uint32_t>(writable_length),
                  .sequence = next_sequence_,
                  .descriptors = static_cast<std::uint16_t>(needed),
                  .is_out = true};
  if (in_order_) order_[next_sequence_ % size_] = id;
  ++next_sequence_;
  free_ -= needed;
  ++outstanding_;
  return AddOutcome::kAdded;
}

Result<std::optional<UsedBuffer>, QueueError> DriverQueue::poll_used() {
  if (error_) return std::unexpected(*error_);
  std::optional<UsedEntry> entry = batch_;
  if (!entry) {
    const auto found = peek_used();
    if (!found) {
      error_ = found.error();
      return std::unexpected(*error_);
    }
    entry = *found;
  }
  if (!entry) return std::nullopt;
  auto taken = take_entry(*entry);
  if (!taken) error_ = taken.error();
  return taken;
}

Result<std::optional<UsedBuffer>, QueueError> DriverQueue::take_entry(const UsedEntry& entry) {
  if (entry.id >= size_ || !buffers_[entry.id].is_out) {
    return std::unexpected(QueueError{QueueFault::kUsedUnknownId, entry.id});
  }
  if (entry.written > buffers_[entry.id].writable_length) {
    return std::unexpected(QueueError{QueueFault::kUsedLength, entry.written});
  }

  auto id = static_cast<std::uint16_t>(entry.id);
  std::uint32_t written = entry.written;
  if (in_order_ && order_[first_sequence_ % size_] != id) {
    // The buffers before the one that the entry names were used completely.
    if (!batch_ && buffers_[id].sequence - first_sequence_ >= entry.max_buffers) {
      return std::unexpected(QueueError{QueueFault::kUsedOrder, entry.id});
    }
    batch_ = entry;
    id = order_[first_sequence_ % size_];
    written = buffers_[id].writable_length;
  } else {
    batch_.reset();
  }

  Buffer& buffer = buffers_[id];
  buffer.is_out = false;
  ++first_sequence_;
  --outstanding_;
  free_ += buffer.descriptors;
  collect(id, buffer);
  return UsedBuffer{buffer.cookie, written};
}

}  // namespace vmsg
