#include "xenbus-glue/shared_regions.hpp"

#include <algorithm>
#include <utility>

namespace vmsg {

SharedRegions::SharedRegions(xen::GrantMapper& mapper, xen::DomainId domain, RegionLimits limits)
    : mapper_(mapper), domain_(domain), limits_(limits) {
  regions_.reserve(limits_.regions);
}

Result<void, RegionError> SharedRegions::share(std::uint32_t region, GrantAddress address,
                                               std::uint32_t pages) {
  const std::uint64_t bytes = std::uint64_t{pages} * kGrantPageSize;
  if (pages == 0 || address.offset() != 0 || !address.holds(bytes)) {
    return std::unexpected(RegionError::kBadRange);
  }
  const auto after = std::ranges::lower_bound(regions_, address.raw(), {}, &Region::first);
  const bool touches_next = after != regions_.end() && after->first < address.raw() + bytes;
  const bool touches_previous =
      after != regions_.begin() &&
      std::prev(after)->first + std::prev(after)->map.bytes().size() > address.raw();
  if (touches_next || touches_previous ||
      std::ranges::find(regions_, region, &Region::id) != regions_.end()) {
    return std::unexpected(RegionError::kBadRange);
  }
  if (regions_.size() >= limits_.regions || pages > limits_.pages - pages_) {
    return std::unexpected(RegionError::kLimit);
  }
  auto map = mapper_.map(domain_, address.reference(), pages, Access::kReadWrite);
  if (!map) return std::unexpected(RegionError::kNotMapped);
  pages_ += pages;
  regions_.insert(after, Region{region, address.raw(), std::move(*map)});
  return {};
}

Result<void, RegionError> SharedRegions::unshare(std::uint32_t region) {
  const auto found = std::ranges::find(regions_, region, &Region::id);
  if (found == regions_.end()) return std::unexpected(RegionError::kUnknown);
  pages_ -= found->map.pages();
  regions_.erase(found);
  return {};
}

void SharedRegions::clear() {
  regions_.clear();
  pages_ = 0;
}

std::optional<SharedBytes> SharedRegions::find(GrantAddress address, std::uint64_t bytes) const {
  const auto after = std::ranges::upper_bound(regions_, address.raw(), {}, &Region::first);
  if (after == regions_.begin()) return std::nullopt;
  const Region& region = *std::prev(after);
  const SharedBytes all = region.map.bytes();
  const std::uint64_t offset = address.raw() - region.first;
  if (offset >= all.size() || bytes > all.size() - offset) return std::nullopt;
  return all.sub(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
}

}  // namespace vmsg
