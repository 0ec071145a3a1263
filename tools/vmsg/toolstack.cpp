#include "tools/vmsg/toolstack.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

namespace vmsg::tool {
namespace {

using xen::AttachStatus;

constexpr std::uint32_t kBus = 0;  // one bus a backend domain is what this tool makes

std::unexpected<Failure> failed(std::string_view doing, const xen::XenError& error) {
  return std::unexpected(fmt::format("cannot {}: {}", doing, xen::to_string(error)));
}

template <typename T>
std::optional<T> parse_number(std::string_view text) {
  T value{};
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), value);
  if (parsed.ec != std::errc{} || parsed.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

/// Device numbers go round, so that one that was just given up is the last to be taken again.
Result<std::uint16_t, xen::XenError> pick_number(xen::StoreOps& store, const xen::BusId& bus) {
  const auto used = xen::list_devices(store, bus);
  if (!used) return std::unexpected(used.error());
  const xen::Path next = bus.devices_directory() / "next";
  const auto stored = store.find(next);
  if (!stored) return std::unexpected(stored.error());
  std::uint16_t number = *stored ? parse_number<std::uint16_t>(**stored).value_or(0) : 0;
  while (std::ranges::find(*used, number) != used->end()) ++number;
  if (auto written = store.write_number(next, static_cast<std::uint16_t>(number + 1)); !written) {
    return std::unexpected(written.error());
  }
  return number;
}

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

Result<xen::DomainId, Failure> Toolstack::find_domain(std::string_view name_or_id) {
  if (const auto id = parse_number<xen::DomainId>(name_or_id)) {
    if (*id < xen::kFirstReservedDomain && (*id == 0 || store_->is_domain_introduced(*id))) {
      return *id;
    }
    return std::unexpected(fmt::format("no domain {} is running", name_or_id));
  }
  const auto parent = xen::Path::parse("/local/domain");
  const auto domains = store_->list_numbers(*parent, xen::kFirstReservedDomain - 1);
  if (!domains) return failed("list the domains", domains.error());
  for (const std::uint32_t id : *domains) {
    const auto domain = static_cast<xen::DomainId>(id);
    const auto name = store_->find(xen::Path::domain(domain) / "name");
    if (name && *name && **name == name_or_id) return domain;
  }
  return std::unexpected(fmt::format("no domain named '{}' is running", name_or_id));
}

std::string Toolstack::name_of(xen::DomainId domain) {
  const auto name = store_->find(xen::Path::domain(domain) / "name");
  return name && *name ? **name : fmt::format("{}", domain);
}

Result<xen::DeviceNodeId, Failure> Toolstack::attach(xen::DomainId guest, const DeviceSpec& spec,
                                                     std::chrono::seconds patience) {
  const auto backend = find_domain(spec.backend);
  if (!backend) return std::unexpected("backend: " + backend.error());
  const xen::BusId bus{*backend, guest, kBus};
  xen::DeviceNodeId device{bus, 0};

  const auto written =
      store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
        const auto present = store.exists(bus.device_directory() / "frontend");
        if (!present) return std::unexpected(present.error());
        if (!*present) {
          if (auto made = xen::create_bus(store, bus); !made) return made;
        }
        const auto number = pick_number(store, bus);
        if (!number) return std::unexpected(number.error());
        device.number = *number;
        return xen::create_device(store, device, spec.type, spec.parameters);
      });
  if (!written) return failed("write the device to xenstore", written.error());

  AttachStatus status = AttachStatus::kNone;
  std::string error;
  const auto waited = wait_for(device.directory(), patience, [&] {
    const auto node = xen::read_device(*store_, device);
    if (!node || !*node) return false;
    status = (*node)->status;
    error = (*node)->error;
    return status == AttachStatus::kAttached || status == AttachStatus::kFailed;
  });
  if (waited && *waited == Wait::kDone && status == AttachStatus::kAttached) return device;

  // Nothing half-attached: what was written goes again.
  static_cast<void>(xen::remove_device(*store_, device));
  if (!waited) return std::unexpected(waited.error());
  if (*waited == Wait::kTimeout) {
    return std::unexpected(
        fmt::format("{} did not take the device within {} s (is vmsgd running there?)",
                    name_of(*backend), patience.count()));
  }
  return std::unexpected(error);
}

Result<void, Failure> Toolstack::detach(const xen::DeviceNodeId& device, bool force,
                                        std::chrono::seconds patience) {
  const auto asked = store_->transact([&](xen::Transaction& store) {
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
      refusal = (*node)->error;
    }
    return !refusal.empty();
  });
  if (!waited) return std::unexpected(waited.error());
  if (!refusal.empty()) return std::unexpected(refusal);
  if (*waited == Wait::kTimeout) {
    return std::unexpected(fmt::format("the device is still there after {} s", patience.count()));
  }
  return {};
}

Result<std::vector<ListedDevice>, Failure> Toolstack::list(std::optional<xen::DomainId> guest) {
  std::vector<ListedDevice> all;
  const auto parent = xen::Path::parse("/local/domain");
  const auto domains = store_->list_numbers(*parent, xen::kFirstReservedDomain - 1);
  if (!domains) return failed("list the domains", domains.error());
  for (const std::uint32_t backend : *domains) {
    const auto buses = xen::list_buses(*store_, static_cast<xen::DomainId>(backend));
    if (!buses) return failed("list the buses", buses.error());
    for (const xen::BusId& bus : *buses) {
      if (guest && bus.driver_domain != *guest) continue;
      const auto state = xen::read_state(*store_, bus.device_directory());
      const auto numbers = xen::list_devices(*store_, bus);
      if (!numbers) return failed("list the devices", numbers.error());
      for (const std::uint16_t number : *numbers) {
        const auto node = xen::read_device(*store_, {bus, number});
        if (!node || !*node) continue;  // on its way in or out
        all.push_back({{bus, number},
                       name_of(bus.driver_domain),
                       name_of(bus.device_domain),
                       **node,
                       state.value_or(xen::XenbusState::kUnknown)});
      }
    }
  }
  return all;
}

Result<xen::DeviceNodeId, Failure> Toolstack::find_device(xen::DomainId guest,
                                                          std::uint16_t number) {
  const auto devices = list(guest);
  if (!devices) return std::unexpected(devices.error());
  for (const ListedDevice& device : *devices) {
    if (device.id.number == number) return device.id;
  }
  return std::unexpected(fmt::format("{} has no device {}", name_of(guest), number));
}

Result<Toolstack::Wait, Failure> Toolstack::wait_for(const xen::Path& path,
                                                     std::chrono::seconds patience,
                                                     const std::function<bool()>& is_done) {
  bool is_satisfied = false;
  const auto watch =
      watches_.watch(path, [&](const xen::WatchReport&) { is_satisfied = is_done(); });
  if (!watch) return failed("watch the device", watch.error());
  const auto deadline = std::chrono::steady_clock::now() + patience;
  while (!is_satisfied) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    if (left.count() <= 0) return Wait::kTimeout;
    pollfd ready{.fd = watches_.fd(), .events = POLLIN, .revents = 0};
    if (poll(&ready, 1, static_cast<int>(left.count())) < 0 && errno != EINTR) {
      return std::unexpected(fmt::format("cannot wait for xenstore: errno {}", errno));
    }
    for (bool is_more = true; is_more && !is_satisfied;) {
      const auto turned = watches_.turn();
      if (!turned) return failed("read watches", turned.error());
      is_more = *turned;
    }
  }
  return Wait::kDone;
}

}  // namespace vmsg::tool
