#include "devices/blk/fixed_memory.hpp"

#include <algorithm>
#include <bit>
#include <utility>

namespace vmsg::blk {

void FixedMemory::look() {
  operations_ = 0;
  if (used_ <= tried_) return;
  // By powers of two, so that growing use does not mean pinning over and over. Also what was
  // refused is asked for again only when it has become more.
  tried_ = std::min(std::bit_ceil(used_), pool_.size());
  const auto larger = buffers_.add(pool_.first(tried_));
  if (!larger) return;
  release();
  number_ = larger;
  fixed_ = tried_;
}

void FixedMemory::release() {
  fixed_ = 0;
  if (const auto number = std::exchange(number_, std::nullopt)) buffers_.remove(*number);
}

}  // namespace vmsg::blk
