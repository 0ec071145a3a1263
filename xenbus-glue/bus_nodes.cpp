#include "xenbus-glue/bus_nodes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <concepts>
#include <initializer_list>
#include <limits>
#include <utility>

#include "transport/virtio_msg_xen.h"
#include "xenbus-glue/node_text.hpp"
#include "xenbus-glue/numbers.hpp"

namespace vmsg::xen {
namespace {

constexpr std::uint32_t kMaxBus = std::numeric_limits<std::uint32_t>::max();
constexpr DomainId kMaxDomain = kFirstReservedDomain - 1;
constexpr std::uint32_t kMaxPort = std::numeric_limits<std::int32_t>::max();
constexpr std::size_t kMaxNumberText = 24;  // no number of ours is longer
constexpr std::size_t kMaxListText = 256;   // "1,2,3"

std::string to_hex(std::uint64_t value) { return fmt::format("{:x}", value); }

std::unexpected<NodeError> wrong(NodeFault fault, std::string_view node) {
  return std::unexpected(NodeError{fault, node, std::nullopt});
}

/// The nodes of one directory, read as what they have to be.
class Reader {
 public:
  Reader(StoreOps& store, Path directory) : store_(store), directory_(std::move(directory)) {}

  Result<std::optional<std::string>, NodeError> optional_text(Path::Name node, std::size_t max) {
    auto text = store_.find(directory_ / node, max);
    if (text) return std::move(*text);
    if (text.error().error == E2BIG) return wrong(NodeFault::kMalformed, node.text);
    return std::unexpected(NodeError{NodeFault::kStore, node.text, text.error()});
  }

  Result<std::string, NodeError> text(Path::Name node, std::size_t max) {
    auto found = optional_text(node, max);
    if (!found) return std::unexpected(found.error());
    if (!*found) return wrong(NodeFault::kMissing, node.text);
    return std::move(**found);
  }

  template <std::unsigned_integral T>
  Result<T, NodeError> decimal(Path::Name node, T min, T max) {
    const auto found = text(node, kMaxNumberText);
    if (!found) return std::unexpected(found.error());
    const auto number = parse_decimal<std::uint64_t>(*found);
    if (!number) return wrong(NodeFault::kMalformed, node.text);
    if (*number < min || *number > max) return wrong(NodeFault::kOutOfRange, node.text);
    return static_cast<T>(*number);
  }

  Result<std::uint64_t, NodeError> hex(Path::Name node) {
    const auto found = text(node, kMaxNumberText);
    if (!found) return std::unexpected(found.error());
    const auto number = parse_hex<std::uint64_t>(*found);
    if (!number) return wrong(NodeFault::kMalformed, node.text);
    return *number;
  }

  /// Absent is no.
  Result<bool, NodeError> flag(Path::Name node) {
    const auto found = optional_text(node, kMaxNumberText);
    if (!found) return std::unexpected(found.error());
    if (!*found || **found == "0") return false;
    if (**found == "1") return true;
    return wrong(NodeFault::kMalformed, node.text);
  }

  /// A comma separated list that has `wanted` among its numbers.
  Result<void, NodeError> list_with(Path::Name node, std::uint32_t wanted) {
    const auto found = text(node, kMaxListText);
    if (!found) return std::unexpected(found.error());
    bool is_there = false;
    for (std::string_view rest = *found; !rest.empty();) {
      const std::size_t comma = rest.find(',');
      const auto number = parse_decimal<std::uint32_t>(rest.substr(0, comma));
      if (!number) return wrong(NodeFault::kMalformed, node.text);
      is_there = is_there || *number == wanted;
      rest.remove_prefix(comma == std::string_view::npos ? rest.size() : comma + 1);
    }
    if (!is_there) return wrong(NodeFault::kMismatch, node.text);
    return {};
  }

