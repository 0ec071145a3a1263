// A whole life of a bus, with every call of Xen's libraries failing once, one after the other:
// whatever fails, nothing is left and nothing crashes.
#include <array>
#include <cerrno>

#include "tests/xenbus-glue/xen_world.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/device_nodes.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/grant_copy.hpp"
#include "xenbus-glue/ring_pages.hpp"
#include "xenbus-glue/shared_regions.hpp"
#include "xenbus-glue/watches.hpp"

namespace vmsg::xen {
namespace {

class EveryFailureTest : public XenWorld {
 protected:
  const BusId bus{.device_domain = kDriverDomain, .driver_domain = kGuest, .bus = 0};

  /// The device side from its first call to its last. False as soon as one call failed.
  bool device_side_lives(GrantRef ring_ref, RemotePort remote, GrantAddress buffer) const {
    auto store = Store::open();
    if (!store) return false;
    Watches watches(**store);
    const auto watch = watches.watch(bus.driver_directory() / "state", [](const WatchReport&) {});
    if (!watch || !watches.turn()) return false;
    if (!(*store)->own_domain() || !list_buses(**store, kDriverDomain)) return false;
    if (!check_device_directory(**store, bus) || !read_online(**store, bus)) return false;
    if (!write_advertisement(**store, bus, offer())) return false;
    if (!write_state(**store, bus.device_directory(), XenbusState::kInitWait)) return false;
    if (!read_answers(**store, bus, offer())) return false;

    auto mapper = GrantMapper::open();
    if (!mapper) return false;
    const auto ring = MappedRing::map(*mapper, kGuest, ring_ref, 4);
    if (!ring) return false;
    auto channels = EventChannels::open();
    if (!channels) return false;
    auto port = channels->bind_interdomain(kGuest, remote);
    if (!port) return false;
    const auto pending = channels->next_pending();
    if (!pending || (*pending && !channels->unmask(**pending)) || !port->notify()) return false;

    GrantGuestMemory memory(*mapper, kGuest, 16);
    const auto range = memory.map(buffer, 100, Access::kReadOnly);
    RegionBudget budget(1);
    SharedRegions regions(*mapper, budget, kGuest, {});
    if (!range || !regions.share(1, buffer, 1) || !regions.withdraw(1)) return false;
    GrantCopyBatch copies(*mapper, CopyDirection::kFromGuest, 4);
    std::array<std::byte, 64> local{};
    CopyOutcome outcome = CopyOutcome::kOk;
    copies.add({.domain = kGuest}, buffer, local, outcome);
    copies.run();
    if (outcome != CopyOutcome::kOk) return false;

    const DeviceNodeId device{bus, 1};
    if (!read_device(**store, device)) return false;
    if (!write_device_status(**store, device, AttachStatus::kAttached)) return false;
    if (!remove_device(**store, device)) return false;
    return true;
  }

  static Advertisement offer() { return {.max_ring_page_order = 4, .max_message_size = 264}; }
};

TEST_F(EveryFailureTest, WhicheverCallOfTheDeviceSideFailsNothingIsLeft) {
  auto guest_grants = in_domain(kGuest, [] { return opened(GrantSharer::open()); });
  auto guest_events = in_domain(kGuest, [] { return opened(EventChannels::open()); });
  auto guest_store = in_domain(kGuest, [] { return opened(Store::open()); });
  auto toolstack = in_domain(0, [] { return opened(Store::open()); });
  ASSERT_TRUE(
      toolstack->transact([&](Transaction& transaction) { return create_bus(transaction, bus); })
          .has_value());
  const OfferedRing ring = opened(OfferedRing::create(guest_grants, kDriverDomain, 1));
  const auto buffer = guest_grants.share(kDriverDomain, 1, Access::kReadWrite);
  const auto port = guest_events.alloc_unbound(kDriverDomain);
  const auto remote = static_cast<RemotePort>(static_cast<std::uint32_t>(port->local()));
  ASSERT_TRUE(
      write_answers(*guest_store, bus,
                    {.ring_ref = ring.ring_ref(), .event_channel = remote, .max_message_size = 264})
          .has_value());
  ASSERT_THAT(xen.what_is_left(kDriverDomain), ::testing::IsEmpty());

  std::uint32_t visited = 0;
  for (bool is_done = false; !is_done; ++visited) {
    ASSERT_LT(visited, 1000U);
    ASSERT_TRUE(toolstack
                    ->transact([&](Transaction& transaction) -> Result<void, XenError> {
                      const DeviceNodeId device{bus, 1};
                      if (auto done = remove_device(transaction, device); !done) return done;
                      return create_device(transaction, device, "blk", {});
                    })
                    .has_value());
    SCOPED_TRACE(visited);
    const bool is_alive = in_domain(kDriverDomain, [&] {
      fail(kDriverDomain, mock::Call::kAny, EIO, visited);
      return device_side_lives(ring.ring_ref(), remote, *buffer->address());
    });
    const bool was_injected = xen.clear_failures() == 0;
    EXPECT_NE(is_alive, was_injected) << "a failure was swallowed, or made up";
    EXPECT_THAT(xen.what_is_left(kDriverDomain), ::testing::IsEmpty());
    is_done = !was_injected;
  }
  EXPECT_GT(visited, 30U);
}

}  // namespace
}  // namespace vmsg::xen
