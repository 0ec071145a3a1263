// Pages for the buffers of a device: granted, and on a link that shares regions also mapped by the
// device side for as long as this lives, so that it copies without a call to the hypervisor.
#pragma once

#include <cstdint>
#include <optional>

#include "tools/vmsg-guest/guest_link.hpp"
#include "xenbus-glue/grant_share.hpp"

namespace vmsg::guest {

class GuestBuffers {
 public:
  /// `access` is what the device side may do; with shared regions it may always do both. The link
  /// outlives the buffers.
  static Result<GuestBuffers, Failure> create(GuestLink& link, std::uint32_t pages, Access access);

  GuestBuffers() = default;
  GuestBuffers(GuestBuffers&& other) noexcept;
  GuestBuffers& operator=(GuestBuffers&& other) noexcept;
  ~GuestBuffers() { give_back(); }

  [[nodiscard]] SharedBytes bytes() const { return pages_.bytes(); }
  [[nodiscard]] std::optional<GrantAddress> address() const { return pages_.address(); }

 private:
  GuestBuffers(GuestLink& link, xen::SharedPages pages) : link_(&link), pages_(std::move(pages)) {}

  void give_back();

  GuestLink* link_ = nullptr;
  xen::SharedPages pages_;
  std::optional<std::uint32_t> region_;
};

}  // namespace vmsg::guest
