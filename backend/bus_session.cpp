#include "backend/bus_session.hpp"

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vmsg {
namespace {

using xen::AttachStatus;
using xen::DeviceSideAction;
using xen::XenbusState;

// A handshake has five steps. More in a row means that xenstore changes while we look; the next
// watch event goes on from there.
constexpr int kMaxSteps = 16;

xen::Advertisement advertisement_of(const Limits& limits) {
  return {.max_ring_page_order = limits.max_ring_page_order,
          .max_message_size = limits.max_message_size,
          .transport_features = 0,
          .queue_event_channels = true,
          .shared_regions = true};
}

}  // namespace

BusSession::BusSession(const xen::BusId& id, BusServices& services,
                       std::shared_ptr<GuestBudget> budget, Log log,
                       std::function<void(const xen::BusId&)> on_over)
    : id_(id),
      services_(services),
      budget_(std::move(budget)),
      log_(std::move(log)),
      on_over_(std::move(on_over)),
      retry_(services.context, [this] { look_again(); }) {}

BusSession::~BusSession() = default;

void BusSession::start() {
  const auto found = xen::read_state(services_.store, id_.device_directory());
  own_ = found.value_or(XenbusState::kUnknown);
  auto watch = services_.watches.watch(id_.driver_directory() / "state",
                                       [this](const xen::WatchReport&) { step(); });
  if (!watch) {
    log_.error("cannot watch the driver side: {}", xen::to_string(watch.error()));
    return retry_.arm();  // look_again() comes back here
  }
  driver_watch_ = std::move(*watch);
  sync_devices();

  const auto peer = xen::read_state(services_.store, id_.driver_directory());
  const auto online = xen::read_online(services_.store, id_);
  act(xen::device_side_start(own_, peer.value_or(XenbusState::kUnknown), online.value_or(false)));
  step();
}

void BusSession::nodes_changed() { step(); }

void BusSession::devices_changed() {
  // Of a bus on its way out the devices are still in xenstore when they are closed: they must not
  // be taken up once more.
  if (!is_driver_gone_ && !is_shutting_down_ && !is_removing_) sync_devices();
}

void BusSession::driver_gone() {
  if (std::exchange(is_driver_gone_, true)) return;
  log_.info("the driver domain is gone");
  driver_watch_.cancel();
  remove();
}

void BusSession::shut_down() {
  if (std::exchange(is_shutting_down_, true)) return;
  if (is_removing_) return remove();
  if (own_ == XenbusState::kConnected && link_ != nullptr && !link_->is_closed()) say_farewell();
  take_leave();
}

void BusSession::take_leave() {
  if (is_over_ || is_driver_gone_ || is_removing_) return;
  if (farewell_) {
    const auto peer = xen::read_state(services_.store, id_.driver_directory());
    // If it cannot be told there is still the time limit.
    if (!peer || *peer == XenbusState::kConnected) return;
  }
  farewell_.reset();
  driver_watch_.cancel();
  if (own_ == XenbusState::kConnected) close();
  release();
}

BusSnapshot BusSession::snapshot() const {
  BusSnapshot bus;
  bus.guest = id_.driver_domain;
  bus.bus = id_.bus;
  bus.state = xen::to_string(own_);
  std::ranges::transform(bus.state, bus.state.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  bus.error = error_;
  bus.log_lines_held_back = log_.held_back();
  if (link_ != nullptr) link_->describe_bus(bus);
  for (const auto& [number, attached] : devices_) {
    DeviceSnapshot device;
    device.number = number;
    device.type = attached->type;
    device.status = xen::to_string(attached->status);
    device.error = attached->error;
    device.published.insert(attached->published.begin(), attached->published.end());
    if (attached->device != nullptr) {
      TotalsCollector collector(device.totals);
      attached->device->report(collector);
    }
    if (link_ != nullptr) link_->describe_device(device);
    bus.devices.push_back(std::move(device));
  }
  for (const auto& [number, refusal] : refused_) {
    DeviceSnapshot device;
    device.number = number;
    device.status = xen::to_string(AttachStatus::kFailed);
    device.error = refusal.why;
    bus.devices.push_back(std::move(device));
  }
  return bus;
}

// ---- the handshake ------------------------------------------------------------------------------

void BusSession::step() {
  // Handlers of what a step does may ask for another one: the loop below looks again anyway.
  if (is_stepping_ || is_over_ || is_driver_gone_ || is_removing_) return;
  if (is_shutting_down_) return take_leave();
  if (!driver_watch_.is_set()) return;  // not taken up yet
  is_stepping_ = true;
  const bool is_there = take_steps();
  is_stepping_ = false;
  if (!is_there) driver_gone();
}

bool BusSession::take_steps() {
  for (int i = 0; i < kMaxSteps; ++i) {
    const auto present = services_.store.exists(id_.device_directory() / "frontend");
    if (present && !*present) {
      // Whoever created the bus removed it under us.
      log_.info("the bus was removed from xenstore");
      return false;
    }
    const auto peer = xen::read_state(services_.store, id_.driver_directory());
    const auto online = xen::read_online(services_.store, id_);
    if (!peer || !online) {
      const auto error = peer ? online.error() : peer.error();
      log_.error("cannot read the state of the bus: {}", xen::to_string(error));
      retry_.arm();
      return true;
    }
    if (*peer == XenbusState::kUnknown) {
      // In a driver domain nothing else tells that the guest is gone.
      const auto is_alive = xen::is_driver_domain_alive(services_.store, id_);
      if (!is_alive) {
        log_.error("cannot find out whether the guest is there: {}",
                   xen::to_string(is_alive.error()));
        retry_.arm();
        return true;
      }
      if (!*is_alive) return false;
    }
    if (farewell_ && *peer == XenbusState::kConnected) return true;
    farewell_.reset();
    const XenbusState before = own_;
    const DeviceSideAction action = xen::device_side_action(own_, *peer, *online);
    if (action == DeviceSideAction::kClose && *peer == XenbusState::kConnected &&
        link_ != nullptr && !link_->is_closed()) {
      say_farewell();
      return true;
    }
    act(action);
    if (is_over_ || own_ == before) break;
  }
  return true;
}

void BusSession::act(DeviceSideAction action) {
  switch (action) {
    case DeviceSideAction::kNone:
      return;
    case DeviceSideAction::kAdvertise:
      return advertise();
    case DeviceSideAction::kConnect:
      return connect();
    case DeviceSideAction::kClose:
    // Resuming a predecessor's bus needs its journal, which does not exist: the driver side
    // reconnects after an orderly close.
    case DeviceSideAction::kResume:
      return close();
    case DeviceSideAction::kRelease:
      return release();
    case DeviceSideAction::kRemove:
      return remove();
  }
}

void BusSession::advertise() {
  // A driver side that connects finds the devices that were given to it before, so it need not be
  // able to do with later ones what a boot needs. device_made() comes back here.
  if (!are_devices_there()) return;
  device_wait_.reset();
  if (const auto fault = xen::check_device_directory(services_.store, id_); !fault) {
    return refuse(xen::to_string(fault.error()));
  }
  if (!check(xen::clear_bus_error(services_.store, id_), "clear the error")) return;
  error_.clear();
  is_device_wait_over_ = false;
  if (!check(xen::write_advertisement(services_.store, id_, advertisement_of(services_.limits)),
             "advertise")) {
    return;
  }
  enter(XenbusState::kInitWait);
}

bool BusSession::are_devices_there() {
  const bool all = std::ranges::none_of(devices_, [](const auto& entry) {
    return entry.second->device == nullptr && !entry.second->is_leaving;
  });
  if (all || is_device_wait_over_) return true;
  if (device_wait_) return false;
  device_wait_.emplace(services_.context, services_.limits.device_wait);
  device_wait_->async_wait(
      [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
        if (alive.expired() || error) return;
        is_device_wait_over_ = true;
        step();
      });
  return false;
}

void BusSession::connect() {
  const auto answers = xen::read_answers(services_.store, id_, advertisement_of(services_.limits));
  if (!answers) return refuse(xen::to_string(answers.error()));

  auto link =
      BusLink::connect({services_.context, services_.events, services_.mapper, services_.regions,
                        services_.workers, services_.limits, services_.trace, budget_},
                       id_, *answers, *this, log_);
  if (!link) return refuse(link.error());
  link_ = std::move(*link);
  for (const auto& [number, attached] : devices_) {
    if (attached->is_leaving || attached->device == nullptr) continue;
    attached->device->reset();
    if (const auto done = link_->attach(number, *attached->device, false); !done) {
      set_status(number, AttachStatus::kFailed, done.error());
    }
  }
  enter(XenbusState::kConnected);
  log_.guest_info("connected with {} devices", devices_.size());
  link_->open();
}

void BusSession::say_farewell() {
  farewell_.emplace(services_.context, services_.limits.farewell);
  farewell_->async_wait(
      [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
        if (alive.expired() || error) return;
        farewell_.reset();
        step();
      });
  enter(XenbusState::kClosing);
}

void BusSession::close() {
  farewell_.reset();
  if (link_ != nullptr) link_->close();
  enter(XenbusState::kClosing);
}

void BusSession::release() {
  if (link_ != nullptr) {
    link_->close();
    return;  // link_gone() comes back here
  }
  enter(XenbusState::kClosed);
  if (is_shutting_down_) end();
}

void BusSession::remove() {
  if (link_ != nullptr) {
    is_removing_ = true;
    link_->close();
    return;  // link_gone() comes back here
  }
  if (is_over_) return;
  own_ = XenbusState::kClosed;  // to who asks us: in the store there is soon no state at all
  driver_watch_.cancel();
  // What stands behind the devices is closed before the bus disappears: who waits for that may then
  // use it for something else. The last device_closed() comes back here.
  is_removing_ = true;
  std::vector<std::shared_ptr<AttachedDevice>> all;
  all.reserve(devices_.size());
  for (const auto& [number, attached] : devices_) all.push_back(attached);
  for (const auto& attached : all) {
    attached->is_leaving = true;
    close_device(*attached);
  }
  if (!devices_.empty()) return;
  const bool is_removed = check(xen::remove_device_side(services_.store, id_), "remove the bus");
  // As long as it is there, whoever looks would take it up once more: remove_again() comes back to
  // it. Only who ends does not wait for that.
  if (!is_removed && !is_shutting_down_) return;
  if (is_removed) log_.info("removed");
  end();
}

void BusSession::remove_again() {
  if (link_ == nullptr && devices_.empty()) {
    const auto is_alive = xen::is_driver_domain_alive(services_.store, id_);
    if (!is_alive) return retry_.arm();
    const auto online =
        *is_alive ? xen::read_online(services_.store, id_) : Result<bool, xen::XenError>(false);
    // Not allowed to look is what a bus that is gone looks like from a driver domain.
    if (!online && online.error().error != EACCES) return retry_.arm();
    // The toolstack has made the bus anew: it is another session's.
    if (online && *online) return end();
  }
  remove();
}

void BusSession::end() {
  if (!std::exchange(is_over_, true)) on_over_(id_);
}

void BusSession::refuse(const std::string& why) {
  error_ = why;
  log_.guest("refused: {}", why);
  check(xen::write_bus_error(services_.store, id_, why), "write the error");
  close();
}

void BusSession::enter(XenbusState state) {
  own_ = state;
  if (is_driver_gone_) return;
  tell_state();
}

void BusSession::tell_state() {
  // A plain write would bring a directory back that the toolstack has just removed.
  const auto written =
      services_.store.transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
        const auto present = store.exists(id_.device_directory() / "frontend");
        if (!present) return std::unexpected(present.error());
        if (!*present) return {};
        return xen::write_state(store, id_.device_directory(), own_);
      });
  is_state_told_ = check(written, "write the state");
  log_.debug("state {}", xen::to_string(own_));
}

