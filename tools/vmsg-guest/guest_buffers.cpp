#include "tools/vmsg-guest/guest_buffers.hpp"

#include <utility>

namespace vmsg::guest {

Result<GuestBuffers, Failure> GuestBuffers::create(GuestLink& link, std::uint32_t pages,
                                                   Access access) {
  const bool is_region = link.has_shared_regions();
  auto shared = link.sharer().share_consecutive(link.device_domain(), pages,
                                                is_region ? Access::kReadWrite : access);
  if (!shared) return std::unexpected("buffers: " + xen::to_string(shared.error()));
  GuestBuffers buffers(link, std::move(*shared));
  if (is_region) {
    const auto region = link.share_region(*buffers.address(), pages);
    if (!region) return std::unexpected(region.error());
    buffers.region_ = *region;
  }
  return buffers;
}

GuestBuffers::GuestBuffers(GuestBuffers&& other) noexcept
    : link_(other.link_),
      pages_(std::move(other.pages_)),
      region_(std::exchange(other.region_, std::nullopt)) {}

GuestBuffers& GuestBuffers::operator=(GuestBuffers&& other) noexcept {
  if (this != &other) {
    give_back();
    link_ = other.link_;
    pages_ = std::move(other.pages_);
    region_ = std::exchange(other.region_, std::nullopt);
  }
  return *this;
}

void GuestBuffers::give_back() {
  // The pages are ours again only after the answer. Without one the link is lost, and the device
  // side gives them back when it hears of that.
  if (const auto region = std::exchange(region_, std::nullopt)) {
    static_cast<void>(link_->unshare_region(*region));
  }
}

}  // namespace vmsg::guest
