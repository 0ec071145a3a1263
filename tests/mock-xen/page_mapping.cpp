// Pages of several files at consecutive addresses: see page_mapping.hpp.
#include "tests/mock-xen/page_mapping.hpp"

#include <sys/mman.h>

#include <cerrno>

#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {
namespace {

/// Pages from `first` on that lie one behind the other in one file.
std::size_t run_length(std::span<const PageSource> pages, std::size_t first) {
  std::size_t length = 1;
  while (first + length < pages.size() && pages[first + length].fd == pages[first].fd &&
         pages[first + length].page == pages[first].page + length) {
    ++length;
  }
  return length;
}

}  // namespace

void* map_pages(std::span<const PageSource> pages, int prot) {
  const std::size_t bytes = pages.size() * kPageSize;
  if (run_length(pages, 0) == pages.size()) {
    const off_t start = static_cast<off_t>(pages[0].page) * static_cast<off_t>(kPageSize);
    void* const whole = ::mmap(nullptr, bytes, prot, MAP_SHARED, pages[0].fd, start);
    return whole == MAP_FAILED ? nullptr : whole;
  }
  // Reserve the addresses first; the pages then replace the reservation piece by piece.
  void* const base = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (base == MAP_FAILED) return nullptr;
  std::size_t at = 0;
  while (at < pages.size()) {
    const std::size_t length = run_length(pages, at);
    void* const place = static_cast<std::byte*>(base) + at * kPageSize;
    const off_t offset = static_cast<off_t>(pages[at].page) * static_cast<off_t>(kPageSize);
    if (::mmap(place, length * kPageSize, prot, MAP_SHARED | MAP_FIXED, pages[at].fd, offset) ==
        MAP_FAILED) {
      const int error = errno;
      ::munmap(base, bytes);
      errno = error;
      return nullptr;
    }
    at += length;
  }
  return base;
}

}  // namespace vmsg::mock
