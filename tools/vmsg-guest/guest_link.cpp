#include "tools/vmsg-guest/guest_link.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace vmsg::guest {
namespace {

using xen::XenbusState;

constexpr std::uint32_t kFramesPerTurn = 64;

std::unexpected<Failure> failed(std::string_view doing, const xen::XenError& error) {
  return std::unexpected(fmt::format("cannot {}: {}", doing, xen::to_string(error)));
}

}  // namespace

Result<std::unique_ptr<GuestLink>, Failure> GuestLink::connect(GuestLoop& loop,
                                                               const LinkOptions& options) {
  auto store = xen::Store::open();
  if (!store) return failed("reach xenstore", store.error());
  auto events = xen::EventChannels::open();
  if (!events) return failed("open event channels (is xen-evtchn loaded?)", events.error());
  auto sharer = xen::GrantSharer::open();
  if (!sharer) return failed("share memory (is xen-gntalloc loaded?)", sharer.error());
  std::unique_ptr<GuestLink> link(
      new GuestLink(loop, options, std::move(*store), std::move(*events), std::move(*sharer)));
  if (auto found = link->find_bus(); !found) return std::unexpected(found.error());
  if (auto done = link->shake_hands(); !done) return std::unexpected(done.error());
  if (auto started = link->start_bus(); !started) return std::unexpected(started.error());
  return link;
}

GuestLink::GuestLink(GuestLoop& loop, const LinkOptions& options, std::unique_ptr<xen::Store> store,
                     xen::EventChannels events, xen::GrantSharer sharer)
    : loop_(loop),
      options_(options),
      store_(std::move(store)),
      watches_(*store_),
      events_(std::move(events)),
      sharer_(std::move(sharer)) {
  loop_.add(watches_.fd(), [this] { on_watches(); });
  loop_.add(events_.fd(), [this] { on_events(); });
}

GuestLink::~GuestLink() {
  loop_.remove(watches_.fd());
  loop_.remove(events_.fd());
  loop_.set_ticker({});
  port_.close();
}

// ---- the handshake ------------------------------------------------------------------------------

Result<void, Failure> GuestLink::find_bus() {
  const auto own = store_->own_domain();
  if (!own) return failed("learn the number of this domain", own.error());
  const xen::Path directory = xen::Path::domain(*own) / "device" / "virtio-msg" / options_.bus;
  // A device may be attached while we wait for it.
  auto watch = watches_.watch(directory, [](const xen::WatchReport&) {});
  if (!watch) return failed("watch for the bus", watch.error());
  Failure why;
  const bool is_there = loop_.run_until(
      [&] {
        const auto id = xen::read_driver_directory(*store_, *own, options_.bus);
        if (id) id_ = *id;
        if (!id) why = xen::to_string(id.error());
        return id.has_value();
      },
      options_.patience);
  if (!is_there) {
    return std::unexpected(fmt::format("no bus {} in {} ({}); was a device attached to this guest?",
                                       options_.bus, directory.text(), why));
  }
  return {};
}

Result<void, Failure> GuestLink::shake_hands() {
  auto watch = watches_.watch(id_.device_directory() / "state", [](const xen::WatchReport&) {});
  if (!watch) return failed("watch the device side", watch.error());
  state_watch_ = std::move(*watch);

  if (auto left = leave_predecessor(); !left) return left;
  if (auto entered = enter(XenbusState::kInitialising); !entered) return entered;
  if (!wait_for_state([](XenbusState peer) { return peer == XenbusState::kInitWait; })) {
    return std::unexpected(fmt::format(
        "the device side (domain {}) offers nothing: is vmsgd running there?", id_.device_domain));
  }
  if (auto answered = answer(); !answered) return answered;
  if (auto entered = enter(XenbusState::kInitialised); !entered) return entered;
  XenbusState last = XenbusState::kUnknown;
  const bool has_moved = wait_for_state([&](XenbusState peer) {
    last = peer;
    return peer != XenbusState::kInitWait;
  });
  if (!has_moved || last != XenbusState::kConnected) {
    const auto error = store_->find(id_.device_directory() / "error");
    return std::unexpected(fmt::format("the device side did not connect: {}",
                                       error && *error ? **error : "no answer"));
  }
  return enter(XenbusState::kConnected);
}

Result<void, Failure> GuestLink::leave_predecessor() {
  const auto own = xen::read_state(*store_, id_.driver_directory());
  if (!own) return failed("read our state", own.error());
  if (*own != XenbusState::kInitialised && *own != XenbusState::kConnected) return {};
  // A run that was killed. The device side may be about to connect to what it answered, and its
  // offer would be taken for one to us: it lets go first.
  if (auto entered = enter(XenbusState::kClosing); !entered) return entered;
  static_cast<void>(wait_for_state([](XenbusState peer) { return peer == XenbusState::kClosed; }));
  return enter(XenbusState::kClosed);
}

