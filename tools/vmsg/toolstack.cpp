#include "tools/vmsg/toolstack.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <utility>

#include "tools/vmsg/small_file.hpp"
#include "xenbus-glue/numbers.hpp"

namespace vmsg::tool {
namespace {

using std::chrono::milliseconds;
using xen::AttachStatus;

/// How long a device side gets to end a bus before its nodes are removed for it.
constexpr milliseconds kRetirePatience{3000};

std::string words(std::string_view doing, const xen::XenError& error) {
  return fmt::format("cannot {}: {}", doing, xen::to_string(error));
}

std::unexpected<Failure> failed(std::string_view doing, const xen::XenError& error) {
  return std::unexpected(words(doing, error));
}

/// The buses of one guest and the numbers that are taken on them, as a transaction sees them.
class GuestBuses {
 public:
  static Result<GuestBuses, xen::XenError> read(xen::StoreOps& store, xen::DomainId guest) {
    GuestBuses all(guest);
    const auto numbers = xen::list_driver_buses(store, guest);
    if (!numbers) return std::unexpected(numbers.error());
    for (const std::uint32_t number : *numbers) {
      all.taken_buses_.insert(number);
      // The guest can write here: it can spoil its own numbering and nothing else.
      const auto bus = xen::read_driver_directory(store, guest, number);
      if (!bus) continue;
      all.buses_.push_back(*bus);
      const auto devices = xen::list_devices(store, *bus);
      if (!devices) return std::unexpected(devices.error());
      all.taken_devices_.insert(devices->begin(), devices->end());
      const auto stored = store.find(bus->devices_directory() / "next");
      if (!stored) return std::unexpected(stored.error());
      if (*stored) {
        all.next_ = std::max(all.next_, xen::parse_decimal<std::uint16_t>(**stored).value_or(0));
      }
    }
    return all;
  }

  [[nodiscard]] const std::vector<xen::BusId>& buses() const { return buses_; }

  /// The bus to a backend domain; made when there is none.
  Result<xen::BusId, xen::XenError> bus_to(xen::StoreOps& store, xen::DomainId backend) {
    for (const xen::BusId& bus : buses_) {
      if (bus.device_domain != backend) continue;
      const auto present = store.exists(bus.device_directory() / "frontend");
      if (!present) return std::unexpected(present.error());
      if (*present) return bus;
      // Its device side removed it and nobody tidied up here.
      if (auto removed = store.remove(bus.driver_directory()); !removed) {
        return std::unexpected(removed.error());
      }
      if (auto made = xen::create_bus(store, bus); !made) return std::unexpected(made.error());
      return bus;
    }
    xen::BusId bus{backend, guest_, 0};
    while (taken_buses_.contains(bus.bus)) ++bus.bus;
    if (auto made = xen::create_bus(store, bus); !made) return std::unexpected(made.error());
    taken_buses_.insert(bus.bus);
    buses_.push_back(bus);
    return bus;
  }

  /// Numbers go round, so that one that was just given up is the last to be taken again, and no two
  /// devices of a guest have the same one, whatever their buses.
  std::uint16_t take_device_number() {
    while (taken_devices_.contains(next_)) ++next_;
    taken_devices_.insert(next_);
    return next_++;
  }
  [[nodiscard]] std::uint16_t next() const { return next_; }

 private:
  explicit GuestBuses(xen::DomainId guest) : guest_(guest) {}

