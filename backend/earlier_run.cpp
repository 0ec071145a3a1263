#include "backend/earlier_run.hpp"

#include "backend/device_catalog.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/device_nodes.hpp"

namespace vmsg {
namespace {

Result<void, xen::XenError> withdraw(xen::Store& store, const xen::DeviceNodeId& device) {
  const auto node = xen::read_device(store, device);
  if (!node) {
    // What is wrong with its nodes is said when it is to be made.
    if (node.error().fault != xen::NodeFault::kStore) return {};
    return std::unexpected(node.error().store.value());
  }
  if (!*node) return {};
  DeviceCatalog::remove_leftovers((*node)->type, (*node)->parameters);
  if ((*node)->published.empty()) return {};
  return xen::write_published(store, device, {});
}

}  // namespace

Result<void, xen::XenError> withdraw_earlier_run(xen::Store& store, xen::DomainId own_domain) {
  const auto buses = xen::list_buses_with_devices(store, own_domain);
  if (!buses) return std::unexpected(buses.error());
  for (const xen::BusId& bus : *buses) {
    const auto numbers = xen::list_devices(store, bus);
    if (!numbers) return std::unexpected(numbers.error());
    for (const std::uint16_t number : *numbers) {
      if (auto done = withdraw(store, {bus, number}); !done) return done;
    }
  }
  return {};
}

}  // namespace vmsg
