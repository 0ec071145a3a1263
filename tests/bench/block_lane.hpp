// One virtqueue of a block device kept full of requests: the load that every measurement of a
// device side uses, whatever transport is below. It knows the queue and memory that the device
// reaches; how the device is told and how one waits for it is the caller's.
#pragma once

#include <cstdint>
#include <random>
#include <span>
#include <vector>

#include "transport/driver_queue.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg::bench {

enum class Pattern : std::uint8_t { kRandomRead, kRandomWrite, kRead, kWrite };

struct LaneOptions {
  std::uint32_t depth = 1;     // requests that are out at a time
  std::uint32_t block = 4096;  // bytes of each
  std::uint32_t segment = 0;   // bytes of a descriptor of its data; 0: the whole block
  Pattern pattern = Pattern::kRandomRead;
  bool indirect = false;
  std::uint64_t disk_bytes = 0;
};

class BlockLane {
 public:
  /// Bytes of memory that a lane needs, whole pages.
  static std::uint64_t memory_for(const LaneOptions& options);
  /// Ring entries that a lane needs at least.
  static std::uint32_t entries_for(const LaneOptions& options);

  /// `memory` begins at `base` for the device. Queue and memory outlive the lane.
  BlockLane(DriverQueue& queue, SharedBytes memory, GrantAddress base, const LaneOptions& options);

  /// Adds as many requests as there is room for; publish() is the caller's.
  void fill();
  /// Takes what the device used; says how many. A device that breaks the queue ends the lane.
  std::size_t collect();

  [[nodiscard]] DriverQueue& queue() { return queue_; }
  [[nodiscard]] std::uint64_t operations() const { return operations_; }
  /// Requests that ended with another status than success.
  [[nodiscard]] std::uint64_t errors() const { return errors_; }
  [[nodiscard]] bool is_broken() const { return is_broken_; }
  [[nodiscard]] std::uint32_t out() const {
    return options_.depth - static_cast<std::uint32_t>(free_.size());
  }

 private:
  void add(std::uint32_t slot);
  [[nodiscard]] std::uint64_t next_sector();

  DriverQueue& queue_;
  SharedBytes memory_;
  LaneOptions options_;
  std::vector<std::uint32_t> free_;  // slots
  // Of each slot, prepared once: header, data, status.
  struct Slot {
    std::size_t header_at;
    std::vector<Segment> readable;
    std::vector<Segment> writable;
    IndirectTable table;
  };
  std::vector<Slot> slots_;
  std::uint64_t blocks_;
  std::uint64_t next_block_ = 0;
  std::minstd_rand random_{1};
  std::uint64_t operations_ = 0;
  std::uint64_t errors_ = 0;
  bool is_broken_ = false;
};

}  // namespace vmsg::bench
