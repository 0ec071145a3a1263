// Pages of one or several domains' memory at consecutive addresses of this process.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vmsg::mock {

/// One page: where it comes from.
struct PageSource {
  int fd = -1;  ///< a domain's memory
  std::uint32_t page = 0;
};

/// `pages` are not empty. Null with errno on failure. `prot` as for mmap().
void* map_pages(std::span<const PageSource> pages, int prot);

}  // namespace vmsg::mock
