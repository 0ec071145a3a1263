#include "transport/grant_address.hpp"

#include "transport/result.hpp"

namespace vmsg {
namespace {

constexpr std::uint64_t kSpan = std::uint64_t{1} << 44;  // 2^32 references of one page each

}  // namespace

std::optional<GrantAddress> GrantAddress::parse(std::uint64_t raw) {
  if ((raw & kMarker) == 0 || (raw & ~kMarker) >= kSpan) return std::nullopt;
  return GrantAddress(raw);
}

GrantAddress GrantAddress::of(std::uint32_t reference, std::uint32_t offset) {
  VMSG_INVARIANT(offset < kGrantPageSize);
  return GrantAddress(kMarker | (std::uint64_t{reference} * kGrantPageSize + offset));
}

std::optional<GrantAddress> GrantAddress::checked_add(std::uint64_t bytes) const {
  const std::uint64_t position = raw_ & ~kMarker;
  if (bytes >= kSpan - position) return std::nullopt;
  return GrantAddress(kMarker | (position + bytes));
}

bool GrantAddress::holds(std::uint64_t bytes) const { return bytes <= kSpan - (raw_ & ~kMarker); }

std::uint32_t GrantAddress::pages(std::uint64_t bytes) const {
  if (bytes == 0) return 0;
  return static_cast<std::uint32_t>((offset() + bytes + kGrantPageSize - 1) / kGrantPageSize);
}

}  // namespace vmsg
