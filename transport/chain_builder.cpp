#include "transport/chain_builder.hpp"

namespace vmsg {

// Off the path of good chains, so it may look at everything once more. What add() changes before it
// refuses decides none of these questions differently.
QueueError ChainBuilder::find_fault(const Descriptor& descriptor) const {
  if (has_writable_ && !descriptor.has(vring::kWrite)) {
    return {QueueFault::kReadAfterWrite, descriptor.address};
  }
  const auto address = GrantAddress::parse(descriptor.address);
  if (descriptor.length != 0 && !address) return {QueueFault::kBadAddress, descriptor.address};
  if (descriptor.length != 0 && !address->holds(descriptor.length)) {
    return {QueueFault::kRangeEnd, descriptor.address};
  }
  if (total_ + descriptor.length > kMaxTotal) {
    return {QueueFault::kTotalLength, total_ + descriptor.length};
  }
  return {QueueFault::kChainTooLong, std::uint64_t{max_} + 1};
}

}  // namespace vmsg