 private:
  StoreOps& store_;
  Path directory_;
};

struct Write {
  Path::Name node;
  std::string value;
};

Result<void, XenError> write_all(StoreOps& store, const Path& directory,
                                 std::initializer_list<Write> writes) {
  for (const Write& write : writes) {
    if (auto done = store.write(directory / write.node, write.value); !done) return done;
  }
  return {};
}

std::string flag_text(bool value) { return value ? "1" : "0"; }

Path backend_root(DomainId device_domain) {
  return Path::domain(device_domain) / "backend" / "virtio-msg";
}

Path devices_root(DomainId device_domain) { return Path::domain(device_domain) / "virtio-msg"; }

Result<void, XenError> append_buses_of(StoreOps& store, DomainId device_domain,
                                       DomainId driver_domain, const Path& root,
                                       std::vector<BusId>& buses) {
  const auto numbers = store.list_numbers(root / driver_domain, kMaxBus);
  if (!numbers) return std::unexpected(numbers.error());
  for (const std::uint32_t number : *numbers) {
    buses.push_back({device_domain, driver_domain, number});
  }
  return {};
}

Result<void, XenError> append_buses(StoreOps& store, DomainId device_domain, const Path& root,
                                    std::vector<BusId>& buses) {
  const auto domains = store.list_numbers(root, kMaxDomain);
  if (!domains) return std::unexpected(domains.error());
  for (const std::uint32_t domain : *domains) {
    auto done = append_buses_of(store, device_domain, static_cast<DomainId>(domain), root, buses);
    if (!done) return done;
  }
  return {};
}

Result<std::vector<BusId>, XenError> buses_below(StoreOps& store, DomainId device_domain,
                                                 const Path& root) {
  std::vector<BusId> buses;
  if (auto done = append_buses(store, device_domain, root, buses); !done) {
    return std::unexpected(done.error());
  }
  return buses;
}

std::string_view first_component(std::string_view path) { return path.substr(0, path.find('/')); }

/// A number as xenstore's own paths have it: nothing before it, no zero in front.
template <std::unsigned_integral T>
std::optional<T> parse_canonical(std::string_view text, T max) {
  const auto number = parse_decimal<T>(text, 0, max);
  if (!number || std::to_string(*number) != text) return std::nullopt;
  return number;
}

struct Place {
  DomainId driver_domain;
  std::string_view rest;  // of the path, below the driver domain's directory
};

/// Where below `backend/virtio-msg` a path is, which may be relative to the home.
std::optional<Place> place_of_path(DomainId device_domain, std::string_view path) {
  const auto home = Path::domain(device_domain).below(path);
  std::string_view rest = home ? *home : path;
  constexpr std::string_view kRoot = "backend/virtio-msg/";
  if (!rest.starts_with(kRoot)) return std::nullopt;
  rest.remove_prefix(kRoot.size());
  const std::string_view domain_text = first_component(rest);
  const auto domain = parse_canonical<DomainId>(domain_text, kMaxDomain);
  if (!domain) return std::nullopt;
  rest.remove_prefix(std::min(domain_text.size() + 1, rest.size()));
  return Place{*domain, rest};
}

// The parents of a bus's directories are ours to take away when the last bus below them goes. In a
// driver domain some may belong to the toolstack's domain: those stay.
/// Below a directory that is gone and was not ours to look for, absent and forbidden look the same.
Result<void, XenError> remove_if_there(StoreOps& store, const Path& path) {
  auto removed = store.remove(path);
  if (!removed && removed.error().error == EACCES) return {};
  return removed;
}

Result<void, XenError> remove_if_empty(StoreOps& store, const Path& directory) {
  const auto children = store.list(directory);
  if (!children) {
    return children.error().error == EACCES ? Result<void, XenError>{}
                                            : std::unexpected(children.error());
  }
  if (!children->empty()) return {};
  return remove_if_there(store, directory);
}

Result<void, XenError> remove_device_directories(StoreOps& store, const BusId& bus) {
  const Path backend = backend_root(bus.device_domain);
  const Path devices = devices_root(bus.device_domain);
  for (const Path& path : {bus.device_directory(), bus.devices_directory()}) {
    if (auto done = remove_if_there(store, path); !done) return done;
  }
  for (const Path& path :
       {backend / bus.driver_domain, backend, devices / bus.driver_domain, devices}) {
    if (auto done = remove_if_empty(store, path); !done) return done;
  }
  return {};
}

Result<void, XenError> make_owned(StoreOps& store, const Path& directory,
                                  const Permissions& permissions) {
  if (auto done = store.make_directory(directory); !done) return done;
  return store.set_permissions(directory, permissions);
}

Result<void, XenError> make_parent(StoreOps& store, const Path& directory, DomainId owner) {
  const auto is_there = store.exists(directory);
  if (!is_there) return std::unexpected(is_there.error());
  if (*is_there) return {};
  return make_owned(store, directory, Permissions::owned_by(owner));
}

}  // namespace

Path BusId::device_directory() const { return backend_root(device_domain) / driver_domain / bus; }
Path BusId::driver_directory() const {
  return Path::domain(driver_domain) / "device" / "virtio-msg" / bus;
}
Path BusId::devices_directory() const { return devices_root(device_domain) / driver_domain / bus; }

std::string to_string(const NodeError& error) {
  const auto said = [&](std::string_view what) { return fmt::format("{}: {}", error.node, what); };
  switch (error.fault) {
    case NodeFault::kMissing:
      return said("missing");
    case NodeFault::kMalformed:
      return said("malformed");
    case NodeFault::kOutOfRange:
      return said("out of range");
    case NodeFault::kMismatch:
      return said("not what was offered");
    case NodeFault::kStore:
      return said(error.store ? to_string(*error.store) : "xenstore failed");
  }
  return said("wrong");
}

Result<XenbusState, XenError> read_state(StoreOps& store, const Path& directory) {
  const auto text = store.find(directory / "state", kMaxNumberText);
  if (text) return *text ? parse_xenbus_state(**text) : XenbusState::kUnknown;
  // Too long for a number, or hidden from us by its owner: as good as not there.
  if (text.error().error == E2BIG || text.error().error == EACCES) return XenbusState::kUnknown;
  return std::unexpected(text.error());
}

Result<void, XenError> write_state(StoreOps& store, const Path& directory, XenbusState state) {
  return store.write_number(directory / "state", static_cast<std::uint8_t>(state));
}

Result<std::vector<BusId>, XenError> list_buses(StoreOps& store, DomainId device_domain) {
  return buses_below(store, device_domain, backend_root(device_domain));
}

Result<std::vector<BusId>, XenError> list_buses_of(StoreOps& store, DomainId device_domain,
                                                   DomainId driver_domain) {
  std::vector<BusId> buses;
  auto done =
      append_buses_of(store, device_domain, driver_domain, backend_root(device_domain), buses);
  if (!done) return std::unexpected(done.error());
  return buses;
}

Result<std::vector<BusId>, XenError> list_buses_with_devices(StoreOps& store,
                                                             DomainId device_domain) {
  return buses_below(store, device_domain, devices_root(device_domain));
}

std::optional<BusId> bus_of_path(DomainId device_domain, std::string_view path) {
  const auto place = place_of_path(device_domain, path);
  if (!place) return std::nullopt;
  const auto bus = parse_canonical<std::uint32_t>(first_component(place->rest), kMaxBus);
  if (!bus) return std::nullopt;
  return BusId{device_domain, place->driver_domain, *bus};
}

std::optional<DomainId> driver_domain_of_path(DomainId device_domain, std::string_view path) {
  const auto place = place_of_path(device_domain, path);
  return place ? std::optional(place->driver_domain) : std::nullopt;
}

Result<void, NodeError> check_device_directory(StoreOps& store, const BusId& bus) {
  Reader nodes(store, bus.device_directory());
  const auto id = nodes.decimal<DomainId>("frontend-id", 0, kMaxDomain);
  if (!id) return std::unexpected(id.error());
  if (*id != bus.driver_domain) return wrong(NodeFault::kMismatch, "frontend-id");
  const auto frontend = nodes.text("frontend", Path::kMaxAbsolute);
  if (!frontend) return std::unexpected(frontend.error());
  if (*frontend != bus.driver_directory().text()) return wrong(NodeFault::kMismatch, "frontend");
  return {};
}

Result<bool, XenError> read_online(StoreOps& store, const BusId& bus) {
  const auto text = store.find(bus.device_directory() / "online", kMaxNumberText);
  if (text) return *text == "1";
  if (text.error().error == E2BIG) return false;
  return std::unexpected(text.error());
}

Result<void, XenError> write_advertisement(StoreOps& store, const BusId& bus,
                                           const Advertisement& offer) {
  return write_all(store, bus.device_directory(),
                   {{"versions", std::to_string(VMSG_XEN_BINDING_VERSION)},
                    {"max-ring-page-order", std::to_string(offer.max_ring_page_order)},
                    {"max-message-size", std::to_string(offer.max_message_size)},
                    {"revisions", std::to_string(VIRTIO_MSG_REVISION_1)},
                    {"transport-features", to_hex(offer.transport_features)},
                    {"feature-queue-event-channels", flag_text(offer.queue_event_channels)},
                    {"feature-shared-regions", flag_text(offer.shared_regions)}});
}

Result<Answers, NodeError> read_answers(StoreOps& store, const BusId& bus,
                                        const Advertisement& offer) {
  Reader nodes(store, bus.driver_directory());
  const auto version = nodes.decimal<std::uint32_t>("version", 0, 0xffffffff);
  if (!version) return std::unexpected(version.error());
  if (*version != VMSG_XEN_BINDING_VERSION) return wrong(NodeFault::kMismatch, "version");
  const auto ring_ref = nodes.decimal<GrantRef>("ring-ref", 0, 0xffffffff);
  if (!ring_ref) return std::unexpected(ring_ref.error());
  const auto port = nodes.decimal<std::uint32_t>("event-channel", 1, kMaxPort);
  if (!port) return std::unexpected(port.error());
  const auto message_size = nodes.decimal<std::uint32_t>(
      "max-message-size", VIRTIO_MSG_MIN_MAX_SIZE, offer.max_message_size);
  if (!message_size) return std::unexpected(message_size.error());
  const auto features = nodes.hex("transport-features");
  if (!features) return std::unexpected(features.error());
  if ((*features & ~offer.transport_features) != 0) {
    return wrong(NodeFault::kMismatch, "transport-features");
  }
  const auto channels = nodes.flag("request-queue-event-channels");
  if (!channels) return std::unexpected(channels.error());
  if (*channels && !offer.queue_event_channels) {
    return wrong(NodeFault::kMismatch, "request-queue-event-channels");
  }
  const auto regions = nodes.flag("request-shared-regions");
  if (!regions) return std::unexpected(regions.error());
  if (*regions && !offer.shared_regions) {
    return wrong(NodeFault::kMismatch, "request-shared-regions");
  }
  return Answers{.version = *version,
                 .ring_ref = *ring_ref,
                 .event_channel = static_cast<RemotePort>(*port),
                 .max_message_size = *message_size,
                 .transport_features = *features,
                 .queue_event_channels = *channels,
                 .shared_regions = *regions};
}

Result<void, XenError> write_bus_error(StoreOps& store, const BusId& bus, std::string_view words) {
  return store.write(bus.device_directory() / "error", one_line(words));
}

Result<void, XenError> clear_bus_error(StoreOps& store, const BusId& bus) {
  return store.remove(bus.device_directory() / "error");
}

Result<void, XenError> remove_device_side(Store& store, const BusId& bus) {
  return store.transact(
      [&](Transaction& transaction) { return remove_device_directories(transaction, bus); });
}

Result<bool, XenError> is_driver_domain_alive(Store& store, const BusId& bus) {
  const auto is_introduced = store.is_domain_introduced(bus.driver_domain);
  if (is_introduced || is_introduced.error().error != EACCES) return is_introduced;
  // Not for us to ask. Below what we may not read, absent and forbidden look the same.
  const auto is_there = store.exists(bus.driver_directory());
  if (!is_there && is_there.error().error == EACCES) return false;
  return is_there;
}

Result<std::vector<BusId>, XenError> list_orphaned_buses(Store& store, DomainId device_domain) {
  std::vector<BusId> buses;
  for (const Path& root : {backend_root(device_domain), devices_root(device_domain)}) {
    if (auto done = append_buses(store, device_domain, root, buses); !done) {
      return std::unexpected(done.error());
    }
  }
  std::ranges::sort(buses);
  buses.erase(std::ranges::unique(buses).begin(), buses.end());
  std::vector<BusId> orphans;
  for (const BusId& bus : buses) {
    const auto is_alive = is_driver_domain_alive(store, bus);
    if (!is_alive) return std::unexpected(is_alive.error());
    if (!*is_alive) orphans.push_back(bus);
  }
  return orphans;
}

Result<BusId, NodeError> read_driver_directory(StoreOps& store, DomainId driver_domain,
                                               std::uint32_t bus) {
  BusId id{0, driver_domain, bus};
  Reader nodes(store, id.driver_directory());
  const auto domain = nodes.decimal<DomainId>("backend-id", 0, kMaxDomain);
  if (!domain) return std::unexpected(domain.error());
  id.device_domain = *domain;
  const auto backend = nodes.text("backend", Path::kMaxAbsolute);
  if (!backend) return std::unexpected(backend.error());
  if (*backend != id.device_directory().text()) return wrong(NodeFault::kMismatch, "backend");
  return id;
}

Result<std::vector<std::uint32_t>, XenError> list_driver_buses(StoreOps& store,
                                                               DomainId driver_domain) {
  return store.list_numbers(Path::domain(driver_domain) / "device" / "virtio-msg", kMaxBus);
}

Result<Advertisement, NodeError> read_advertisement(StoreOps& store, const BusId& bus) {
  Reader nodes(store, bus.device_directory());
  if (auto version = nodes.list_with("versions", VMSG_XEN_BINDING_VERSION); !version) {
    return std::unexpected(version.error());
  }
  if (auto revision = nodes.list_with("revisions", VIRTIO_MSG_REVISION_1); !revision) {
    return std::unexpected(revision.error());
  }
  const auto order = nodes.decimal<std::uint32_t>("max-ring-page-order", 0, 31);
  if (!order) return std::unexpected(order.error());
  const auto message_size = nodes.decimal<std::uint32_t>(
      "max-message-size", VIRTIO_MSG_RECOMMENDED_MAX_SIZE, VIRTIO_MSG_MAX_MAX_SIZE);
  if (!message_size) return std::unexpected(message_size.error());
  const auto features = nodes.hex("transport-features");
  if (!features) return std::unexpected(features.error());
  const auto channels = nodes.flag("feature-queue-event-channels");
  if (!channels) return std::unexpected(channels.error());
  const auto regions = nodes.flag("feature-shared-regions");
  if (!regions) return std::unexpected(regions.error());
  return Advertisement{
      .max_ring_page_order = std::min<std::uint32_t>(*order, VMSG_XEN_MAX_RING_PAGE_ORDER),
      .max_message_size = *message_size,
      .transport_features = *features,
      .queue_event_channels = *channels,
      .shared_regions = *regions};
}

Result<void, XenError> write_answers(StoreOps& store, const BusId& bus, const Answers& answers) {
  return write_all(
      store, bus.driver_directory(),
      {{"version", std::to_string(answers.version)},
       {"ring-ref", std::to_string(answers.ring_ref)},
       {"event-channel", std::to_string(static_cast<std::uint32_t>(answers.event_channel))},
       {"max-message-size", std::to_string(answers.max_message_size)},
       {"transport-features", to_hex(answers.transport_features)},
       {"request-queue-event-channels", flag_text(answers.queue_event_channels)},
       {"request-shared-regions", flag_text(answers.shared_regions)}});
}

std::vector<NodeValue> nodes_of_new_bus(const BusId& bus) {
  const Path device = bus.device_directory();
  const Path driver = bus.driver_directory();
  return {{device / "frontend", driver.text()},
          {device / "frontend-id", std::to_string(bus.driver_domain)},
          {device / "online", "1"},
          {device / "state", "1"},
          {driver / "backend", device.text()},
          {driver / "backend-id", std::to_string(bus.device_domain)},
          {driver / "state", "1"}};
}

Result<void, XenError> create_bus(StoreOps& store, const BusId& bus) {
  const Path device = bus.device_directory();
  const Path driver = bus.driver_directory();
  for (const Path& directory : {device, driver}) {
    const auto is_there = store.exists(directory);
    if (!is_there) return std::unexpected(is_there.error());
    if (*is_there)
      return std::unexpected(XenError{XenCall::kStoreMkdir, EEXIST, bus.driver_domain});
  }
  const Path backend = backend_root(bus.device_domain);
  const Path devices = devices_root(bus.device_domain);
  for (const Path& parent :
       {backend, backend / bus.driver_domain, devices, devices / bus.driver_domain}) {
    if (auto done = make_parent(store, parent, bus.device_domain); !done) return done;
  }
  // Nodes take over owner and permissions of the directory that they are created in, so the
  // directories come first.
  if (auto done = make_owned(
          store, device, Permissions::owned_by(bus.device_domain).readable_by(bus.driver_domain));
      !done) {
    return done;
  }
  if (auto done = make_owned(
          store, driver, Permissions::owned_by(bus.driver_domain).readable_by(bus.device_domain));
      !done) {
    return done;
  }
  if (auto done =
          make_owned(store, bus.devices_directory(), Permissions::owned_by(bus.device_domain));
      !done) {
    return done;
  }
  for (const auto& [path, value] : nodes_of_new_bus(bus)) {
    if (auto done = store.write(path, value); !done) return done;
  }
  return {};
}

Result<void, XenError> set_online(StoreOps& store, const BusId& bus, bool online) {
  return store.write(bus.device_directory() / "online", flag_text(online));
}

Result<void, XenError> remove_bus(Store& store, const BusId& bus) {
  return store.transact([&](Transaction& transaction) -> Result<void, XenError> {
    if (auto done = transaction.remove(bus.driver_directory()); !done) return done;
    return remove_device_directories(transaction, bus);
  });
}

}  // namespace vmsg::xen
