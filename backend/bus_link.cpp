#include "backend/bus_link.hpp"

#include <fmt/format.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <utility>

#include "backend/endpoint_counts.hpp"
#include "transport/message_text.hpp"

namespace vmsg {
namespace {

Instant now() { return std::chrono::steady_clock::now().time_since_epoch(); }

/// What every device offers on this bus. NOTIFICATION_DATA is not among it: kicks may come through
/// event channels, which carry nothing.
FeatureSet ring_features() {
  FeatureSet features;
  for (const RingFeature bit :
       {RingFeature::kIndirectDesc, RingFeature::kEventIdx, RingFeature::kRingPacked,
        RingFeature::kInOrder, RingFeature::kRingReset}) {
    features.set(bit);
  }
  return features;
}

std::string describe(const RingError& error) {
  constexpr std::array kWords{"misaligned index", "index out of range", "bad message size",
                              "incomplete message"};
  return fmt::format("ring: {} (prod {:#x}, cons {:#x}, size {})",
                     kWords.at(static_cast<std::size_t>(error.kind)), error.prod, error.cons,
                     error.msg_size);
}

std::string describe(AttachError error) {
  switch (error) {
    case AttachError::kNumberTaken:
      return "the device number is taken";
    case AttachError::kNumberQuarantined:
      return "the device number was in use until just now: take another one, or try again";
    case AttachError::kBadDevice:
      return "the device cannot be put on a bus";
  }
  return "unknown";
}

}  // namespace

Result<std::unique_ptr<BusLink>, std::string> BusLink::connect(const Environment& environment,
                                                               const xen::BusId& id,
                                                               const xen::Answers& answers,
                                                               BusLinkListener& listener, Log log) {
  auto ring = xen::MappedRing::map(environment.mapper, id.driver_domain, answers.ring_ref,
                                   environment.limits.max_ring_page_order);
  if (!ring) return std::unexpected(xen::to_string(ring.error()));
  const auto layout = RingLayout::create(ring->order(), answers.max_message_size);
  if (!layout) {
    return std::unexpected(
        fmt::format("max-message-size: {} is too large for a ring of order {} (a quarter of a "
                    "direction is allowed)",
                    layout.error().number, ring->order()));
  }
  const RingMemory memory{ring->interface_page(), ring->data()};
  auto in = RingProducer::attach(RingSide::kDevice, memory, *layout);
  if (!in) return std::unexpected(describe(in.error()));
  auto out = RingConsumer::attach(RingSide::kDevice, memory, *layout);
  if (!out) return std::unexpected(describe(out.error()));

  std::unique_ptr<BusLink> link(
      new BusLink(environment, id, answers, std::move(*ring), *in, *out, listener, std::move(log)));
  auto port = environment.events.bind_interdomain(id.driver_domain, answers.event_channel,
                                                  [raw = link.get()] { raw->turn(); });
  if (!port) return std::unexpected("event-channel: " + xen::to_string(port.error()));
  link->port_ = std::move(*port);
  return link;
}

BusLink::BusLink(const Environment& environment, const xen::BusId& id, const xen::Answers& answers,
                 xen::MappedRing ring, RingProducer in, RingConsumer out, BusLinkListener& listener,
                 Log log)
    : environment_(environment),
      id_(id),
      listener_(listener),
      log_(std::move(log)),
      ring_(std::move(ring)),
      memory_(environment.mapper, id.driver_domain, environment.limits.mapped_pages_per_bus),
      regions_(environment.mapper, environment.regions, id.driver_domain,
               {.regions = environment.limits.regions_per_bus,
                .pages = environment.limits.region_pages_per_bus}),
      in_(in),
      out_(out),
      frame_(answers.max_message_size),
      endpoint_(BusEndpoint::create(
          *this, *this,
          {.max_message_size = static_cast<std::uint16_t>(answers.max_message_size),
           .queue_event_channels = answers.queue_event_channels,
           .shared_regions = answers.shared_regions,
           .max_regions = environment.limits.regions_per_bus,
           .max_region_pages = environment.limits.region_pages_per_bus})) {
  // read_answers() bounds the size by what was advertised.
  VMSG_INVARIANT(endpoint_ != nullptr);
}

BusLink::~BusLink() { VMSG_INVARIANT(served_.empty()); }

// ---- devices ------------------------------------------------------------------------------------

Result<void, std::string> BusLink::attach(std::uint16_t number, ServedDevice& device,
                                          bool is_announced) {
  Log log = log_.device(number);
  auto session = std::make_unique<DeviceSession>(
      number, device,
      DeviceSession::Environment{.listener = *this,
                                 .memory = memory_,
                                 .workers = environment_.workers,
                                 .guest = {.domain = id_.driver_domain, .regions = &regions_},
                                 .budget = environment_.budget,
                                 .max_queues = environment_.limits.queues_per_device},
      std::move(log));
  const auto attached =
      endpoint_->attach(number, device, *session,
                        {.ring_features = ring_features(), .is_announced = is_announced}, now());
  if (!attached) return std::unexpected(describe(attached.error()));
  served_[number] = {.session = std::move(session), .reset_timer = nullptr};
  finish_turn();
  return {};
}

bool BusLink::eject(std::uint16_t number) {
  const auto seconds = static_cast<std::uint16_t>(environment_.limits.eject_timeout.count());
  const bool is_asked = endpoint_->eject(number, seconds);
  finish_turn();
  return is_asked;
}

bool BusLink::detach(std::uint16_t number) {
  const auto found = served_.find(number);
  if (found == served_.end()) return false;
  if (found->second.is_leaving) return true;
  take_off(number, found->second);
  post([this] { finish_leaving(); });
  finish_turn();
  return true;
}

void BusLink::config_changed(std::uint16_t number) {
  endpoint_->config_changed(number);
  finish_turn();
}

void BusLink::take_off(std::uint16_t number, Served& served) {
  served.is_leaving = true;
  served.reset_timer.reset();
  endpoint_->withdraw(number);
  // Whether it is done at once or later, finish_leaving() sees it.
  static_cast<void>(served.session->release_all());
}

void BusLink::finish_leaving() {
  std::vector<std::uint16_t> gone;
  std::erase_if(served_, [&](const auto& entry) {
    const auto& [number, served] = entry;
    if (!served.is_leaving || !served.session->is_idle()) return false;
    gone.push_back(number);
    return true;
  });
  // Now that nothing of the guest's memory is held, it may hear that it can have it back.
  for (const std::uint16_t number : gone) endpoint_->removed(number, now());
  finish_turn();
  // The listener may destroy this when it hears that all is gone.
  const std::weak_ptr<Alive> alive(alive_);
  for (const std::uint16_t number : gone) {
    listener_.device_gone(number);
    if (alive.expired()) return;
  }
  if (is_failure_untold_) return;  // close() has posted another call of this behind the news
  if (is_closed_ && served_.empty() && withdrawing_ == 0) listener_.link_gone();
}

void BusLink::device_released(std::uint16_t number) {
  const auto found = served_.find(number);
  if (found == served_.end()) return;
  if (found->second.is_leaving) return finish_leaving();
  found->second.reset_timer.reset();
  endpoint_->released(number);
  finish_turn();
}

void BusLink::device_used(std::uint16_t number, std::uint32_t queue) {
  endpoint_->used(number, queue);
  finish_turn();
}

void BusLink::device_failed(std::uint16_t number) {
  endpoint_->needs_reset(number);
  finish_turn();
}

void BusLink::device_resetting(std::uint16_t number) {
  // The driver waits for its answer. It gets the old status when that takes too long, and polls.
  auto timer = std::make_unique<boost::asio::steady_timer>(environment_.context,
                                                           environment_.limits.held_reset);
  timer->async_wait(
      [this, number, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
        if (alive.expired() || error) return;
        endpoint_->answer_pending_reset(number);
        finish_turn();
      });
  if (const auto found = served_.find(number); found != served_.end()) {
    found->second.reset_timer = std::move(timer);
  }
}

// ---- the ring -----------------------------------------------------------------------------------

void BusLink::open() {
  is_open_ = true;
  turn();
}

void BusLink::close() {
  if (std::exchange(is_closed_, true)) return;
  port_.close();
  for (auto& [number, served] : served_) {
    if (!served.is_leaving) take_off(number, served);
  }
  post([this] { finish_leaving(); });
}

void BusLink::turn() {
  if (!is_open_ || is_closed_) return;
  static_cast<void>(endpoint_->flush());
  const auto taken = take_turn(out_, environment_.limits.frames_per_turn, frame_,
                               [this](std::span<const std::byte> frame) {
                                 note_frame(false, frame);
                                 return endpoint_->on_frame(frame) == Taken::kTaken;
                               });
  if (!taken) return fail(describe(taken.error()));
  if (taken->notify) must_notify_ = true;
  finish_turn();
  if (is_closed_) return;

  if (!taken->is_empty && taken->taken > 0) return turn_again();
  // An empty ring, or one whose next frame has to wait: the event that ends the wait is a message,
  // room on the way in, or a device that is free again. The first two are asked for here.
  const auto sleeps = out_.prepare_to_sleep();
  if (!sleeps) return fail(describe(sleeps.error()));
  if (!*sleeps && taken->is_empty) return turn_again();
}

void BusLink::turn_again() {
  if (std::exchange(is_turn_posted_, true)) return;
  post([this] {
    is_turn_posted_ = false;
    turn();
  });
}

void BusLink::finish_turn() {
  if (!is_open_ || is_closed_) return;
  const bool is_flushed = endpoint_->flush();
  // A frame that was left in the ring for want of a place, not of a message: no event will come.
  if (endpoint_->can_take_refused()) turn_again();
  if (in_.publish()) must_notify_ = true;
  const bool wants_room = !is_flushed || endpoint_->wants_room();
  note_waiting(wants_room);
  if (wants_room) {
    const auto room = in_.arm_for_room(ring_space(out_.max_message_size()));
    if (!room) return fail(describe(room.error()));
    if (*room) turn_again();
  }
  if (ring_error_) return fail(describe(*ring_error_));
  // One notification for all of it.
  if (std::exchange(must_notify_, false)) {
    // A peer that is gone is no failure of ours: xenstore tells when to close.
    static_cast<void>(port_.notify());
  }
}

bool BusLink::has_room(std::size_t bytes) {
  if (ring_error_ || is_closed_) return false;
  const auto room = in_.has_room(ring_space(static_cast<std::uint32_t>(bytes)));
  if (!room) ring_error_ = room.error();
  return room.value_or(false);
}

void BusLink::send(std::span<const std::byte> frame) {
  note_frame(true, frame);
  ++frames_sent_;
  const auto pushed = in_.push(frame);
  if (!pushed) ring_error_ = pushed.error();
}

void BusLink::fail(std::string why) {
  if (is_closed_) return;
  // Told before anything tells that the link is gone, such as a detach that was under way: after
  // that nobody is there to tell.
  is_failure_untold_ = true;
  post([this, why = std::move(why)] {
    is_failure_untold_ = false;
    listener_.link_failed(why);
  });
  close();
}

void BusLink::post(std::function<void()> work) {
  boost::asio::post(environment_.context, [work = std::move(work), alive = std::weak_ptr(alive_)] {
    if (!alive.expired()) work();
  });
}

void BusLink::note_frame(bool is_in, std::span<const std::byte> frame) const {
  if (log_.is_debug()) log_.debug("{} {}", is_in ? "<-" : "->", to_text(frame));
  environment_.trace.frame(
      {.guest = id_.driver_domain, .bus = id_.bus, .is_in = is_in, .bytes = frame});
}

void BusLink::note_waiting(bool is_waiting) {
  if (is_waiting == ring_full_since_.has_value()) return;
  if (is_waiting) {
    ring_full_since_ = now();
  } else {
    ring_full_ += now() - *ring_full_since_;
    ring_full_since_.reset();
  }
}

void BusLink::describe_bus(BusSnapshot& bus) const {
  const BusCounters& counters = endpoint_->counters();
  bus.frames_in = frames_sent_;
  bus.frames_out = counters.frames;
  bus.counters = counts_of(counters);
  bus.dropped = counts_of(counters.dropped);
  auto full = ring_full_;
  if (ring_full_since_) full += now() - *ring_full_since_;
  bus.ring_full_ns = static_cast<std::uint64_t>(full.count());
}

void BusLink::describe_device(DeviceSnapshot& device) const {
  const DeviceEndpoint* endpoint = endpoint_->find(device.number);
  const auto served = served_.find(device.number);
  if (endpoint == nullptr || served == served_.end()) return;
  device.driver_status = endpoint->status();
  device.features_offered = endpoint->offered();
  device.features = endpoint->selection();
  device.messages = counts_of(endpoint->counters());
  device.dropped = counts_of(endpoint->counters().dropped);
  device.queues = served->second.session->snapshot();
}

// ---- BusHost ------------------------------------------------------------------------------------

PortAnswer BusLink::bind_queue_port(std::uint16_t device, std::uint32_t queue, std::uint32_t port) {
  const auto found = served_.find(device);
  if (found == served_.end()) return PortAnswer::kNotBound;
  return found->second.session->bind_port(queue, port) ? PortAnswer::kBound : PortAnswer::kNotBound;
}

void BusLink::unbind_queue_port(std::uint16_t device, std::uint32_t queue) {
  const auto found = served_.find(device);
  if (found != served_.end()) found->second.session->unbind_port(queue);
}

RegionAnswer BusLink::share_region(std::uint32_t region, GrantAddress address,
                                   std::uint32_t pages) {
  const auto shared = regions_.share(region, address, pages);
  if (shared) {
    log_.debug("region {}: {} pages at {:#x}", region, pages, address.raw());
    return RegionAnswer::kShared;
  }
  if (shared.error() == RegionError::kLimit) {
    log_.guest("region {}: {} pages refused, a limit is reached", region, pages);
    return RegionAnswer::kLimit;
  }
  log_.guest("region {}: {} pages at {:#x} do not map", region, pages, address.raw());
  return RegionAnswer::kNotMapped;
}

Release BusLink::unshare_region(std::uint32_t region) {
  auto withdrawn = regions_.withdraw(region);
  if (!withdrawn) return Release::kDone;
  ++withdrawing_;
  // The workers may be copying from it or to it. What they hold on to ends with their turns; then
  // it is unmapped, and only then answered.
  environment_.workers.after_all_turns([this, region, alive = std::weak_ptr(alive_),
                                        left = std::optional(std::move(*withdrawn))]() mutable {
    left.reset();
    if (!alive.expired()) region_withdrawn(region);
  });
  return Release::kPending;
}

void BusLink::region_withdrawn(std::uint32_t region) {
  --withdrawing_;
  log_.debug("region {}: given back", region);
  if (is_closed_) return finish_leaving();
  endpoint_->region_unshared(region);
  finish_turn();
}

void BusLink::ejected(std::uint16_t device, bool is_done) {
  post([this, device, is_done] { listener_.device_ejected(device, is_done); });
}

}  // namespace vmsg
