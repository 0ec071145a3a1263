#include "transport/chain.hpp"

#include <algorithm>

#include "transport/chain_pool.hpp"
#include "transport/result.hpp"

namespace vmsg {

void Chain::drop() { record_->pool->dropped(); }

void add_copies(CopyBatch& batch, const GuestRef& guest, std::span<const Segment> segments,
                std::uint32_t offset, std::span<std::byte> local, CopyOutcome& outcome) {
  for (const Segment& segment : segments) {
    if (local.empty()) return;
    if (offset >= segment.length) {
      offset -= segment.length;
      continue;
    }
    const std::size_t take = std::min<std::size_t>(segment.length - offset, local.size());
    if (offset == 0) {
      // Nearly always; and then there is nothing to add up.
      batch.add(guest, segment.address, local.first(take), outcome);
    } else {
      const auto address = segment.address.checked_add(offset);
      VMSG_INVARIANT(address.has_value());  // the segment holds its length
      batch.add(guest, *address, local.first(take), outcome);
    }
    local = local.subspan(take);
    offset = 0;
  }
  VMSG_INVARIANT(local.empty());
}

}  // namespace vmsg