  xen::DomainId guest_;
  std::vector<xen::BusId> buses_;
  std::set<std::uint32_t> taken_buses_;
  std::set<std::uint16_t> taken_devices_;
  std::uint16_t next_ = 0;
};

}  // namespace

Result<std::unique_ptr<Toolstack>, Failure> Toolstack::open() {
  auto store = xen::Store::open();
  if (!store) {
    return std::unexpected(fmt::format("{} (is this a Xen host, and xenstored running?)",
                                       xen::to_string(store.error())));
  }
  return std::unique_ptr<Toolstack>(new Toolstack(std::move(*store)));
}

Toolstack::Toolstack(std::unique_ptr<xen::Store> store)
    : store_(std::move(store)), watches_(*store_) {}

// ---- domains ------------------------------------------------------------------------------------

Failure no_such_domain(std::string_view name_or_id) {
  return xen::parse_decimal<xen::DomainId>(name_or_id)
             ? fmt::format("no domain {} is running", name_or_id)
             : fmt::format("no domain named '{}' is running", printable(name_or_id));
}

Result<std::vector<xen::DomainId>, Failure> Toolstack::domains() {
  const auto parent = xen::Path::parse("/local/domain");
  const auto numbers = store_->list_numbers(*parent, xen::kFirstReservedDomain - 1);
  if (!numbers) return failed("list the domains", numbers.error());
  std::vector<xen::DomainId> all;
  all.reserve(numbers->size());
  for (const std::uint32_t number : *numbers) all.push_back(static_cast<xen::DomainId>(number));
  return all;
}

Result<std::optional<xen::DomainId>, Failure> Toolstack::look_for_domain(
    std::string_view name_or_id) {
  if (const auto id = xen::parse_decimal<xen::DomainId>(name_or_id)) {
    if (*id >= xen::kFirstReservedDomain) return std::nullopt;
    const auto introduced = is_introduced(*id);
    if (!introduced) return std::unexpected(introduced.error());
    return *introduced ? id : std::nullopt;
  }
  const auto all = domains();
  if (!all) return std::unexpected(all.error());
  for (const xen::DomainId domain : *all) {
    const auto name = store_->find(xen::Path::domain(domain) / "name");
    if (!name || !*name || **name != name_or_id) continue;
    // A home that is being made, or that was left behind, has a name too.
    const auto introduced = is_introduced(domain);
    if (!introduced) return std::unexpected(introduced.error());
    if (*introduced) return domain;
  }
  return std::nullopt;
}

Result<xen::DomainId, Failure> Toolstack::find_domain(std::string_view name_or_id) {
  const auto found = look_for_domain(name_or_id);
  if (!found) return std::unexpected(found.error());
  if (!*found) return std::unexpected(no_such_domain(name_or_id));
  return **found;
}

Result<bool, Failure> Toolstack::is_introduced(xen::DomainId domain) {
  if (domain == 0) return true;
  const auto introduced = store_->is_domain_introduced(domain);
  if (!introduced) return failed(fmt::format("look for domain {}", domain), introduced.error());
  return *introduced;
}

std::string Toolstack::name_of(xen::DomainId domain) {
  const auto name = store_->find(xen::Path::domain(domain) / "name");
  return name && *name ? printable(**name, 64) : fmt::format("{}", domain);
}

// ---- attach -------------------------------------------------------------------------------------

Result<std::vector<xen::DomainId>, AttachFailure> Toolstack::find_backends(
    std::span<const DeviceSpec> specs) {
  std::vector<xen::DomainId> backends;
  for (std::size_t i = 0; i < specs.size(); ++i) {
    const auto backend = find_domain(specs[i].backend);
    if (!backend) return std::unexpected(AttachFailure{i, "backend: " + backend.error()});
    backends.push_back(*backend);
  }
  return backends;
}

namespace {

/// One attempt to write all devices of a guest, within a transaction.
class DeviceWriting {
 public:
  DeviceWriting(xen::DomainId guest, std::span<const DeviceSpec> specs,
                std::span<const xen::DomainId> backends)
      : guest_(guest), specs_(specs), backends_(backends) {}

  Result<void, xen::XenError> run(xen::Transaction& store) {
    devices_.clear();
    leaving_.reset();
    auto buses = GuestBuses::read(store, guest_);
    if (!buses) return std::unexpected(buses.error());
    std::set<xen::BusId> used;
    for (std::size_t i = 0; i < specs_.size(); ++i) {
      auto made = write_one(store, *buses, i);
      if (!made) return made;
      used.insert(devices_.back().bus);
    }
    for (const xen::BusId& bus : used) {
      auto noted = store.write_number(bus.devices_directory() / "next", buses->next());
      if (!noted) return noted;
    }
    return {};
  }

  [[nodiscard]] const std::vector<xen::DeviceNodeId>& devices() const { return devices_; }
  /// A bus that somebody has just ended: the reason of a failure, if there is one.
  [[nodiscard]] const std::optional<xen::BusId>& leaving() const { return leaving_; }

 private:
  Result<void, xen::XenError> write_one(xen::Transaction& store, GuestBuses& buses,
                                        std::size_t index) {
    const auto bus = buses.bus_to(store, backends_[index]);
    if (!bus) return std::unexpected(bus.error());
    const auto online = xen::read_online(store, *bus);
    if (!online) return std::unexpected(online.error());
    if (!*online) {
      leaving_ = *bus;
      return std::unexpected(xen::XenError{xen::XenCall::kStoreWrite, EBUSY, guest_});
    }
    devices_.push_back({*bus, buses.take_device_number()});
    return xen::create_device(store, devices_.back(), specs_[index].type, specs_[index].parameters);
  }

