#include "xenbus-glue/shared_regions.hpp"

#include <algorithm>
#include <utility>

namespace vmsg {

struct SharedRegions::Table {
  struct Entry {
    std::uint64_t first;
    SharedBytes bytes;
  };
  std::vector<Entry> entries;  // sorted, never empty, never overlapping
};

SharedRegions::Withdrawn::Withdrawn(RegionBudget& budget, xen::GrantMap map,
                                    std::vector<std::unique_ptr<const Table>> tables)
    : budget_(budget), map_(std::move(map)), tables_(std::move(tables)) {}

SharedRegions::Withdrawn::Withdrawn(Withdrawn&& other) noexcept = default;

SharedRegions::Withdrawn::~Withdrawn() {
  // No pages are left in one that was moved from.
  const std::uint32_t pages = map_.pages();
  map_.unmap();
  budget_.give_back(pages);
}

SharedRegions::SharedRegions(xen::GrantMapper& mapper, RegionBudget& budget, xen::DomainId domain,
                             const Limits& limits)
    : mapper_(mapper), budget_(budget), domain_(domain), limits_(limits) {
  regions_.reserve(limits_.regions);
}

SharedRegions::~SharedRegions() { budget_.give_back(pages_); }

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
  if (regions_.size() >= limits_.regions || pages > limits_.pages - pages_ ||
      !budget_.take(pages)) {
    return std::unexpected(RegionError::kLimit);
  }
  auto map = mapper_.map(domain_, address.reference(), pages, Access::kReadWrite);
  if (!map) {
    budget_.give_back(pages);
    return std::unexpected(RegionError::kNotMapped);
  }
  pages_ += pages;
  regions_.insert(after, Region{region, address.raw(), std::move(*map)});
  show();
  return {};
}

Result<SharedRegions::Withdrawn, RegionError> SharedRegions::withdraw(std::uint32_t region) {
  const auto found = std::ranges::find(regions_, region, &Region::id);
  if (found == regions_.end()) return std::unexpected(RegionError::kUnknown);
  xen::GrantMap map = std::move(found->map);
  pages_ -= map.pages();
  regions_.erase(found);
  show();
  return Withdrawn(budget_, std::move(map), std::exchange(old_tables_, {}));
}

void SharedRegions::show() {
  std::unique_ptr<Table> table;
  if (!regions_.empty()) {
    table = std::make_unique<Table>();
    table->entries.reserve(regions_.size());
    for (const Region& region : regions_) {
      table->entries.push_back({region.first, region.map.bytes()});
    }
  }
  // ORDER: pairs with the acquire in find().
  table_.store(table.get(), std::memory_order_release);
  if (shown_ != nullptr) old_tables_.push_back(std::move(shown_));
  shown_ = std::move(table);
}

std::optional<SharedBytes> SharedRegions::find_in(const Table& table, GrantAddress address,
                                                  std::uint64_t bytes) {
  const auto after =
      std::ranges::upper_bound(table.entries, address.raw(), {}, &Table::Entry::first);
  if (after == table.entries.begin()) return std::nullopt;
  const Table::Entry& entry = *std::prev(after);
  const std::uint64_t offset = address.raw() - entry.first;
  if (offset >= entry.bytes.size() || bytes > entry.bytes.size() - offset) return std::nullopt;
  return entry.bytes.sub(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
}

}  // namespace vmsg
