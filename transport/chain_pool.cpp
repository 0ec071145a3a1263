#include "transport/chain_pool.hpp"

#include "transport/result.hpp"

namespace vmsg {
namespace {

// Segments of neighbouring chains begin an odd number of cache lines apart. With a power of two
// between them (128 segments of 16 bytes) the first lines of all chains would compete for a few
// sets of the cache.
std::size_t stride_of(std::size_t max_segments) {
  constexpr std::size_t kPerLine = 64 / sizeof(Segment);
  const std::size_t lines = (max_segments + kPerLine - 1) / kPerLine;
  return (lines | 1) * kPerLine;
}

}  // namespace

ChainPool::ChainPool(std::size_t max_chains, std::size_t max_segments)
    : max_segments_(static_cast<std::uint32_t>(max_segments)),
      segments_(max_chains * stride_of(max_segments), Segment{GrantAddress::of(0), 0}),
      records_(max_chains) {
  free_.reserve(max_chains);
  for (std::size_t i = max_chains; i-- > 0;) {
    records_[i].pool = this;
    records_[i].segments = &segments_[i * stride_of(max_segments)];
    free_.push_back(&records_[i]);
  }
}

ChainPool::~ChainPool() { VMSG_INVARIANT(outstanding_ == 0); }

void ChainPool::dropped() {
  // A buffer that is never given back hangs its driver.
  VMSG_INVARIANT(is_abandoned_);
  --outstanding_;
}

}  // namespace vmsg
