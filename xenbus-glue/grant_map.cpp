#include "xenbus-glue/grant_map.hpp"

#include <sys/mman.h>

#include <cerrno>
#include <limits>
#include <utility>
#include <vector>

#include "xenbus-glue/gnttab_owner.hpp"

namespace vmsg::xen {
namespace {

// gntdev's own limit for one mapping (its `limit` parameter). More than that is refused there,
// after it allocated for it.
constexpr std::size_t kMaxPagesOfOneMap = 65536;

// What a guest can bring about by granting wrongly, as opposed to what our own side lacks.
bool is_refusal(int error) {
  switch (error) {
    case EINVAL:
    case EPERM:
    case EACCES:
    case ENOENT:
    case ESRCH:
    case EAGAIN:  // a page that the guest has paged out
      return true;
    default:
      return false;
  }
}

}  // namespace

GrantMap::Owner::~Owner() {
  VMSG_INVARIANT(maps == 0);
  // What an unmap could not unmap lives as long as its address range, that is, as the process.
  static_cast<void>(xengnttab_close(handle));
}

GrantMap::GrantMap(GrantMap&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      base_(std::exchange(other.base_, nullptr)),
      pages_(std::exchange(other.pages_, 0)),
      access_(other.access_) {}

GrantMap& GrantMap::operator=(GrantMap&& other) noexcept {
  if (this != &other) {
    unmap();
    owner_ = std::exchange(other.owner_, nullptr);
    base_ = std::exchange(other.base_, nullptr);
    pages_ = std::exchange(other.pages_, 0);
    access_ = other.access_;
  }
  return *this;
}

void GrantMap::unmap() {
  Owner* const owner = std::exchange(owner_, nullptr);
  if (owner == nullptr) return;
  if (xengnttab_unmap(owner->handle, base_, pages_) != 0) ++owner->failed_unmaps;
  --owner->maps;
  owner->mapped_pages -= pages_;
  base_ = nullptr;
  pages_ = 0;
}

GrantMapper::GrantMapper(std::unique_ptr<GrantMap::Owner> owner) : owner_(std::move(owner)) {}
GrantMapper::GrantMapper(GrantMapper&&) noexcept = default;
GrantMapper& GrantMapper::operator=(GrantMapper&&) noexcept = default;
GrantMapper::~GrantMapper() = default;

Result<GrantMapper, XenError> GrantMapper::open() {
  xengnttab_handle* const handle = xengnttab_open(silent_logger(), 0);
  if (handle == nullptr) {
    return std::unexpected(XenError{XenCall::kGnttabOpen, errno, std::nullopt});
  }
  return GrantMapper(std::make_unique<GrantMap::Owner>(handle));
}

Result<GrantMap, XenError> GrantMapper::map(DomainId domain, GrantRef first, std::uint32_t count,
                                            Access access) {
  constexpr std::uint64_t kReferences = std::uint64_t{std::numeric_limits<GrantRef>::max()} + 1;
  if (count == 0 || count > kReferences - first) {
    return std::unexpected(XenError{XenCall::kGnttabMap, EINVAL, domain});
  }
  if (count > kMaxPagesOfOneMap) {
    return std::unexpected(XenError{XenCall::kGnttabMap, E2BIG, domain});
  }
  std::vector<GrantRef> refs(count);
  for (std::uint32_t i = 0; i < count; ++i) refs[i] = first + i;
  return map_refs(domain, refs, access);
}

Result<GrantMap, XenError> GrantMapper::map_refs(DomainId domain, std::span<const GrantRef> refs,
                                                 Access access) {
  if (refs.empty()) return std::unexpected(XenError{XenCall::kGnttabMap, EINVAL, domain});
  if (refs.size() > kMaxPagesOfOneMap) {
    return std::unexpected(XenError{XenCall::kGnttabMap, E2BIG, domain});
  }
  const auto count = static_cast<std::uint32_t>(refs.size());
  const int protection = access == Access::kReadOnly ? PROT_READ : PROT_READ | PROT_WRITE;
  std::vector<GrantRef> ours(refs.begin(), refs.end());  // the C interface takes them writable
  void* const base =
      xengnttab_map_domain_grant_refs(owner_->handle, count, domain, ours.data(), protection);
  if (base == nullptr) return std::unexpected(XenError{XenCall::kGnttabMap, errno, domain});
  ++owner_->maps;
  owner_->mapped_pages += count;
  return GrantMap(owner_.get(), static_cast<std::byte*>(base), count, access);
}

std::uint32_t GrantMapper::mapped_pages() const { return owner_->mapped_pages; }
std::uint32_t GrantMapper::failed_unmaps() const { return owner_->failed_unmaps; }

class GrantGuestMemory::Range final : public MappedRange {
 public:
  Range(GrantGuestMemory& memory, GrantMap map, std::uint32_t offset, std::size_t bytes)
      : memory_(memory), map_(std::move(map)), bytes_(map_.bytes().sub(offset, bytes)) {
    memory_.mapped_pages_ += map_.pages();
  }
  ~Range() override { memory_.mapped_pages_ -= map_.pages(); }

  [[nodiscard]] SharedBytes bytes() const override { return bytes_; }

 private:
  GrantGuestMemory& memory_;
  GrantMap map_;
  SharedBytes bytes_;
};

GrantGuestMemory::~GrantGuestMemory() { VMSG_INVARIANT(mapped_pages_ == 0); }

Result<std::unique_ptr<MappedRange>, MemoryError> GrantGuestMemory::map(GrantAddress address,
                                                                        std::uint64_t bytes,
                                                                        Access access) {
  if (bytes == 0 || !address.holds(bytes)) return std::unexpected(MemoryError::kBadRange);
  // Compared as bytes first: the number of pages of the largest range does not fit its type.
  const std::uint32_t room = page_limit_ - mapped_pages_;
  if (bytes > std::uint64_t{room} * kGrantPageSize) return std::unexpected(MemoryError::kLimit);
  const std::uint32_t pages = address.pages(bytes);
  if (pages > room) return std::unexpected(MemoryError::kLimit);
  auto map = mapper_.map(domain_, address.reference(), pages, access);
  if (!map) {
    return std::unexpected(is_refusal(map.error().error) ? MemoryError::kNotGranted
                                                         : MemoryError::kFailed);
  }
  return std::make_unique<Range>(*this, std::move(*map), address.offset(),
                                 static_cast<std::size_t>(bytes));
}

}  // namespace vmsg::xen
