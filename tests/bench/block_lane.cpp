#include "tests/bench/block_lane.hpp"

#include <algorithm>
#include <bit>

namespace vmsg::bench {
namespace {

constexpr std::uint32_t kSector = 512;
constexpr std::uint32_t kTypeIn = 0;
constexpr std::uint32_t kTypeOut = 1;

/// As virtio-blk has it, in front of every request.
struct Header {
  std::uint32_t type;
  std::uint32_t reserved;
  std::uint64_t sector;
};
constexpr std::size_t kHeaderBytes = sizeof(Header);
constexpr std::size_t kStatusAt = 16;
constexpr std::size_t kTableAt = 64;

bool is_write(Pattern pattern) {
  return pattern == Pattern::kRandomWrite || pattern == Pattern::kWrite;
}

std::uint32_t segments_of(const LaneOptions& options) {
  const std::uint32_t segment = options.segment == 0 ? options.block : options.segment;
  return (options.block + segment - 1) / segment;
}

/// Header, status and table of a slot: whole cache lines, and one grant page at most.
std::size_t control_bytes(const LaneOptions& options) {
  const std::size_t table = (std::size_t{segments_of(options)} + 2) * vring::kDescriptorSize;
  return std::bit_ceil(kTableAt + table);
}

std::size_t data_bytes(const LaneOptions& options) {
  return (std::size_t{options.block} + kGrantPageSize - 1) / kGrantPageSize * kGrantPageSize;
}

}  // namespace

std::uint64_t BlockLane::memory_for(const LaneOptions& options) {
  const std::uint64_t all = options.depth * (data_bytes(options) + control_bytes(options));
  return (all + kGrantPageSize - 1) / kGrantPageSize * kGrantPageSize;
}

std::uint32_t BlockLane::entries_for(const LaneOptions& options) {
  const std::uint32_t each = options.indirect ? 1 : segments_of(options) + 2;
  return std::bit_ceil(options.depth * each);
}

BlockLane::BlockLane(DriverQueue& queue, SharedBytes memory, GrantAddress base,
                     const LaneOptions& options)
    : queue_(queue),
      memory_(memory),
      options_(options),
      blocks_(std::max<std::uint64_t>(options.disk_bytes / options.block, 1)) {
  const bool writes = is_write(options.pattern);
  const std::uint32_t segment = options.segment == 0 ? options.block : options.segment;
  for (std::uint32_t i = 0; i < options.depth; ++i) {
    const std::size_t data_at = i * data_bytes(options);
    const std::size_t control_at = options.depth * data_bytes(options) + i * control_bytes(options);
    Slot slot{.header_at = control_at,
              .readable = {{*base.checked_add(control_at), kHeaderBytes}},
              .writable = {},
              .table = {*base.checked_add(control_at + kTableAt),
                        memory.sub(control_at + kTableAt, control_bytes(options) - kTableAt)}};
    for (std::uint32_t at = 0; at < options.block; at += segment) {
      (writes ? slot.readable : slot.writable)
          .push_back({*base.checked_add(data_at + at), std::min(segment, options.block - at)});
    }
    slot.writable.push_back({*base.checked_add(control_at + kStatusAt), 1});
    slots_.push_back(std::move(slot));
    free_.push_back(i);
  }
}

std::uint64_t BlockLane::next_sector() {
  const bool is_random =
      options_.pattern == Pattern::kRandomRead || options_.pattern == Pattern::kRandomWrite;
  const std::uint64_t block = is_random ? random_() % blocks_ : next_block_++ % blocks_;
  return block * (options_.block / kSector);
}

void BlockLane::fill() {
  while (!free_.empty() && !is_broken_) {
    const std::uint32_t number = free_.back();
    const Slot& slot = slots_[number];
    memory_.store(slot.header_at, Header{.type = is_write(options_.pattern) ? kTypeOut : kTypeIn,
                                         .reserved = 0,
                                         .sector = next_sector()});
    memory_.store(slot.header_at + kStatusAt, std::uint8_t{0xff});
    if (queue_.add(slot.readable, slot.writable, number,
                   options_.indirect ? &slot.table : nullptr) != AddOutcome::kAdded) {
      is_broken_ = true;
      return;
    }
    free_.pop_back();
  }
}

std::size_t BlockLane::collect() {
  std::size_t count = 0;
  while (true) {
    const auto used = queue_.poll_used();
    if (!used) is_broken_ = true;
    if (!used || !*used) break;
    const auto number = static_cast<std::uint32_t>((*used)->cookie);
    if (memory_.load<std::uint8_t>(slots_[number].header_at + kStatusAt) != 0) ++errors_;
    free_.push_back(number);
    ++count;
  }
  operations_ += count;
  return count;
}

}  // namespace vmsg::bench
