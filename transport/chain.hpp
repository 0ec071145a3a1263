// A descriptor chain after it was read and checked: a value of our own memory, which the other
// side cannot change any more. Only the bytes that its segments name are still the guest's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "transport/grant_address.hpp"
#include "transport/guest_memory.hpp"

namespace vmsg {

/// A checked range of the guest's memory: never empty, and address.holds(length).
struct Segment {
  GrantAddress address;
  std::uint32_t length;

  friend bool operator==(const Segment&, const Segment&) = default;
};

class ChainPool;

/// What a queue keeps about a chain in flight; only the queue's own code touches it.
struct alignas(64) ChainRecord {
  ChainPool* pool = nullptr;
  Segment* segments = nullptr;
  std::uint32_t readable_length = 0;
  std::uint32_t writable_length = 0;
  std::uint32_t written = 0;
  std::uint16_t readable_count = 0;
  std::uint16_t writable_count = 0;
  std::uint16_t head = 0;
  std::uint16_t descriptors = 0;  // of the ring itself: an indirect table counts as one
  bool is_completed = false;
};

/// One buffer that a driver made available. Move-only; complete it exactly once with
/// DeviceQueue::complete(). Dropping one is a bug of ours (checked) unless its queue was abandoned.
///
/// As small as a pointer and as cheap to move: the segments lie in storage that the queue allocated
/// when it was created. A chain must not outlive its queue.
class Chain {
 public:
  /// Holds nothing; so does a chain that was moved from or completed.
  Chain() = default;
  Chain(Chain&& other) noexcept : record_(std::exchange(other.record_, nullptr)) {}
  Chain& operator=(Chain&& other) noexcept {
    Chain old(std::move(*this));
    record_ = std::exchange(other.record_, nullptr);
    return *this;
  }
  Chain(const Chain&) = delete;
  Chain& operator=(const Chain&) = delete;
  ~Chain() {
    if (record_ != nullptr) drop();
  }

  [[nodiscard]] bool is_empty() const { return record_ == nullptr; }

  // Of a chain that is not empty:

  /// What the device reads, in order. Zero-length descriptors are left out.
  [[nodiscard]] std::span<const Segment> readable() const {
    return {record_->segments, record_->readable_count};
  }
  /// What the device writes, in order.
  [[nodiscard]] std::span<const Segment> writable() const {
    return {record_->segments + record_->readable_count, record_->writable_count};
  }
  /// The two sums together fit 32 bits.
  [[nodiscard]] std::uint32_t readable_length() const { return record_->readable_length; }
  [[nodiscard]] std::uint32_t writable_length() const { return record_->writable_length; }
  /// The head index (split) or buffer id (packed), for logs: unique among the chains in flight.
  [[nodiscard]] std::uint16_t head() const { return record_->head; }

 private:
  friend class ChainPool;

  explicit Chain(ChainRecord* record) : record_(record) {}
  void drop();

  ChainRecord* record_ = nullptr;
};

/// Adds the copies of `local.size()` bytes that begin `offset` bytes into `segments`: from the
/// guest into `local`, or the other way, as the batch's direction says. The range must lie inside
/// the segments (the chain's lengths tell), `local` and `outcome` live until batch.run() returned.
void add_copies(CopyBatch& batch, const GuestRef& guest, std::span<const Segment> segments,
                std::uint32_t offset, std::span<std::byte> local, CopyOutcome& outcome);

}  // namespace vmsg
