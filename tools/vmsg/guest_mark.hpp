// What xenstore remembers of a guest whose devices were planned, with the domain's other nodes of
// the toolstack: whoever comes next gives it none twice, and what is missing. No guest can write
// there.
//
// /libxl/DOMID/virtio-msg has lines: the configuration that they are from (`-` for entries of xl's
// own virtio list), and for each backend the domain that got its devices (`-` while they wait for
// one), a space, and what the configuration calls it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "transport/result.hpp"
#include "xenbus-glue/store.hpp"

namespace vmsg::tool {

struct GuestMark {
  struct Backend {
    std::optional<xen::DomainId> domain;  // none: its devices wait
    std::string name;

    bool operator==(const Backend&) const = default;
  };

  std::string config;  // empty: none
  std::vector<Backend> backends;

  bool operator==(const GuestMark&) const = default;
};

[[nodiscard]] Result<void, xen::XenError> write_mark(xen::StoreOps& store, xen::DomainId guest,
                                                     const GuestMark& mark);
[[nodiscard]] Result<std::optional<GuestMark>, xen::XenError> read_mark(xen::StoreOps& store,
                                                                        xen::DomainId guest);

}  // namespace vmsg::tool