  xen::DomainId guest_;
  std::span<const DeviceSpec> specs_;
  std::span<const xen::DomainId> backends_;
  std::vector<xen::DeviceNodeId> devices_;
  std::optional<xen::BusId> leaving_;
};

}  // namespace

Result<std::vector<xen::DeviceNodeId>, AttachFailure> Toolstack::write_devices(
    xen::DomainId guest, std::span<const DeviceSpec> specs,
    std::span<const xen::DomainId> backends) {
  if (const auto self = std::ranges::find(backends, guest); self != backends.end()) {
    return std::unexpected(AttachFailure{static_cast<std::size_t>(self - backends.begin()),
                                         "backend: a domain cannot serve itself"});
  }
  constexpr int kMostRetired = 3;
  constexpr int kMostCollisions = 8;
  int retired = 0;
  int collisions = 0;
  while (retired < kMostRetired) {
    DeviceWriting writing(guest, specs, backends);
    const auto written =
        store_->transact([&](xen::Transaction& store) { return writing.run(store); });
    if (written) return writing.devices();
    if (writing.leaving()) {
      retire_bus(*writing.leaving());
      ++retired;
      continue;
    }
    // A transaction may see one node from before another one's end and the next from after it: a
    // number that was free, and is taken.
    if (written.error().error == EEXIST && ++collisions < kMostCollisions) continue;
    return std::unexpected(
        AttachFailure{std::nullopt, words("write the devices to xenstore", written.error())});
  }
  return std::unexpected(AttachFailure{std::nullopt, "the bus is being removed; try again"});
}

Result<std::vector<xen::DeviceNodeId>, AttachFailure> Toolstack::attach(
    xen::DomainId guest, std::span<const DeviceSpec> specs, std::chrono::seconds patience) {
  if (specs.empty()) return std::vector<xen::DeviceNodeId>{};
  const auto backends = find_backends(specs);
  if (!backends) return std::unexpected(backends.error());
  const auto devices = write_devices(guest, specs, *backends);
  if (!devices) return devices;

  std::set<xen::BusId> buses;
  for (const xen::DeviceNodeId& device : *devices) buses.insert(device.bus);
  std::vector<xen::Path> paths;
  paths.reserve(buses.size());
  for (const xen::BusId& bus : buses) paths.push_back(bus.devices_directory());

  std::optional<AttachFailure> failure;
  std::size_t taken = 0;  // the devices before this one are attached
  const auto waited = wait_for(paths, patience, [&] {
    for (; taken < devices->size(); ++taken) {
      const auto node = xen::read_device(*store_, (*devices)[taken]);
      if (!node || !*node || (*node)->status == AttachStatus::kFailed) {
        failure = AttachFailure{
            taken, node && *node ? printable((*node)->error, 1024) : "somebody removed the device"};
        return true;
      }
      if ((*node)->status != AttachStatus::kAttached) return false;
    }
    return true;
  });
  if (waited && *waited == Wait::kDone && !failure) return devices;

  // Nothing half-attached: what was written goes again.
  take_back(*devices);
  if (failure) return std::unexpected(std::move(*failure));
  if (!waited) return std::unexpected(AttachFailure{taken, waited.error()});
  if (*waited == Wait::kCancelled) {
    return std::unexpected(AttachFailure{std::nullopt, "interrupted"});
  }
  return std::unexpected(AttachFailure{
      taken, fmt::format("{} did not take the device within {} s (is vmsgd running there?)",
                         name_of((*devices)[taken].bus.device_domain), patience.count())});
}

// ---- detach -------------------------------------------------------------------------------------

void Toolstack::take_back(std::span<const xen::DeviceNodeId> devices) {
  // Whoever interrupted us wants it gone too.
  const int cancel_fd = std::exchange(cancel_fd_, -1);
  std::set<xen::BusId> buses;
  for (const xen::DeviceNodeId& device : devices) {
    static_cast<void>(xen::remove_device(*store_, device));
    buses.insert(device.bus);
  }
  for (const xen::BusId& bus : buses) retire_bus(bus);
  cancel_fd_ = cancel_fd;
}

void Toolstack::retire_bus(const xen::BusId& bus) {
  bool is_ours_to_end = false;
  const auto asked = store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    is_ours_to_end = false;
    const auto present = store.exists(bus.device_directory() / "frontend");
    if (!present) return std::unexpected(present.error());
    if (!*present) return {};
    const auto devices = xen::list_devices(store, bus);
    if (!devices) return std::unexpected(devices.error());
    if (!devices->empty()) return {};
    is_ours_to_end = true;
    return xen::set_online(store, bus, false);
  });
  // A tidying-up that fails is no failure of what was asked for: the next attach finds the bus.
  if (!asked || !is_ours_to_end) return;
  static_cast<void>(wait_for(bus.device_directory(), kRetirePatience, [&] {
    const auto present = store_->exists(bus.device_directory() / "frontend");
    return present && !*present;
  }));
  // Its device side is done with it, or there is none.
  static_cast<void>(store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    const auto online = xen::read_online(store, bus);
    if (!online) return std::unexpected(online.error());
    if (*online) return {};  // somebody has made it anew
    return store.remove(bus.driver_directory());
  }));
  const auto left = store_->exists(bus.device_directory());
  if (left && *left) {
    const auto online = xen::read_online(*store_, bus);
    if (online && !*online) static_cast<void>(xen::remove_bus(*store_, bus));
  }
}

