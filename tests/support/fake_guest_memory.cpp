#include "tests/support/fake_guest_memory.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

namespace vmsg::test {

class FakeGuestMemory::Mapping final : public MappedRange {
 public:
  Mapping(FakeGuestMemory& memory, SharedBytes bytes) : memory_(memory), bytes_(bytes) {
    ++memory_.mappings_;
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;
  ~Mapping() override { --memory_.mappings_; }

  [[nodiscard]] SharedBytes bytes() const override { return bytes_; }

 private:
  FakeGuestMemory& memory_;
  SharedBytes bytes_;
};

FakeGuestMemory::FakeGuestMemory() : FakeGuestMemory(Options{}) {}

FakeGuestMemory::FakeGuestMemory(const Options& options)
    : first_reference_(options.first_reference),
      storage_((std::size_t{options.pages} + 1) * kGrantPageSize),
      grants_(options.pages, PageGrant::kNone),
      is_in_use_(options.pages) {
  const auto start = std::bit_cast<std::uintptr_t>(storage_.data());
  base_ = storage_.data() + (kGrantPageSize - start % kGrantPageSize) % kGrantPageSize;
}

FakeGuestMemory::~FakeGuestMemory() { VMSG_INVARIANT(mappings_ == 0); }

GrantAddress FakeGuestMemory::allocate(std::size_t bytes, PageGrant grant) {
  return allocate_at(0, bytes, grant);
}

GrantAddress FakeGuestMemory::allocate_at(std::uint32_t offset, std::size_t bytes,
                                          PageGrant grant) {
  const std::size_t pages =
      std::max<std::size_t>(1, (offset + bytes + kGrantPageSize - 1) / kGrantPageSize);
  std::size_t first = search_from_;
  std::size_t run = 0;
  for (std::size_t tried = 0; run < pages; ++tried) {
    VMSG_INVARIANT(tried < 2 * is_in_use_.size());  // the test needs more memory
    if (first + run == is_in_use_.size()) {
      first = 0;
      run = 0;
    }
    if (is_in_use_[first + run]) {
      first += run + 1;
      run = 0;
    } else {
      ++run;
    }
    if (first >= is_in_use_.size()) first = 0;
  }
  std::fill_n(is_in_use_.begin() + static_cast<std::ptrdiff_t>(first), pages, true);
  std::fill_n(grants_.begin() + static_cast<std::ptrdiff_t>(first), pages, grant);
  std::fill_n(base_ + first * kGrantPageSize + offset, bytes, std::byte{0});
  search_from_ = (first + pages) % is_in_use_.size();
  return GrantAddress::of(first_reference_ + static_cast<std::uint32_t>(first), offset);
}

void FakeGuestMemory::release(GrantAddress address, std::size_t bytes) {
  revoke(address, bytes);
  const std::size_t first = address.reference() - first_reference_;
  std::fill_n(is_in_use_.begin() + static_cast<std::ptrdiff_t>(first),
              std::max(1U, address.pages(bytes)), false);
}

std::byte* FakeGuestMemory::at(GrantAddress address, std::size_t size) {
  VMSG_INVARIANT(address.reference() >= first_reference_);
  const std::size_t position =
      std::size_t{address.reference() - first_reference_} * kGrantPageSize + address.offset();
  VMSG_INVARIANT(position + size <= grants_.size() * kGrantPageSize);
  return base_ + position;
}

std::span<std::byte> FakeGuestMemory::bytes(GrantAddress address, std::size_t size) {
  return {at(address, size), size};
}

SharedBytes FakeGuestMemory::shared(GrantAddress address, std::size_t size) {
  return SharedBytes::unchecked_wrap(at(address, size), size);
}

void FakeGuestMemory::set_grant(std::uint32_t reference, PageGrant grant) {
  grants_.at(reference - first_reference_) = grant;
}

void FakeGuestMemory::revoke(GrantAddress address, std::size_t size) {
  for (std::uint32_t i = 0; i < address.pages(size); ++i) {
    set_grant(address.reference() + i, PageGrant::kNone);
  }
}

bool FakeGuestMemory::may_access(std::uint32_t reference, Access access) const {
  if (reference < first_reference_ || reference - first_reference_ >= grants_.size()) return false;
  const PageGrant grant = grants_[reference - first_reference_];
  return grant == PageGrant::kReadWrite ||
         (grant == PageGrant::kReadOnly && access == Access::kReadOnly);
}

Result<std::unique_ptr<MappedRange>, MemoryError> FakeGuestMemory::map(GrantAddress address,
                                                                       std::uint64_t bytes,
                                                                       Access access) {
  if (bytes == 0 || !address.holds(bytes)) return std::unexpected(MemoryError::kBadRange);
  if (bytes > grants_.size() * kGrantPageSize) return std::unexpected(MemoryError::kNotGranted);
  for (std::uint32_t i = 0; i < address.pages(bytes); ++i) {
    if (!may_access(address.reference() + i, access)) {
      return std::unexpected(MemoryError::kNotGranted);
    }
  }
  return std::make_unique<Mapping>(*this, shared(address, bytes));
}

CopyOutcome FakeGuestMemory::copy(const PagePiece& piece, std::byte* local,
                                  CopyDirection direction) {
  const Access access =
      direction == CopyDirection::kFromGuest ? Access::kReadOnly : Access::kReadWrite;
  if (!may_access(piece.reference, access)) return CopyOutcome::kNotGranted;
  std::byte* const page = at(GrantAddress::of(piece.reference, piece.offset), piece.length);
  if (direction == CopyDirection::kFromGuest) {
    std::memcpy(local, page, piece.length);
  } else {
    std::memcpy(page, local, piece.length);
  }
  return CopyOutcome::kOk;
}

FakeCopyBatch::FakeCopyBatch(CopyDirection direction, FakeGuestMemory& memory)
    : direction_(direction) {
  add_guest(0, memory);
}

void FakeCopyBatch::add_guest(std::uint16_t domain, FakeGuestMemory& memory) {
  guests_[domain] = &memory;
}

void FakeCopyBatch::add(const GuestRef& guest, GrantAddress address, std::span<std::byte> local,
                        CopyOutcome& outcome) {
  pending_.push_back({guests_.at(guest.domain), address, local, &outcome});
}

void FakeCopyBatch::run() {
  ++runs_;
  if (before_run_) before_run_();
  const bool fails = std::exchange(fail_next_run_, false);
  for (const Copy& copy : pending_) {
    if (fails) {
      *copy.outcome = CopyOutcome::kFailed;
    } else {
      run_one(copy);
    }
  }
  pending_.clear();
}

void FakeCopyBatch::run_one(const Copy& copy) {
  if (!copy.address.holds(copy.local.size())) {
    *copy.outcome = CopyOutcome::kBadRange;
    return;
  }
  std::byte* local = copy.local.data();
  for (PagePieces pieces(copy.address, static_cast<std::uint32_t>(copy.local.size()));
       const auto piece = pieces.next();) {
    ++segments_;
    bytes_ += piece->length;
    const CopyOutcome outcome = copy.memory->copy(*piece, local, direction_);
    if (outcome != CopyOutcome::kOk) *copy.outcome = outcome;
    local += piece->length;
  }
}

}  // namespace vmsg::test
