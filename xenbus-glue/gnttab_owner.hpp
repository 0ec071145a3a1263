// Internal to this folder: what stands behind a GrantMapper, for maps and for copies.
#pragma once

#include <cstdint>

#include "xenbus-glue/grant_map.hpp"
#include "xenbus-glue/silent_logger.hpp"

extern "C" {
#include <xengnttab.h>
}

namespace vmsg::xen {

struct GrantMap::Owner {
  explicit Owner(xengnttab_handle* opened) : handle(opened) {}
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner();

  xengnttab_handle* handle;
  std::uint32_t maps = 0;
  std::uint32_t mapped_pages = 0;
  std::uint32_t failed_unmaps = 0;
};

}  // namespace vmsg::xen
