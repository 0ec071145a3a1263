// Fills one chain record descriptor by descriptor, with every check that a descriptor needs on its
// own copy. Internal to the queues; inline because it runs for every descriptor.
#pragma once

#include <cstdint>
#include <limits>
#include <optional>

#include "transport/chain.hpp"
#include "transport/queue_error.hpp"
#include "transport/queue_layout.hpp"
#include "transport/ring_words.hpp"

namespace vmsg {

/// A small value that keeps its sums in registers until finish(); and is kept for a while itself
/// when a chain goes on in a table that has to be copied first.
class ChainBuilder {
 public:
  ChainBuilder(ChainRecord& record, std::uint32_t max_descriptors)
      : record_(&record), left_(max_descriptors), max_(max_descriptors) {}

  [[nodiscard]] ChainRecord& record() const { return *record_; }
  /// Descriptors that still fit.
  [[nodiscard]] std::uint32_t left() const { return left_; }
  [[nodiscard]] std::uint32_t used() const { return max_ - left_; }

  /// False when the descriptor is not acceptable: find_fault() says why.
  [[nodiscard]] bool add(const Descriptor& descriptor) {
    const bool writes = descriptor.has(vring::kWrite);
    const auto address = GrantAddress::parse(descriptor.address);
    const std::uint64_t total = total_ + descriptor.length;
    if (left_ == 0 || (has_writable_ && !writes)) return false;
    // A zero-length writable descriptor fixes the direction too.
    has_writable_ = writes;
    --left_;
    // Zero bytes are no range: they are left out, so that nobody behind this sees an empty segment
    // or asks the hypervisor for an empty copy. Their address is not looked at.
    if (descriptor.length == 0) return true;
    if (!address || !address->holds(descriptor.length) || total > kMaxTotal) return false;

    // left_ bounds the count by what the record has room for.
    record_->segments[count_++] = Segment{*address, descriptor.length};
    total_ = total;
    if (!writes) {
      readable_count_ = count_;
      readable_length_ = total;
    }
    return true;
  }

  /// Why add() has just refused this descriptor.
  [[nodiscard]] QueueError find_fault(const Descriptor& descriptor) const;

  /// Writes the counts and lengths down. May be done again when more was added.
  void finish() const {
    record_->readable_count = static_cast<std::uint16_t>(readable_count_);
    record_->writable_count = static_cast<std::uint16_t>(count_ - readable_count_);
    record_->readable_length = static_cast<std::uint32_t>(readable_length_);
    record_->writable_length = static_cast<std::uint32_t>(total_ - readable_length_);
  }

 private:
  static constexpr std::uint64_t kMaxTotal = std::numeric_limits<std::uint32_t>::max();

  ChainRecord* record_;
  std::uint64_t total_ = 0;
  std::uint64_t readable_length_ = 0;
  std::uint32_t count_ = 0;
  std::uint32_t readable_count_ = 0;
  std::uint32_t left_;
  std::uint32_t max_;
  bool has_writable_ = false;
};

}  // namespace vmsg
