// Mapping another domain's pages: queue areas, rings and shared regions, which stay mapped for
// long. Buffers of single requests are copied instead (grant_copy.hpp).
//
// A mapper may be used by one thread at a time; a worker has a mapper of its own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/guest_memory.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg::xen {

class GrantMapper;

/// Pages of another domain, mapped until this is destroyed. Move-only. Must not outlive its
/// GrantMapper. A read-only map is mapped without write access: writing through it faults.
class GrantMap {
 public:
  GrantMap() = default;
  GrantMap(GrantMap&& other) noexcept;
  GrantMap& operator=(GrantMap&& other) noexcept;
  ~GrantMap() { unmap(); }

  [[nodiscard]] bool is_mapped() const { return owner_ != nullptr; }
  [[nodiscard]] SharedBytes bytes() const {
    return SharedBytes::unchecked_wrap(base_, std::size_t{pages_} * kGrantPageSize);
  }
  [[nodiscard]] std::uint32_t pages() const { return pages_; }
  [[nodiscard]] Access access() const { return access_; }

  /// Gives the pages back now. No SharedBytes of them may be used any more.
  void unmap();

 private:
  friend class GrantMapper;
  struct Owner;
  GrantMap(Owner* owner, std::byte* base, std::uint32_t pages, Access access)
      : owner_(owner), base_(base), pages_(pages), access_(access) {}

  Owner* owner_ = nullptr;
  std::byte* base_ = nullptr;
  std::uint32_t pages_ = 0;
  Access access_ = Access::kReadOnly;
};

/// One libxengnttab handle.
class GrantMapper {
 public:
  static Result<GrantMapper, XenError> open();

  GrantMapper(GrantMapper&&) noexcept;
  GrantMapper& operator=(GrantMapper&&) noexcept;
  /// All maps are gone by now; one left is our bug and ends the process.
  ~GrantMapper();

  /// `count` consecutive references from `first` on, all or none. EINVAL for 0 pages or a range
  /// past the last reference.
  [[nodiscard]] Result<GrantMap, XenError> map(DomainId domain, GrantRef first, std::uint32_t count,
                                               Access access);

  /// Any references, as one contiguous span in this order, all or none.
  [[nodiscard]] Result<GrantMap, XenError> map_refs(DomainId domain, std::span<const GrantRef> refs,
                                                    Access access);

  /// Pages mapped now.
  [[nodiscard]] std::uint32_t mapped_pages() const;
  /// Unmaps that the kernel refused. Their pages stay mapped until the process ends.
  [[nodiscard]] std::uint32_t failed_unmaps() const;

 private:
  friend class GrantCopyBatch;
  explicit GrantMapper(std::unique_ptr<GrantMap::Owner> owner);

  std::unique_ptr<GrantMap::Owner> owner_;  // on the heap: maps keep its address while this moves
};

/// One guest's memory by grant address, with a limit on what that guest can make us map.
class GrantGuestMemory final : public GuestMemory {
 public:
  /// `mapper` outlives this; this outlives every range that it returned.
  GrantGuestMemory(GrantMapper& mapper, DomainId domain, std::uint32_t page_limit)
      : mapper_(mapper), domain_(domain), page_limit_(page_limit) {}
  ~GrantGuestMemory() override;

  [[nodiscard]] Result<std::unique_ptr<MappedRange>, MemoryError> map(GrantAddress address,
                                                                      std::uint64_t bytes,
                                                                      Access access) override;

  [[nodiscard]] std::uint32_t mapped_pages() const { return mapped_pages_; }

 private:
  class Range;

  GrantMapper& mapper_;
  DomainId domain_;
  std::uint32_t page_limit_;
  std::uint32_t mapped_pages_ = 0;
};

}  // namespace vmsg::xen
