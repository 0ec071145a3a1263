// Page-aligned anonymous memory of our own: the local side of grant copies, and of direct I/O.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

namespace vmsg::xen {

/// Zeroed, move-only, unmapped when destroyed.
class AnonymousPages {
 public:
  AnonymousPages() = default;
  AnonymousPages(AnonymousPages&& other) noexcept;
  AnonymousPages& operator=(AnonymousPages&& other) noexcept;
  ~AnonymousPages();

  /// At least `bytes`, rounded up to pages; nullopt when there is no memory (or for 0).
  static std::optional<AnonymousPages> create(std::size_t bytes);

  [[nodiscard]] std::span<std::byte> bytes() const { return {base_, size_}; }

 private:
  AnonymousPages(std::byte* base, std::size_t size) : base_(base), size_(size) {}

  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace vmsg::xen
