#include "transport/grant_address.hpp"

#include "transport/result.hpp"

namespace vmsg {
GrantAddress GrantAddress::of(std::uint32_t reference, std::uint32_t offset) {
  VMSG_INVARIANT(offset < kGrantPageSize);
  return GrantAddress(kMarker | (std::uint64_t{reference} * kGrantPageSize + offset));
}

std::optional<GrantAddress> GrantAddress::checked_add(std::uint64_t bytes) const {
  const std::uint64_t position = raw_ & ~kMarker;
  if (bytes >= kSpan - position) return std::nullopt;
  return GrantAddress(kMarker | (position + bytes));
}

std::uint32_t GrantAddress::pages(std::uint64_t bytes) const {
  if (bytes == 0) return 0;
  return static_cast<std::uint32_t>((offset() + bytes + kGrantPageSize - 1) / kGrantPageSize);
}

}  // namespace vmsg
