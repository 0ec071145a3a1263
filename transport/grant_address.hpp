// The address form of this bus (docs/virtio-msg-xen.md, "Addresses"): bit 63 set, bits 62-44 clear,
// bits 43-12 a grant reference, bits 11-0 an offset in the page. Consecutive pages have
// consecutive references.
//
// Nothing else in the tree does arithmetic on such addresses.
#pragma once

#include <cstdint>
#include <optional>

namespace vmsg {

inline constexpr std::uint32_t kGrantPageSize = 4096;

class GrantAddress {
 public:
  /// A claim of the other side, checked for form only; nullopt when bit 63 is clear or a bit of
  /// 62-44 is set.
  static std::optional<GrantAddress> parse(std::uint64_t raw) {
    if ((raw & kMarker) == 0 || (raw & ~kMarker) >= kSpan) return std::nullopt;
    return GrantAddress(raw);
  }

  /// The address of `offset` in the page behind `reference`; `offset` < kGrantPageSize is ours to
  /// keep.
  static GrantAddress of(std::uint32_t reference, std::uint32_t offset = 0);

  [[nodiscard]] std::uint64_t raw() const { return raw_; }
  [[nodiscard]] std::uint32_t reference() const {
    return static_cast<std::uint32_t>((raw_ & ~kMarker) / kGrantPageSize);
  }
  [[nodiscard]] std::uint32_t offset() const {
    return static_cast<std::uint32_t>(raw_ % kGrantPageSize);
  }

  /// This address moved on by `bytes`; nullopt when that would leave the last reference.
  [[nodiscard]] std::optional<GrantAddress> checked_add(std::uint64_t bytes) const;

  /// Whether `bytes` from here on end at or before the end of the last reference's page.
  [[nodiscard]] bool holds(std::uint64_t bytes) const { return bytes <= kSpan - (raw_ & ~kMarker); }

  /// How many pages `bytes` from here on touch (0 for 0 bytes). Call holds() first.
  [[nodiscard]] std::uint32_t pages(std::uint64_t bytes) const;

  friend bool operator==(const GrantAddress&, const GrantAddress&) = default;

 private:
  static constexpr std::uint64_t kMarker = std::uint64_t{1} << 63;
  static constexpr std::uint64_t kSpan = std::uint64_t{1} << 44;  // 2^32 references of one page
  explicit GrantAddress(std::uint64_t raw) : raw_(raw) {}

  std::uint64_t raw_;
};

/// A piece of a range that lies in one page: what one grant-copy segment takes.
struct PagePiece {
  std::uint32_t reference;
  std::uint16_t offset;
  std::uint16_t length;  // 1 to kGrantPageSize

  friend bool operator==(const PagePiece&, const PagePiece&) = default;
};

/// Walks a range page by page without allocating: `for (PagePieces p(address, n); auto piece =
/// p.next();)`. The range must be one that address.holds(length) accepted.
class PagePieces {
 public:
  PagePieces(GrantAddress address, std::uint32_t length)
      : reference_(address.reference()), offset_(address.offset()), left_(length) {}

  std::optional<PagePiece> next() {
    if (left_ == 0) return std::nullopt;
    const std::uint32_t room = kGrantPageSize - offset_;
    const std::uint32_t take = left_ < room ? left_ : room;
    const PagePiece piece{reference_, static_cast<std::uint16_t>(offset_),
                          static_cast<std::uint16_t>(take)};
    ++reference_;
    offset_ = 0;
    left_ -= take;
    return piece;
  }

 private:
  std::uint32_t reference_;
  std::uint32_t offset_;
  std::uint32_t left_;
};

}  // namespace vmsg
