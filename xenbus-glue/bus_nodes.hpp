// The xenstore nodes of one bus (docs/virtio-msg-xen.md, "Xenstore"), for both sides and for the
// toolstack. Every path is derived from the bus's own numbers; a path that a peer wrote is compared
// and never followed. Every value is bounded in length and range.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "xenbus-glue/store.hpp"
#include "xenbus-glue/xenbus_state.hpp"

namespace vmsg::xen {

struct BusId {
  DomainId device_domain = 0;
  DomainId driver_domain = 0;
  std::uint32_t bus = 0;

  /// /local/domain/<be>/backend/virtio-msg/<fe>/<bus>
  [[nodiscard]] Path device_directory() const;
  /// /local/domain/<fe>/device/virtio-msg/<bus>
  [[nodiscard]] Path driver_directory() const;
  /// /local/domain/<be>/virtio-msg/<fe>/<bus>, where attached devices are listed
  [[nodiscard]] Path devices_directory() const;

  friend auto operator<=>(const BusId&, const BusId&) = default;
};

enum class NodeFault : std::uint8_t {
  kMissing,
  kMalformed,   // not the number or the text that belongs there, or too long
  kOutOfRange,  // a number outside of what was offered or can be
  kMismatch,    // contradicts what we know: another domain, a version that was not offered
  kStore,       // xenstore itself refused: see `store`
};

/// What is wrong with which node.
struct NodeError {
  NodeFault fault{};
  std::string_view node{};  // a literal of this folder
  std::optional<XenError> store{};

  friend bool operator==(const NodeError&, const NodeError&) = default;
};

/// "ring-ref: not a number", for the `error` node and for logs.
[[nodiscard]] std::string to_string(const NodeError& error);

/// What the device side offers.
struct Advertisement {
  std::uint32_t max_ring_page_order = 4;
  std::uint32_t max_message_size = 264;
  std::uint64_t transport_features = 0;
  bool queue_event_channels = false;
  bool shared_regions = false;

  friend bool operator==(const Advertisement&, const Advertisement&) = default;
};

/// What the driver side chose.
struct Answers {
  std::uint32_t version = 1;
  GrantRef ring_ref = 0;
  RemotePort event_channel{};  // as the device side sees it: the driver side's local port
  std::uint32_t max_message_size = 264;
  std::uint64_t transport_features = 0;
  bool queue_event_channels = false;
  bool shared_regions = false;

  friend bool operator==(const Answers&, const Answers&) = default;
};

// ---- both sides -------------------------------------------------------------------------------

[[nodiscard]] Result<XenbusState, XenError> read_state(StoreOps& store, const Path& directory);
[[nodiscard]] Result<void, XenError> write_state(StoreOps& store, const Path& directory,
                                                 XenbusState state);

// ---- device side ------------------------------------------------------------------------------

/// The buses that the store holds for this device domain, whatever their state.
[[nodiscard]] Result<std::vector<BusId>, XenError> list_buses(StoreOps& store,
                                                              DomainId device_domain);
/// Those of them that are of one driver domain.
[[nodiscard]] Result<std::vector<BusId>, XenError> list_buses_of(StoreOps& store,
                                                                 DomainId device_domain,
                                                                 DomainId driver_domain);
/// The buses that the toolstack has written devices for.
[[nodiscard]] Result<std::vector<BusId>, XenError> list_buses_with_devices(StoreOps& store,
                                                                           DomainId device_domain);
/// The bus that a path below `backend/virtio-msg` (relative or absolute, as a watch reports it)
/// belongs to; nullopt above a bus or for anything that is none.
[[nodiscard]] std::optional<BusId> bus_of_path(DomainId device_domain, std::string_view path);
/// The driver domain whose directory below `backend/virtio-msg` the path is in, or is.
[[nodiscard]] std::optional<DomainId> driver_domain_of_path(DomainId device_domain,
                                                            std::string_view path);

/// `frontend` and `frontend-id` are there and say what the path says.
[[nodiscard]] Result<void, NodeError> check_device_directory(StoreOps& store, const BusId& bus);
/// `online`; an absent or unintelligible node is false.
[[nodiscard]] Result<bool, XenError> read_online(StoreOps& store, const BusId& bus);
[[nodiscard]] Result<void, XenError> write_advertisement(StoreOps& store, const BusId& bus,
                                                         const Advertisement& offer);
[[nodiscard]] Result<Answers, NodeError> read_answers(StoreOps& store, const BusId& bus,
                                                      const Advertisement& offer);
/// Writes `error`, cut to a line of at most 256 printable characters.
[[nodiscard]] Result<void, XenError> write_bus_error(StoreOps& store, const BusId& bus,
                                                     std::string_view words);
[[nodiscard]] Result<void, XenError> clear_bus_error(StoreOps& store, const BusId& bus);
/// Everything of the bus that belongs to the device side, and parents that are empty then.
[[nodiscard]] Result<void, XenError> remove_device_side(Store& store, const BusId& bus);
/// Whether the driver domain is there. A device side without privileges may neither ask for domains
/// nor hear of @releaseDomain; for it a domain is gone when the driver side's directory is (or was
/// hidden by the guest, to its own loss), so ask whenever a driver side's state becomes unknown.
[[nodiscard]] Result<bool, XenError> is_driver_domain_alive(Store& store, const BusId& bus);
/// Buses whose driver domain is gone: what to remove after @releaseDomain.
[[nodiscard]] Result<std::vector<BusId>, XenError> list_orphaned_buses(Store& store,
                                                                       DomainId device_domain);

// ---- driver side ------------------------------------------------------------------------------

/// `backend` and `backend-id` are there and agree; gives the whole id.
[[nodiscard]] Result<BusId, NodeError> read_driver_directory(StoreOps& store,
                                                             DomainId driver_domain,
                                                             std::uint32_t bus);
[[nodiscard]] Result<std::vector<std::uint32_t>, XenError> list_driver_buses(
    StoreOps& store, DomainId driver_domain);
[[nodiscard]] Result<Advertisement, NodeError> read_advertisement(StoreOps& store,
                                                                  const BusId& bus);
[[nodiscard]] Result<void, XenError> write_answers(StoreOps& store, const BusId& bus,
                                                   const Answers& answers);

// ---- toolstack --------------------------------------------------------------------------------

struct NodeValue {
  Path path;
  std::string value;

  friend bool operator==(const NodeValue&, const NodeValue&) = default;
};

/// What create_bus() writes.
[[nodiscard]] std::vector<NodeValue> nodes_of_new_bus(const BusId& bus);

/// Both directories and the empty list of devices, with their permissions. Inside of transact().
/// EEXIST when the bus is there.
[[nodiscard]] Result<void, XenError> create_bus(StoreOps& store, const BusId& bus);
/// Asks the device side to close and remove the bus.
[[nodiscard]] Result<void, XenError> set_online(StoreOps& store, const BusId& bus, bool online);
/// Everything of the bus, on both sides. For when nobody serves it.
[[nodiscard]] Result<void, XenError> remove_bus(Store& store, const BusId& bus);

}  // namespace vmsg::xen