Result<void, Failure> Toolstack::detach(const xen::DeviceNodeId& device, bool force,
                                        std::chrono::seconds patience) {
  const auto asked = store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    // A write would bring a directory back that was removed a moment ago.
    const auto present = store.exists(device.directory() / "type");
    if (!present) return std::unexpected(present.error());
    if (!*present) return {};
    return xen::request_detach(store, device,
                               force ? xen::DetachRequest::kForce : xen::DetachRequest::kGraceful);
  });
  if (!asked) return failed("ask for the removal", asked.error());
  std::string refusal;
  const auto waited = wait_for(device.directory(), patience, [&] {
    const auto present = store_->exists(device.directory() / "type");
    if (present && !*present) return true;
    const auto node = xen::read_device(*store_, device);
    if (!node || !*node) return false;
    // The device side took the request back: the guest does not let go.
    if ((*node)->detach == xen::DetachRequest::kNone && !(*node)->error.empty()) {
      refusal = printable((*node)->error, 1024);
    }
    return !refusal.empty();
  });
  if (!waited) return std::unexpected(waited.error());
  if (!refusal.empty()) return std::unexpected(refusal + " (--force does not ask)");
  if (*waited == Wait::kCancelled) return std::unexpected("interrupted; the request stays");
  if (*waited == Wait::kTimeout) {
    return std::unexpected(
        fmt::format("the device is still there after {} s (is vmsgd running?)", patience.count()));
  }
  retire_bus(device.bus);
  return {};
}

Result<void, Failure> Toolstack::resize(const xen::DeviceNodeId& device,
                                        std::chrono::seconds patience) {
  bool is_there = false;
  const auto asked = store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    const auto node = store.exists(device.directory() / "type");
    if (!node) return std::unexpected(node.error());
    is_there = *node;
    if (!is_there) return {};
    if (auto cleared = store.remove(device.directory() / "error"); !cleared) return cleared;
    return xen::request_refresh(store, device);
  });
  if (!asked) return failed("ask for the resize", asked.error());
  std::string error;
  const auto waited = wait_for(device.directory(), patience, [&] {
    const auto node = xen::read_device(*store_, device);
    if (!node) return false;
    if (!*node) is_there = false;
    if (!is_there || (*node)->wants_refresh) return !is_there;
    error = printable((*node)->error, 1024);
    return true;
  });
  if (!waited) return std::unexpected(waited.error());
  if (!is_there) return std::unexpected("the device is gone");
  if (!error.empty()) return std::unexpected(error);
  if (*waited == Wait::kDone) return {};
  // Nobody is to find the request later and wonder.
  static_cast<void>(store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    return store.remove(device.directory() / "resize");
  }));
  return std::unexpected(
      *waited == Wait::kCancelled
          ? Failure("interrupted")
          : fmt::format("no answer within {} s (is vmsgd running?)", patience.count()));
}

