// What xenstore remembers of a guest whose devices were planned, with the domain's other nodes of
// the toolstack: whoever comes next gives it none twice, and what is missing.
//
//   /libxl/DOMID/virtio-msg           the configuration that they are from; `-` for entries of
//                                     xl's own virtio list
//   /libxl/DOMID/virtio-msg/waiting   there while some wait for their backend domain
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "transport/result.hpp"
#include "xenbus-glue/store.hpp"

namespace vmsg::tool {

struct GuestMark {
  std::string config;  // empty: none
  bool waits = false;

  bool operator==(const GuestMark&) const = default;
};

[[nodiscard]] Result<void, xen::XenError> write_mark(xen::Store& store, xen::DomainId guest,
                                                     const GuestMark& mark);
[[nodiscard]] Result<std::optional<GuestMark>, xen::XenError> read_mark(xen::StoreOps& store,
                                                                        xen::DomainId guest);

}  // namespace vmsg::tool