Result<void, Failure> GuestLink::answer() {
  const auto offer = xen::read_advertisement(*store_, id_);
  if (!offer) return std::unexpected("the device side's offer: " + xen::to_string(offer.error()));
  auto ring = xen::OfferedRing::create(
      sharer_, id_.device_domain, std::min(options_.ring_page_order, offer->max_ring_page_order));
  if (!ring) return failed("share a ring", ring.error());
  ring_.emplace(std::move(*ring));
  auto port = events_.alloc_unbound(id_.device_domain);
  if (!port) return failed("make an event channel", port.error());
  port_ = std::move(*port);

  answers_.ring_ref = ring_->ring_ref();
  answers_.event_channel = xen::RemotePort{static_cast<std::uint32_t>(port_.local())};
  answers_.max_message_size =
      std::min<std::uint32_t>(VIRTIO_MSG_RECOMMENDED_MAX_SIZE, offer->max_message_size);
  answers_.queue_event_channels = offer->queue_event_channels;
  if (options_.shared_regions && !offer->shared_regions) {
    return std::unexpected("the device side does not offer shared regions");
  }
  answers_.shared_regions = options_.shared_regions;
  if (const auto written = xen::write_answers(*store_, id_, answers_); !written) {
    return failed("write the answers", written.error());
  }
  return {};
}

Result<void, Failure> GuestLink::start_bus() {
  const auto layout = RingLayout::create(ring_->order(), answers_.max_message_size);
  if (!layout) return std::unexpected("the ring is too small for the messages");
  const RingMemory memory{ring_->interface_page(), ring_->data()};
  auto out = RingProducer::attach(RingSide::kDriver, memory, *layout);
  auto in = RingConsumer::attach(RingSide::kDriver, memory, *layout);
  if (!out || !in) return std::unexpected("the device side broke the ring");
  out_.emplace(*out);
  in_.emplace(*in);
  frame_.resize(answers_.max_message_size);

  auto bus = DriverBus::create(*this, *this,
                               {.max_message_size = answers_.max_message_size, .limits = {}});
  if (!bus) return std::unexpected("the parameters of the bus cannot be");
  bus_ = std::move(*bus);
  loop_.set_ticker([this](Instant time) {
    bus_->tick(time);
    pump();
    return bus_->next_deadline();
  });
  bus_->discover(now());
  pump();
  const bool is_known =
      loop_.run_until([this] { return is_enumerated_ || !failure_.empty(); }, options_.patience);
  if (!failure_.empty()) return std::unexpected(failure_);
  if (!is_known) return std::unexpected("the device side does not say which devices there are");
  return {};
}

Result<void, Failure> GuestLink::enter(XenbusState state) {
  own_ = state;
  if (const auto written = xen::write_state(*store_, id_.driver_directory(), state); !written) {
    return failed("write our state", written.error());
  }
  return {};
}

bool GuestLink::wait_for_state(const std::function<bool(XenbusState)>& is_right) {
  return loop_.run_until(
      [&] {
        const auto peer = xen::read_state(*store_, id_.device_directory());
        return peer && is_right(*peer);
      },
      options_.patience);
}

void GuestLink::close() {
  if (own_ != XenbusState::kConnected) return;
  loop_.set_ticker({});
  // Our pages may go only when the device side has said that it holds none of them.
  if (!enter(XenbusState::kClosing)) return;
  static_cast<void>(wait_for_state([](XenbusState peer) {
    return peer == XenbusState::kClosed || peer == XenbusState::kUnknown;
  }));
  static_cast<void>(enter(XenbusState::kClosed));
}

// ---- the ring -----------------------------------------------------------------------------------

bool GuestLink::has_room(std::size_t bytes) {
  if (!failure_.empty()) return false;
  const auto room = out_->has_room(ring_space(static_cast<std::uint32_t>(bytes)));
  if (!room) fail("the device side broke the ring (out)");
  return room.value_or(false);
}

void GuestLink::send(std::span<const std::byte> frame) {
  if (!out_->push(frame)) fail("the device side broke the ring (out)");
}

Result<void, Failure> GuestLink::send_raw(std::span<const std::byte> frame) {
  const bool has_gone = loop_.run_until([&] { return !failure_.empty() || has_room(frame.size()); },
                                        options_.patience);
  if (!has_gone) return std::unexpected("the device side takes no frames");
  if (!failure_.empty()) return std::unexpected(failure_);
  send(frame);
  pump();
  return {};
}