void Toolstack::clean_up_after(xen::DomainId guest, milliseconds patience) {
  const auto found = buses_of(guest);
  if (!found || found->empty()) return;
  std::vector<xen::Path> paths;
  for (const xen::BusId& bus : *found) paths.push_back(bus.device_directory());
  static_cast<void>(wait_for(paths, patience, [&] {
    return std::ranges::all_of(*found, [&](const xen::BusId& bus) {
      const auto present = store_->exists(bus.device_directory());
      return present && !*present;
    });
  }));
  for (const xen::BusId& bus : *found) static_cast<void>(xen::remove_bus(*store_, bus));
}

// ---- looking ------------------------------------------------------------------------------------

Result<std::vector<xen::BusId>, Failure> Toolstack::buses_of(xen::DomainId guest) {
  const auto all = domains();
  if (!all) return std::unexpected(all.error());
  std::vector<xen::BusId> found;
  for (const xen::DomainId backend : *all) {
    const auto buses = xen::list_buses(*store_, backend);
    if (!buses) return failed("list the buses", buses.error());
    for (const xen::BusId& bus : *buses) {
      if (bus.driver_domain == guest) found.push_back(bus);
    }
  }
  return found;
}

Result<std::vector<ListedDevice>, Failure> Toolstack::list(std::optional<xen::DomainId> guest) {
  std::vector<ListedDevice> listed;
  const auto all = domains();
  if (!all) return std::unexpected(all.error());
  for (const xen::DomainId backend : *all) {
    const auto buses = xen::list_buses(*store_, backend);
    if (!buses) return failed("list the buses", buses.error());
    for (const xen::BusId& bus : *buses) {
      if (guest && bus.driver_domain != *guest) continue;
      const auto state = xen::read_state(*store_, bus.device_directory());
      const auto error = store_->find(bus.device_directory() / "error");
      const auto numbers = xen::list_devices(*store_, bus);
      if (!numbers) return failed("list the devices", numbers.error());
      for (const std::uint16_t number : *numbers) {
        const auto node = xen::read_device(*store_, {bus, number});
        if (!node || !*node) continue;  // on its way in or out
        listed.push_back({{bus, number},
                          name_of(bus.driver_domain),
                          name_of(bus.device_domain),
                          **node,
                          state.value_or(xen::XenbusState::kUnknown),
                          error && *error ? printable(**error, 1024) : std::string{}});
      }
    }
  }
  std::ranges::sort(listed, {}, [](const ListedDevice& device) {
    return std::pair(device.id.bus.driver_domain, device.id.number);
  });
  return listed;
}

Result<ListedDevice, Failure> Toolstack::find_device(xen::DomainId guest, std::uint16_t number) {
  auto devices = list(guest);
  if (!devices) return std::unexpected(devices.error());
  std::string numbers;
  for (ListedDevice& device : *devices) {
    if (device.id.number == number) return std::move(device);
    numbers += fmt::format("{}{}", numbers.empty() ? "" : ", ", device.id.number);
  }
  return std::unexpected(fmt::format("{} has no device {}; {}", name_of(guest), number,
                                     numbers.empty() ? "it has none" : "there are: " + numbers));
}

Result<Toolstack::Wait, Failure> Toolstack::wait_for(std::span<const xen::Path> paths,
                                                     milliseconds patience,
                                                     const std::function<bool()>& is_done) {
  bool is_satisfied = false;
  std::vector<xen::Watch> set;
  for (const xen::Path& path : paths) {
    auto watch = watches_.watch(path, [&](const xen::WatchReport&) {
      if (!is_satisfied) is_satisfied = is_done();
    });
    if (!watch) return failed("watch the devices", watch.error());
    set.push_back(std::move(*watch));
  }
  const auto deadline = Clock::now() + patience;
  while (!is_satisfied) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return Wait::kTimeout;
    pollfd ready[]{{.fd = watches_.fd(), .events = POLLIN, .revents = 0},
                   {.fd = cancel_fd_, .events = POLLIN, .revents = 0}};
    if (poll(ready, 2, static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return std::unexpected("cannot wait for xenstore: " + words_of_errno(errno));
    }
    if (ready[1].revents != 0) return Wait::kCancelled;
    for (bool is_more = true; is_more && !is_satisfied;) {
      const auto turned = watches_.turn();
      if (!turned) return failed("read watches", turned.error());
      is_more = *turned;
    }
  }
  return Wait::kDone;
}

}  // namespace vmsg::tool
