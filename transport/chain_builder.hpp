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

/// A small value: kept for a while when a chain goes on in a table that has to be copied first.
class ChainBuilder {
 public:
  ChainBuilder(ChainRecord& record, std::uint32_t max_descriptors)
      : record_(&record), left_(max_descriptors), max_(max_descriptors) {}

  [[nodiscard]] ChainRecord& record() const { return *record_; }
  /// Descriptors that still fit.
  [[nodiscard]] std::uint32_t left() const { return left_; }
  [[nodiscard]] std::uint32_t used() const { return max_ - left_; }

  [[nodiscard]] std::optional<QueueError> add(const Descriptor& descriptor) {
    if (left_ == 0) return QueueError{QueueFault::kChainTooLong, std::uint64_t{max_} + 1};
    --left_;
    const bool writes = descriptor.has(vring::kWrite);
    // A zero-length writable descriptor fixes the direction too.
    if (writes) {
      has_writable_ = true;
    } else if (has_writable_) {
      return QueueError{QueueFault::kReadAfterWrite, descriptor.address};
    }
    // Zero bytes are no range: they are left out, so that nobody behind this sees an empty segment
    // or asks the hypervisor for an empty copy. Their address is not looked at.
    if (descriptor.length == 0) return std::nullopt;

    const auto address = GrantAddress::parse(descriptor.address);
    if (!address) return QueueError{QueueFault::kBadAddress, descriptor.address};
    if (!address->holds(descriptor.length)) {
      return QueueError{QueueFault::kRangeEnd, descriptor.address};
    }
    const std::uint64_t total =
        std::uint64_t{record_->readable_length} + record_->writable_length + descriptor.length;
    if (total > std::numeric_limits<std::uint32_t>::max()) {
      return QueueError{QueueFault::kTotalLength, total};
    }
    // left_ bounds the sum of the two counts by what the record has room for.
    record_->segments[record_->readable_count + record_->writable_count] =
        Segment{*address, descriptor.length};
    if (writes) {
      ++record_->writable_count;
      record_->writable_length += descriptor.length;
    } else {
      ++record_->readable_count;
      record_->readable_length += descriptor.length;
    }
    return std::nullopt;
  }

 private:
  ChainRecord* record_;
  std::uint32_t left_;
  std::uint32_t max_;
  bool has_writable_ = false;
};

}  // namespace vmsg