void GuestLink::pump() {
  if (!failure_.empty()) return;
  if (bus_->wants_room() && !bus_->flush(now())) {
    static_cast<void>(out_->arm_for_room(ring_space(answers_.max_message_size)));
  }
  if (out_->publish()) must_notify_ = true;
  if (std::exchange(must_notify_, false)) static_cast<void>(port_.notify());
}

void GuestLink::on_events() {
  while (true) {
    const auto pending = events_.next_pending();
    if (!pending || !*pending) return;
    static_cast<void>(events_.unmask(**pending));
    if (port_.is_open() && **pending == port_.local()) {
      if (bus_ != nullptr) take_frames();
    } else if (const auto found = handlers_.find(**pending); found != handlers_.end()) {
      const auto handler = found->second;
      handler();
    }
  }
}

void GuestLink::take_frames() {
  while (failure_.empty()) {
    const auto turn = take_turn(*in_, kFramesPerTurn, frame_, [this](auto frame) {
      if (tap_) {
        tap_(frame);
      } else {
        bus_->on_frame(frame, now());
      }
      return true;
    });
    if (!turn) return fail("the device side broke the ring (in)");
    must_notify_ |= turn->notify;
    pump();
    if (!turn->is_empty) continue;
    const auto sleeps = in_->prepare_to_sleep();
    if (!sleeps) return fail("the device side broke the ring (in)");
    if (*sleeps) return;
  }
}

void GuestLink::on_watches() {
  while (true) {
    const auto is_more = watches_.turn();
    if (!is_more) return fail("xenstore: " + xen::to_string(is_more.error()));
    if (!*is_more) break;
  }
  if (own_ != XenbusState::kConnected) return;
  const auto peer = xen::read_state(*store_, id_.device_directory());
  if (!peer || *peer != XenbusState::kConnected) fail("the device side closed the bus");
}

Result<xen::Port, Failure> GuestLink::make_port(std::function<void()> on_kick) {
  auto port = events_.alloc_unbound(id_.device_domain);
  if (!port) return failed("make an event channel", port.error());
  handlers_[port->local()] = std::move(on_kick);
  return std::move(*port);
}

Result<std::uint32_t, Failure> GuestLink::share_region(GrantAddress address, std::uint32_t pages) {
  const std::uint32_t region = next_region_++;
  std::optional<std::uint32_t> status;
  const auto begun = bus_->share_region(
      region, pages, address.raw(), now(),
      [&](const Result<std::uint32_t, RequestFailure>& result) { status = result.value_or(~0U); });
  if (!begun) return std::unexpected("the bus takes no request for a region");
  const auto answer = await_region(status, "the region to be shared");
  if (!answer) return answer;
  if (*answer != VMSG_XEN_REGION_OK) {
    return std::unexpected(
        fmt::format("a region of {} pages was refused, status {}", pages, *answer));
  }
  return region;
}

Result<void, Failure> GuestLink::unshare_region(std::uint32_t region) {
  std::optional<std::uint32_t> status;
  const auto begun = bus_->unshare_region(
      region, now(),
      [&](const Result<std::uint32_t, RequestFailure>& result) { status = result.value_or(~0U); });
  if (!begun) return std::unexpected("the bus takes no request for a region");
  const auto answer = await_region(status, "the region to be given back");
  if (!answer) return std::unexpected(answer.error());
  if (*answer != VMSG_XEN_REGION_OK) {
    return std::unexpected(fmt::format("region {} was not given back, status {}", region, *answer));
  }
  return {};
}

Result<std::uint32_t, Failure> GuestLink::await_region(const std::optional<std::uint32_t>& status,
                                                       std::string_view what) {
  pump();
  const bool is_over =
      loop_.run_until([&] { return status.has_value() || !failure_.empty(); }, options_.patience);
  if (status) return *status;
  if (is_over) return std::unexpected(failure_);
  return std::unexpected(fmt::format("waited in vain for {}", what));
}

void GuestLink::enumerated(const Result<void, EnumerationError>& result) {
  if (!result) return fail("the device side does not list its devices properly");
  is_enumerated_ = true;
}

void GuestLink::eject_requested(std::uint16_t number, std::uint16_t) {
  // Nothing of this tool depends on a device for longer than a command takes.
  static_cast<void>(bus_->ejected(number, VMSG_XEN_EJECTED_BUSY, now(), [](const auto&) {}));
}

void GuestLink::fail(Failure why) {
  if (failure_.empty()) failure_ = std::move(why);
}

}  // namespace vmsg::guest
