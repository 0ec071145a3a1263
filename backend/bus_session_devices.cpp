// The devices of a BusSession: what the toolstack attaches, asks to go and asks to look at again,
// from the nodes in xenstore to the device and its way off the bus.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "backend/bus_session.hpp"

namespace vmsg {
namespace {

using xen::AttachStatus;
using xen::DetachRequest;
using xen::XenbusState;

}  // namespace

void BusSession::sync_devices() {
  const auto numbers = xen::list_devices(services_.store, id_);
  if (!numbers) {
    log_.error("cannot list the devices: {}", xen::to_string(numbers.error()));
    return retry_.arm();
  }
  drop_vanished(*numbers);
  for (const std::uint16_t number : *numbers) {
    const auto known = devices_.find(number);
    const auto node = xen::read_device(services_.store, {id_, number});
    if (!node) {
      // What is wrong with the nodes of a new device is its fault; that they could not be read is
      // not.
      if (node.error().fault == xen::NodeFault::kStore) {
        log_.device(number).error("{}", xen::to_string(node.error()));
        retry_.arm();
      } else if (known == devices_.end()) {
        refuse_device(number, xen::to_string(node.error()));
      }
      continue;
    }
    if (!*node) continue;  // removed between the two calls
    if (known == devices_.end()) {
      add_device(number, **node);
    } else if ((*node)->detach != DetachRequest::kNone) {
      start_detach(*known->second, (*node)->detach);
    } else if ((*node)->wants_refresh) {
      refresh_device(*known->second);
    }
  }
}

void BusSession::drop_vanished(const std::vector<std::uint16_t>& numbers) {
  std::erase_if(refused_, [&](const auto& refused) {
    return std::ranges::find(numbers, refused.first) == numbers.end();
  });
  // A directory that was removed without a request is a removal at once.
  std::vector<AttachedDevice*> vanished;
  for (const auto& [number, attached] : devices_) {
    const bool is_listed = std::ranges::find(numbers, number) != numbers.end();
    if (!is_listed && !attached->is_leaving) vanished.push_back(attached.get());
  }
  for (AttachedDevice* device : vanished) {
    device->is_directory_gone = true;
    start_detach(*device, DetachRequest::kForce);
  }
}

void BusSession::add_device(std::uint16_t number, const xen::DeviceNode& node) {
  if (node.detach != DetachRequest::kNone) {
    // Never attached here, or failed to: there is nothing to take back.
    check(xen::remove_device(services_.store, {id_, number}), "remove the device");
    return;
  }
  if (refused_.contains(number)) return;
  if (devices_.size() >= services_.limits.devices_per_bus) {
    return refuse_device(
        number, fmt::format("a bus may have {} devices", services_.limits.devices_per_bus));
  }
  auto reserved = std::make_shared<AttachedDevice>();
  reserved->number = number;
  reserved->type = node.type;
  reserved->voice =
      std::make_unique<DeviceVoice>(services_.context, [this, number] { config_changed(number); });
  devices_[number] = reserved;
  set_status(number, AttachStatus::kAttaching);
  services_.maker.make(node.type, node.parameters,
                       {.guest = id_.driver_domain, .bus = id_.bus, .number = number},
                       [this, alive = std::weak_ptr(alive_),
                        weak = std::weak_ptr(reserved)](DeviceMaker::Made made) {
                         if (!alive.expired()) device_made(weak, std::move(made));
                       });
}

void BusSession::device_made(const std::weak_ptr<AttachedDevice>& reserved,
                             DeviceMaker::Made made) {
  const auto attached = reserved.lock();
  if (attached == nullptr) return;
  const std::uint16_t number = attached->number;
  if (!made) {
    if (attached->is_leaving || is_removing_) return device_closed(number);
    devices_.erase(number);
    refuse_device(number, made.error().words);
    return step();
  }
  attached->device = std::move(*made);
  attached->device->set_host(*attached->voice);
  if (attached->is_leaving || is_removing_) return close_device(*attached);

  // What a link that is closed already has not taken on is attached when the bus connects again.
  if (link_ != nullptr && own_ == XenbusState::kConnected && !link_->is_closed()) {
    if (const auto done = link_->attach(number, *attached->device, true); !done) {
      attached->is_leaving = true;
      attached->refusal = done.error();
      return close_device(*attached);
    }
  }
  attached->published = attached->device->published();
  set_status(number, AttachStatus::kAttached);
  log_.device(number).info("{} attached", attached->type);
  if (link_ == nullptr) step();  // a handshake may wait for it
}

void BusSession::config_changed(std::uint16_t number) {
  const auto found = devices_.find(number);
  if (found == devices_.end() || found->second->device == nullptr) return;
  found->second->device->update_config();
  if (link_ != nullptr && own_ == XenbusState::kConnected) link_->config_changed(number);
}

void BusSession::refresh_device(AttachedDevice& device) {
  if (device.device == nullptr || device.is_leaving) return;
  const auto refreshed = device.device->refresh();
  if (refreshed) {
    log_.device(device.number).info("looked at again");
  } else {
    log_.device(device.number).warning("{}", refreshed.error());
  }
  check(xen::answer_refresh(services_.store, {id_, device.number},
                            refreshed ? std::string{} : refreshed.error()),
        "answer the request to look again");
}

void BusSession::start_detach(AttachedDevice& device, DetachRequest how) {
  if (device.is_leaving) return;
  if (link_ == nullptr || how == DetachRequest::kForce) return take_back(device);
  if (std::exchange(device.is_ejecting, true)) return;
  // A driver side that does not have it, or loses it already, need not be asked.
  if (!link_->eject(device.number)) return take_back(device);
  set_status(device.number, AttachStatus::kDetaching);
  device.eject_timer.emplace(services_.context, services_.limits.eject_timeout);
  device.eject_timer->async_wait([this, number = device.number, alive = std::weak_ptr(alive_)](
                                     const boost::system::error_code& error) {
    if (alive.expired() || error) return;
    device_ejected(number, false);
  });
}

void BusSession::device_ejected(std::uint16_t number, bool is_done) {
  const auto found = devices_.find(number);
  if (found == devices_.end() || found->second->is_leaving) return;
  AttachedDevice& device = *found->second;
  if (is_done) {
    device.eject_timer.reset();
    return take_back(device);
  }
  if (!std::exchange(device.is_ejecting, false)) return;
  device.eject_timer.reset();
  // The device stays, and whoever asked sees why; without the request it can be asked for again.
  check(services_.store.remove(xen::DeviceNodeId{id_, number}.directory() / "detach"),
        "take back the detach request");
  set_status(number, AttachStatus::kAttached);
  check(services_.store.write(xen::DeviceNodeId{id_, number}.directory() / "error",
                              "the guest did not let go of the device"),
        "write the error");
}

void BusSession::take_back(AttachedDevice& device) {
  device.is_leaving = true;
  // Closed only when no queue of it is served any more: device_gone() tells.
  if (link_ == nullptr || !link_->detach(device.number)) return close_device(device);
  set_status(device.number, AttachStatus::kDetaching);
}

void BusSession::device_gone(std::uint16_t number) {
  // A link that closes lets go of every device; only a device that is to leave leaves the bus.
  const auto found = devices_.find(number);
  if (found != devices_.end() && found->second->is_leaving) close_device(*found->second);
}

void BusSession::close_device(AttachedDevice& device) {
  // One that is still being made comes back here when it is.
  if (device.device == nullptr || std::exchange(device.is_closing, true)) return;
  services_.maker.destroy(std::move(device.device),
                          [this, number = device.number, alive = std::weak_ptr(alive_)] {
                            if (!alive.expired()) device_closed(number);
                          });
}

void BusSession::device_closed(std::uint16_t number) {
  const auto found = devices_.find(number);
  if (found == devices_.end()) return;
  const std::shared_ptr<AttachedDevice> device = std::move(found->second);
  devices_.erase(found);
  if (is_removing_ || is_driver_gone_) return remove();
  if (!device->refusal.empty()) return refuse_device(number, device->refusal);
  if (!device->is_directory_gone) {
    check(xen::remove_device(services_.store, {id_, number}), "remove the device");
  }
  log_.device(number).info("detached");
  // The number may have been given to a new device while the old one was closed.
  if (device->is_directory_gone) devices_changed();
}

void BusSession::refuse_device(std::uint16_t number, const std::string& why) {
  // Our own answer changes the directory, which brings us back here: it is judged once.
  const auto [refusal, is_new] = refused_.emplace(number, Refusal{.why = why});
  if (!is_new) return;
  log_.device(number).warning("{}", why);
  tell_refusal(number, refusal->second);
}

void BusSession::set_status(std::uint16_t number, AttachStatus status, const std::string& error) {
  const auto found = devices_.find(number);
  if (found == devices_.end()) return;
  found->second->status = status;
  found->second->error = error;
  // It may be as often as the guest connects.
  if (!error.empty()) log_.device(number).guest("{}", error);
  tell_device(*found->second);
}

void BusSession::tell_device(AttachedDevice& device) {
  device.is_told = tell_status(device.number, device.status, device.error, device.published);
}

void BusSession::tell_refusal(std::uint16_t number, Refusal& refusal) {
  refusal.is_told = tell_status(number, AttachStatus::kFailed, refusal.why, {});
}

bool BusSession::tell_status(std::uint16_t number, AttachStatus status, const std::string& error,
                             const PublishedFacts& published) {
  const xen::DeviceNodeId device{id_, number};
  // As with the bus's state: a directory that has just been removed must not come back.
  const auto written =
      services_.store.transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
        const auto present = store.exists(device.directory() / "type");
        if (!present) return std::unexpected(present.error());
        if (!*present) return {};
        if (status == AttachStatus::kAttached) {
          if (auto done = xen::write_published(store, device, published); !done) return done;
        }
        return xen::write_device_status(store, device, status, error);
      });
  return check(written, "write the device's status");
}

}  // namespace vmsg
