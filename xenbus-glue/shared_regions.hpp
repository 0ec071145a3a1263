// The regions that one guest shares for long (SHARE_REGION): which part of its grant addresses is
// mapped already, so that buffers in it need no grant work.
//
// The table itself is not locked: it changes only while no worker uses it, that is, the owner lets
// the workers pass the end of a turn first. The bus answers UNSHARE_REGION after that.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "transport/guest_memory.hpp"
#include "xenbus-glue/grant_map.hpp"

namespace vmsg {

enum class RegionError : std::uint8_t {
  kBadRange,   // no pages, unaligned, past the last reference, overlaps or id in use
  kNotMapped,  // the guest's references do not map for writing
  kLimit,      // a limit of ours
  kUnknown,    // no such region
};

struct RegionLimits {
  std::uint32_t regions = 16;
  std::uint32_t pages = 65536;  // of all regions together
};

class SharedRegions {
 public:
  /// `mapper` outlives this.
  SharedRegions(xen::GrantMapper& mapper, xen::DomainId domain, RegionLimits limits = {});

  /// Maps `pages` consecutive references from `address` on.
  [[nodiscard]] Result<void, RegionError> share(std::uint32_t region, GrantAddress address,
                                                std::uint32_t pages);
  /// Really gives them back. Nobody may be copying from or to the region.
  [[nodiscard]] Result<void, RegionError> unshare(std::uint32_t region);
  void clear();

  /// The bytes of a range that lies in one region as a whole; nullopt otherwise.
  [[nodiscard]] std::optional<SharedBytes> find(GrantAddress address, std::uint64_t bytes) const;

  [[nodiscard]] std::size_t size() const { return regions_.size(); }
  [[nodiscard]] std::uint32_t pages() const { return pages_; }

 private:
  struct Region {
    std::uint32_t id;
    std::uint64_t first;  // raw grant address of the first byte
    xen::GrantMap map;
  };

  xen::GrantMapper& mapper_;
  xen::DomainId domain_;
  RegionLimits limits_;
  std::uint32_t pages_ = 0;
  std::vector<Region> regions_;  // sorted by address, never overlapping
};

}  // namespace vmsg