bool BusSession::check(const Result<void, xen::XenError>& result, const char* what) {
  if (result) return true;
  log_.error("cannot {}: {}", what, xen::to_string(result.error()));
  retry_.arm();
  return false;
}

void BusSession::look_again() {
  if (is_over_) return;
  if (is_removing_) return remove_again();
  if (is_driver_gone_ || is_shutting_down_) return;
  if (!driver_watch_.is_set()) return start();
  if (!is_state_told_) tell_state();
  for (const auto& [number, attached] : devices_) {
    if (!attached->is_told) tell_device(*attached);
  }
  for (auto& [number, refusal] : refused_) {
    if (!refusal.is_told) tell_refusal(number, refusal);
  }
  sync_devices();
  step();
}

void BusSession::link_failed(const std::string& why) {
  error_ = why;
  log_.guest("closed: {}", why);
  check(xen::write_bus_error(services_.store, id_, why), "write the error");
  close();
  step();
}

void BusSession::link_gone() {
  link_.reset();
  if (is_removing_ || is_driver_gone_) return remove();
  if (is_shutting_down_) return release();
  // Devices that were to leave a bus that closed under them.
  std::vector<std::shared_ptr<AttachedDevice>> leaving;
  for (const auto& [number, attached] : devices_) {
    if (attached->is_leaving) leaving.push_back(attached);
  }
  for (const auto& attached : leaving) close_device(*attached);
  step();
}

}  // namespace vmsg
