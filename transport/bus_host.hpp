// What the device-side bus needs from whoever runs it: ports bound, regions mapped, removals
// finished. The backend implements it; tests fake it.
#pragma once

#include <cstdint>

#include "transport/device.hpp"
#include "transport/grant_address.hpp"

namespace vmsg {

enum class PortAnswer : std::uint8_t { kBound, kNotBound, kLimit };

enum class RegionAnswer : std::uint8_t {
  kShared,
  kNotMapped,
  kLimit,
  kPending,  // followed by exactly one BusEndpoint::region_shared()
};

/// All members are called on the control thread, from within a call to the BusEndpoint. They may
/// not call back into it, except ejected().
class BusHost {
 public:
  BusHost() = default;
  BusHost(const BusHost&) = delete;
  BusHost& operator=(const BusHost&) = delete;
  virtual ~BusHost() = default;

  /// Binds a port of the driver side for a queue that is enabled, in place of one bound before.
  /// On failure the queue is without a port. The port is given up again by unbind_queue_port(), and
  /// by the queue's QueueHost when it is asked to release() the queue or release_all().
  [[nodiscard]] virtual PortAnswer bind_queue_port(std::uint16_t device, std::uint32_t queue,
                                                   std::uint32_t port) = 0;

  /// Kicks of the queue come through the ring again. Also called for queues without a port.
  virtual void unbind_queue_port(std::uint16_t device, std::uint32_t queue) = 0;

  /// Maps `pages` consecutive grants from `address` on; the range was checked for form.
  [[nodiscard]] virtual RegionAnswer share_region(std::uint32_t region, GrantAddress address,
                                                  std::uint32_t pages) = 0;

  /// Really gives a region back. kPending is followed by exactly one
  /// BusEndpoint::region_unshared().
  [[nodiscard]] virtual Release unshare_region(std::uint32_t region) = 0;

  /// The driver side has done with a device (asked or unasked), or refuses to let it go. The
  /// answer is already on its way, so detach() may be called from here.
  virtual void ejected(std::uint16_t device, bool is_done) = 0;
};

}  // namespace vmsg
