// The storage of a queue's chains: a fixed number of records, each with room for a fixed number of
// segments, allocated once. Internal to the queues.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "transport/chain.hpp"

namespace vmsg {

class ChainPool {
 public:
  /// Both at least 1; `max_segments` at most kMaxQueueSize.
  ChainPool(std::size_t max_chains, std::size_t max_segments);
  ChainPool(const ChainPool&) = delete;
  ChainPool& operator=(const ChainPool&) = delete;
  /// No chain is left.
  ~ChainPool();

  [[nodiscard]] std::size_t free() const { return free_.size(); }
  /// Chain values that exist.
  [[nodiscard]] std::size_t outstanding() const { return outstanding_; }
  [[nodiscard]] std::uint32_t max_segments() const { return max_segments_; }

  /// A record to fill; only when free() is not 0. The last one given back comes first: it is the
  /// one that the cache still has.
  [[nodiscard]] ChainRecord& acquire() {
    VMSG_INVARIANT(!free_.empty());
    ChainRecord& record = *free_.back();
    free_.pop_back();
    record.is_completed = false;
    return record;
  }
  void give_back(ChainRecord& record) { free_.push_back(&record); }

  [[nodiscard]] Chain wrap(ChainRecord& record) {
    ++outstanding_;
    return Chain(&record);
  }
  /// The record of one of our chains, which is empty afterwards.
  [[nodiscard]] ChainRecord& unwrap(Chain& chain) {
    VMSG_INVARIANT(chain.record_ != nullptr && chain.record_->pool == this);
    --outstanding_;
    return *std::exchange(chain.record_, nullptr);
  }

  /// From now on chains may be dropped.
  void abandon() { is_abandoned_ = true; }
  [[nodiscard]] bool is_abandoned() const { return is_abandoned_; }

 private:
  friend class Chain;
  void dropped();

  std::uint32_t max_segments_;
  std::vector<Segment> segments_;
  std::vector<ChainRecord> records_;  // never grows: chains point into it
  std::vector<ChainRecord*> free_;    // has room for all
  std::size_t outstanding_ = 0;
  bool is_abandoned_ = false;
};

}  // namespace vmsg
