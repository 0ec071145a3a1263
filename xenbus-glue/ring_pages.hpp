// The memory of one bus ring: the interface page and the data pages, mapped (device side) or shared
// (driver side). What the bytes mean beyond the constant fields is transport/'s business.
#pragma once

#include <cstdint>
#include <string>

#include "transport/virtio_msg_xen.h"
#include "xenbus-glue/grant_map.hpp"
#include "xenbus-glue/grant_share.hpp"

namespace vmsg::xen {

enum class RingFault : std::uint8_t {
  kInterfacePage,  // does not map: see `xen`
  kMagic,          // `value` is what stood there
  kOrder,          // `value` is what stood there
  kDataPages,      // do not map: see `xen`
};

struct RingPagesError {
  RingFault fault{};
  std::uint32_t value = 0;
  std::optional<XenError> xen{};

  friend bool operator==(const RingPagesError&, const RingPagesError&) = default;
};

[[nodiscard]] std::string to_string(const RingPagesError& error);

/// The device side's map of a ring. Move-only.
class MappedRing {
 public:
  /// Reads magic, order and references once each, and checks them before use.
  static Result<MappedRing, RingPagesError> map(GrantMapper& mapper, DomainId domain,
                                                GrantRef ring_ref, std::uint32_t max_order);

  [[nodiscard]] SharedBytes interface_page() const { return interface_.bytes(); }
  /// The data pages in the order of their references, as one span.
  [[nodiscard]] SharedBytes data() const { return data_.bytes(); }
  [[nodiscard]] std::uint32_t order() const { return order_; }

 private:
  MappedRing(GrantMap interface_page, GrantMap data, std::uint32_t order)
      : interface_(std::move(interface_page)), data_(std::move(data)), order_(order) {}

  GrantMap interface_;
  GrantMap data_;
  std::uint32_t order_;
};

/// The driver side's ring: allocated, shared, with its constant fields in place and all indices 0.
/// Move-only.
class OfferedRing {
 public:
  static Result<OfferedRing, XenError> create(GrantSharer& sharer, DomainId device_domain,
                                              std::uint32_t order);

  /// What the `ring-ref` node says.
  [[nodiscard]] GrantRef ring_ref() const { return interface_.refs().front(); }
  [[nodiscard]] SharedBytes interface_page() const { return interface_.bytes(); }
  [[nodiscard]] SharedBytes data() const { return data_.bytes(); }
  [[nodiscard]] std::uint32_t order() const { return order_; }

 private:
  OfferedRing(SharedPages interface_page, SharedPages data, std::uint32_t order)
      : interface_(std::move(interface_page)), data_(std::move(data)), order_(order) {}

  SharedPages interface_;
  SharedPages data_;
  std::uint32_t order_;
};

}  // namespace vmsg::xen
