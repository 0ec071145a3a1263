#include "xenbus-glue/ring_pages.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "transport/endian.hpp"

namespace vmsg::xen {
namespace {

constexpr std::size_t kMaxRingPages = std::size_t{1} << VMSG_XEN_MAX_RING_PAGE_ORDER;
using RingRefs = std::array<Le32, kMaxRingPages>;
static_assert(sizeof(RingRefs) == 4 * kMaxRingPages);
static_assert(VMSG_XEN_IF_RING_REFS + sizeof(RingRefs) <= VMSG_XEN_PAGE_SIZE);
static_assert(VMSG_XEN_PAGE_SIZE == kGrantPageSize);

}  // namespace

std::string to_string(const RingPagesError& error) {
  switch (error.fault) {
    case RingFault::kInterfacePage:
      return "ring-ref: " + (error.xen ? to_string(*error.xen) : "does not map");
    case RingFault::kMagic:
      return fmt::format("interface page: magic is {:#010x}", error.value);
    case RingFault::kOrder:
      return fmt::format("interface page: ring_page_order is {}", error.value);
    case RingFault::kDataPages:
      return "data pages: " + (error.xen ? to_string(*error.xen) : "do not map");
  }
  return "ring";
}

Result<MappedRing, RingPagesError> MappedRing::map(GrantMapper& mapper, DomainId domain,
                                                   GrantRef ring_ref, std::uint32_t max_order) {
  auto interface_page = mapper.map(domain, ring_ref, 1, Access::kReadWrite);
  if (!interface_page) {
    return std::unexpected(RingPagesError{RingFault::kInterfacePage, 0, interface_page.error()});
  }
  const SharedBytes page = interface_page->bytes();
  const std::uint32_t magic = page.load<Le32>(VMSG_XEN_IF_MAGIC).get();
  if (magic != VMSG_XEN_MAGIC) {
    return std::unexpected(RingPagesError{RingFault::kMagic, magic, std::nullopt});
  }
  const std::uint32_t order = page.load<Le32>(VMSG_XEN_IF_RING_PAGE_ORDER).get();
  if (order > std::min<std::uint32_t>(max_order, VMSG_XEN_MAX_RING_PAGE_ORDER)) {
    return std::unexpected(RingPagesError{RingFault::kOrder, order, std::nullopt});
  }
  const auto raw = page.load<RingRefs>(VMSG_XEN_IF_RING_REFS);
  const std::size_t count = std::size_t{1} << order;
  std::array<GrantRef, kMaxRingPages> refs{};
  std::transform(raw.begin(), raw.begin() + count, refs.begin(),
                 [](Le32 ref) { return ref.get(); });
  auto data = mapper.map_refs(domain, std::span(refs).first(count), Access::kReadWrite);
  if (!data) return std::unexpected(RingPagesError{RingFault::kDataPages, 0, data.error()});
  return MappedRing(std::move(*interface_page), std::move(*data), order);
}

Result<OfferedRing, XenError> OfferedRing::create(GrantSharer& sharer, DomainId device_domain,
                                                  std::uint32_t order) {
  if (order > VMSG_XEN_MAX_RING_PAGE_ORDER) {
    return std::unexpected(XenError{XenCall::kGntshrShare, EINVAL, device_domain});
  }
  auto data = sharer.share(device_domain, std::uint32_t{1} << order, Access::kReadWrite);
  if (!data) return std::unexpected(data.error());
  auto interface_page = sharer.share(device_domain, 1, Access::kReadWrite);
  if (!interface_page) return std::unexpected(interface_page.error());
  const SharedBytes page = interface_page->bytes();
  page.store(VMSG_XEN_IF_MAGIC, Le32(VMSG_XEN_MAGIC));
  page.store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(order));
  std::size_t at = VMSG_XEN_IF_RING_REFS;
  for (const GrantRef ref : data->refs()) {
    page.store(at, Le32(ref));
    at += sizeof(Le32);
  }
  return OfferedRing(std::move(*interface_page), std::move(*data), order);
}

}  // namespace vmsg::xen
