#include "tests/scale/toolstack_domain.hpp"

#include <poll.h>

#include <cstdlib>
#include <iostream>

namespace vmsg::scale {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::seconds kPatience{30};

[[noreturn]] void give_up(const std::string& why) {
  std::cerr << "service_scale: " << why << '\n';
  std::exit(1);
}

template <typename T>
T need(Result<T, xen::XenError> result, const char* what) {
  if (!result) give_up(std::string(what) + ": " + xen::to_string(result.error()));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

}  // namespace

ToolstackDomain::ToolstackDomain()
    : store_(need(xen::Store::open(), "xenstore")), watches_(*store_) {}

void ToolstackDomain::wait(const xen::Path& path, const std::function<bool()>& is_done,
                           const std::string& what) {
  bool is_over = false;
  const xen::Watch watch =
      need(watches_.watch(path, [&](const xen::WatchReport&) { is_over = is_over || is_done(); }),
           "watch");
  const auto deadline = Clock::now() + kPatience;
  while (!is_over) {
    if (Clock::now() > deadline) give_up(what + ": it did not come");
    pollfd events{.fd = watches_.fd(), .events = POLLIN, .revents = 0};
    ::poll(&events, 1, 1000);
    need(watches_.turn(), "watches");
  }
}

std::chrono::nanoseconds ToolstackDomain::attach(const xen::DeviceNodeId& device,
                                                 const std::string& type,
                                                 const Parameters& parameters) {
  const auto started = Clock::now();
  need(store_->transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
    const auto is_there = store.exists(device.bus.device_directory());
    if (!is_there) return std::unexpected(is_there.error());
    if (!*is_there) {
      if (auto made = xen::create_bus(store, device.bus); !made) return made;
    }
    return xen::create_device(store, device, type, parameters);
  }),
       "attach");
  std::string error;
  wait(
      device.directory(),
      [&] {
        const auto node = xen::read_device(*store_, device);
        if (!node || !*node) return false;
        error = (*node)->error;
        return (*node)->status == xen::AttachStatus::kAttached || !error.empty();
      },
      "attach " + type);
  if (!error.empty()) give_up("attach " + type + ": " + error);
  return Clock::now() - started;
}

void ToolstackDomain::wait_gone(const xen::BusId& bus) {
  wait(
      bus.device_directory(), [&] { return !need(store_->exists(bus.device_directory()), "look"); },
      "the end of a bus");
  wait(
      bus.devices_directory(),
      [&] { return !need(store_->exists(bus.devices_directory()), "look"); }, "the end of devices");
}

std::size_t ToolstackDomain::nodes_of_buses(xen::DomainId device_domain) {
  return need(xen::list_buses(*store_, device_domain), "list").size();
}

}  // namespace vmsg::scale
