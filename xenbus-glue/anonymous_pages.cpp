#include "xenbus-glue/anonymous_pages.hpp"

#include <sys/mman.h>

#include <limits>
#include <utility>

#include "transport/grant_address.hpp"

namespace vmsg::xen {

AnonymousPages::AnonymousPages(AnonymousPages&& other) noexcept
    : base_(std::exchange(other.base_, nullptr)), size_(std::exchange(other.size_, 0)) {}

AnonymousPages& AnonymousPages::operator=(AnonymousPages&& other) noexcept {
  std::swap(base_, other.base_);
  std::swap(size_, other.size_);
  return *this;
}

AnonymousPages::~AnonymousPages() {
  if (base_ != nullptr) static_cast<void>(::munmap(base_, size_));
}

std::optional<AnonymousPages> AnonymousPages::create(std::size_t bytes) {
  constexpr std::size_t kPage = kGrantPageSize;
  if (bytes == 0 || bytes > std::numeric_limits<std::size_t>::max() - kPage) return std::nullopt;
  const std::size_t size = (bytes + kPage - 1) / kPage * kPage;
  void* const base =
      ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return std::nullopt;
  return AnonymousPages(static_cast<std::byte*>(base), size);
}

}  // namespace vmsg::xen
