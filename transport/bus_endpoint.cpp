#include "transport/bus_endpoint.hpp"

#include <algorithm>
#include <deque>
#include <map>
#include <optional>
#include <utility>
#include <variant>
#include <vector>

#include "transport/message.hpp"
#include "transport/shared_region_table.hpp"
#include "transport/waiting_frames.hpp"
#include "transport/wire.hpp"

namespace vmsg {
namespace {

constexpr std::uint32_t kNumbers = 65536;

/// An event of the bus itself that waits for room. At most one of each kind a number.
struct Note {
  std::uint16_t number;
  std::uint16_t value;  // the state for EVENT_DEVICE, the seconds for EJECT
  bool is_eject;
};
constexpr std::size_t kNoteFrameSize = kHeaderSize + sizeof(wire::EventDevice);
static_assert(sizeof(wire::EventDevice) == sizeof(wire::Eject));
constexpr std::size_t kRegionReplySize = kHeaderSize + sizeof(wire::RegionResponse);

}  // namespace

struct BusEndpoint::Impl {
  /// A device on the bus, and the sink that its endpoint sees: asking for room in vain puts the
  /// device on the list of those that flush() visits.
  struct Slot final : FrameSink {
    Slot(Impl& owner, std::uint16_t own_number) : bus(owner), number(own_number) {}

    bool has_room(std::size_t bytes) override {
      if (bus.sink.has_room(bytes)) return true;
      bus.visit_later(*this);
      return false;
    }
    void send(std::span<const std::byte> frame) override { bus.sink.send(frame); }

    Impl& bus;
    std::uint16_t number;
    std::unique_ptr<DeviceEndpoint> endpoint;
    bool is_withdrawn = false;  // there for the list of devices only
    bool is_listed = false;
    Slot* next_listed = nullptr;
  };

  Impl(BusHost& bus_host, FrameSink& frame_sink, const BusOptions& bus_options)
      : host(bus_host),
        sink(frame_sink),
        options(bus_options),
        numbers(bus_options.number_quarantine),
        regions(bus_host, {.max_regions = bus_options.max_regions,
                           .max_pages = bus_options.max_region_pages}),
        waiting(bus_options.max_waiting_frames, bus_options.max_message_size),
        out_buffer(bus_options.max_message_size),
        in_buffer(bus_options.max_message_size) {}

  // Frames.
  Taken on_frame(std::span<const std::byte> delivered);
  bool must_wait(const Slot& slot) const;
  void dispatch(const Frame& frame);
  void handle_waiting();
  void handle_waiting_frames();
  std::optional<std::uint16_t> concerned_device(const Frame& frame) const;
  void drop(DropReason reason) { counters.dropped.add(reason); }

  // Bus messages, one function each.
  void handle(MessageAddress from, const GetDevicesRequest& request);
  void handle(MessageAddress from, const PingRequest& request);
  void handle(MessageAddress from, const PingResponse& response);
  void handle(MessageAddress from, const QueueEventChannelRequest& request);
  void handle(MessageAddress from, const ShareRegionRequest& request);
  void handle(MessageAddress from, const UnshareRegionRequest& request);
  void handle(MessageAddress from, const EjectedRequest& request);
  std::uint16_t set_queue_port(const QueueEventChannelRequest& request);

  // What goes out.
  template <typename Message>
  void respond(MessageAddress to, const Message& message);
  template <typename Message>
  void send(MessageAddress to, const Message& message);
  void reply(const RegionReply& due);
  void note(const Note& event);
  bool send_notes();
  bool send_region_replies();
  bool flush();
  void visit_later(Slot& slot);
  void forget_visit(Slot& slot);

  Slot* find(std::uint16_t number);

  BusHost& host;
  FrameSink& sink;
  const BusOptions options;
  DeviceNumbers numbers;
  SharedRegionTable regions;
  WaitingFrames waiting;
  std::vector<std::byte> out_buffer;
  std::vector<std::byte> in_buffer;  // a waiting frame while it is handled
  std::map<std::uint16_t, Slot> slots;
  std::deque<Note> notes;
  Slot* first_listed = nullptr;
  Slot* last_listed = nullptr;
  bool refused_for_room = false;  // what on_frame() said last, and why
  bool refused_for_place = false;
  bool wants_room_for_waiting = false;
  bool is_handling_waiting = false;
  BusCounters counters;
};

// ---- frames of the driver side -----------------------------------------------------------------

Taken BusEndpoint::Impl::on_frame(std::span<const std::byte> delivered) {
  // Flow control: no frame is looked at without room for the largest response.
  refused_for_room = !sink.has_room(options.max_message_size);
  refused_for_place = false;
  if (refused_for_room) {
    ++counters.frames_refused;
    return Taken::kNotNow;
  }
  const auto frame = parse_frame(delivered, options.max_message_size);
  if (!frame) {
    ++counters.frames;
    drop(drop_reason(frame.error().error));
    return Taken::kTaken;
  }
  const auto number = concerned_device(*frame);
  const Slot* slot = number ? find(*number) : nullptr;
  if (slot != nullptr && must_wait(*slot)) {
    const auto exact = delivered.first(frame->header.msg_size);
    if (!waiting.push(*number, exact)) {
      refused_for_place = true;
      ++counters.frames_refused;
      return Taken::kNotNow;
    }
    ++counters.frames;
    ++counters.frames_waited;
    return Taken::kTaken;
  }
  ++counters.frames;
  dispatch(*frame);
  return Taken::kTaken;
}

/// Messages about one device are handled in order, so those of the bus that concern a device wait
/// for it too.
std::optional<std::uint16_t> BusEndpoint::Impl::concerned_device(const Frame& frame) const {
  if (!frame.header.is_bus()) return frame.header.dev_num;
  const auto message = receive_at_device_bus(frame);
  if (!message) return std::nullopt;
  if (const auto* channel = std::get_if<QueueEventChannelRequest>(&*message)) {
    return channel->dev_num;
  }
  if (const auto* ejected = std::get_if<EjectedRequest>(&*message)) return ejected->dev_num;
  return std::nullopt;
}

bool BusEndpoint::Impl::must_wait(const Slot& slot) const {
  return slot.endpoint->is_busy() || waiting.has(slot.number);
}

void BusEndpoint::Impl::dispatch(const Frame& frame) {
  if (frame.header.is_bus()) {
    const auto message = receive_at_device_bus(frame);
    if (!message) return drop(drop_reason(message.error().error));
    std::visit([&](const auto& typed) { handle(address_of(frame.header), typed); }, *message);
    return;
  }
  Slot* slot = find(frame.header.dev_num);
  if (slot == nullptr) return drop(DropReason::kAbsentDevice);
  slot->endpoint->on_frame(frame);
}

void BusEndpoint::Impl::handle_waiting() {
  if (is_handling_waiting) return;  // a device goes while one of its frames is handled
  is_handling_waiting = true;
  handle_waiting_frames();
  is_handling_waiting = false;
}

void BusEndpoint::Impl::handle_waiting_frames() {
  wants_room_for_waiting = false;
  std::size_t position = 0;
  while (position < waiting.size()) {
    const Slot* slot = find(waiting.device(position));
    if (slot != nullptr && slot->endpoint->is_busy()) {
      ++position;
      continue;
    }
    if (!sink.has_room(options.max_message_size)) {
      wants_room_for_waiting = true;
      return;
    }
    const auto frame = parse_frame(waiting.take(position, in_buffer), options.max_message_size);
    VMSG_INVARIANT(frame.has_value());  // it was checked when it came
    dispatch(*frame);
    position = 0;  // devices may have become busy, or gone
  }
}

BusEndpoint::Impl::Slot* BusEndpoint::Impl::find(std::uint16_t number) {
  const auto found = slots.find(number);
  return found == slots.end() || found->second.is_withdrawn ? nullptr : &found->second;
}

// ---- bus messages ------------------------------------------------------------------------------

void BusEndpoint::Impl::handle(MessageAddress from, const GetDevicesRequest& request) {
  const std::uint32_t fitting =
      max_device_slots(static_cast<std::uint32_t>(options.max_message_size));
  const std::uint32_t begin = request.offset;
  const std::uint32_t count = std::min({std::uint32_t{request.count}, fitting, kNumbers - begin});
  GetDevicesResponse response{.offset = request.offset, .next_offset = 0, .count = 0, .bitmap = {}};
  if (count == 0) return respond(from, response);

  // The window, read straight into the place that its bytes have in the frame.
  const std::uint32_t end = begin + count;
  const auto bitmap =
      std::span(out_buffer)
          .subspan(kHeaderSize + sizeof(wire::GetDevicesResponse),
                   GetDevicesResponse::bitmap_size(static_cast<std::uint16_t>(count)));
  std::ranges::fill(bitmap, std::byte{0});
  auto slot = slots.lower_bound(request.offset);
  for (; slot != slots.end() && slot->first < end; ++slot) {
    const std::uint32_t position = slot->first - begin;
    bitmap[position / 8] |= std::byte{1} << (position % 8);
  }
  response.count = static_cast<std::uint16_t>(count);
  response.bitmap = bitmap;
  if (slot != slots.end()) {
    // Where something follows: on a multiple of 8 where that does not fall back into the window.
    response.next_offset =
        static_cast<std::uint16_t>(std::max(end, std::uint32_t{slot->first} / 8 * 8));
  }
  respond(from, response);
}

void BusEndpoint::Impl::handle(MessageAddress from, const PingRequest& request) {
  respond(from, PingResponse{.data = request.data});
}

void BusEndpoint::Impl::handle(MessageAddress /*from*/, const PingResponse& /*response*/) {
  drop(DropReason::kDirection);  // we never ask
}

void BusEndpoint::Impl::handle(MessageAddress from, const QueueEventChannelRequest& request) {
  if (!options.queue_event_channels) return drop(DropReason::kUnknownMessage);
  respond(from, QueueEventChannelResponse{.dev_num = request.dev_num,
                                          .status = set_queue_port(request),
                                          .vq_index = request.vq_index});
}

std::uint16_t BusEndpoint::Impl::set_queue_port(const QueueEventChannelRequest& request) {
  const Slot* slot = find(request.dev_num);
  if (slot == nullptr) return VMSG_XEN_QEC_NO_SUCH_QUEUE;
  const DeviceEndpoint& device = *slot->endpoint;
  switch (device.queue_state(request.vq_index)) {
    case QueueState::kUnavailable:
      return VMSG_XEN_QEC_NO_SUCH_QUEUE;
    case QueueState::kIdle:
    case QueueState::kConfigured:
      // Nobody serves it yet, so nobody could hear of a kick.
      return VMSG_XEN_QEC_NOT_NOW;
    case QueueState::kEnabled:
      break;
  }
  if (request.port == 0) {
    host.unbind_queue_port(request.dev_num, request.vq_index);
    return VMSG_XEN_QEC_OK;
  }
  // A port says nothing but "look": the offsets that the driver promised would be lost.
  if (device.selection().has(RingFeature::kNotificationData) || device.is_resetting()) {
    return VMSG_XEN_QEC_NOT_NOW;
  }
  switch (host.bind_queue_port(request.dev_num, request.vq_index, request.port)) {
    case PortAnswer::kBound:
      return VMSG_XEN_QEC_OK;
    case PortAnswer::kNotBound:
      return VMSG_XEN_QEC_NOT_BOUND;
    case PortAnswer::kLimit:
      return VMSG_XEN_QEC_NOT_NOW;
  }
  return VMSG_XEN_QEC_NOT_BOUND;
}

void BusEndpoint::Impl::handle(MessageAddress from, const ShareRegionRequest& request) {
  if (!options.shared_regions) return drop(DropReason::kUnknownMessage);
  ++counters.bus_requests;
  if (const auto now = regions.share(from, request)) reply(*now);
}

void BusEndpoint::Impl::handle(MessageAddress from, const UnshareRegionRequest& request) {
  if (!options.shared_regions) return drop(DropReason::kUnknownMessage);
  ++counters.bus_requests;
  if (const auto now = regions.unshare(from, request)) reply(*now);
}

void BusEndpoint::Impl::handle(MessageAddress from, const EjectedRequest& request) {
  respond(from, EjectedResponse{.dev_num = request.dev_num});
  if (find(request.dev_num) == nullptr) return;
  host.ejected(request.dev_num, request.status == VMSG_XEN_EJECTED_DONE);  // may detach: last
}

// ---- what goes out -----------------------------------------------------------------------------

template <typename Message>
void BusEndpoint::Impl::respond(MessageAddress to, const Message& message) {
  ++counters.bus_requests;
  ++counters.bus_responses;
  send(to, message);
}

template <typename Message>
void BusEndpoint::Impl::send(MessageAddress to, const Message& message) {
  const auto frame = encode(std::span<std::byte>(out_buffer), to, message);
  VMSG_INVARIANT(frame.has_value());
  sink.send(*frame);
}

void BusEndpoint::Impl::reply(const RegionReply& due) {
  ++counters.bus_responses;
  if (due.is_unshare) {
    send(due.to, UnshareRegionResponse{.region = due.region, .status = due.status});
  } else {
    send(due.to, ShareRegionResponse{.region = due.region, .status = due.status});
  }
}

void BusEndpoint::Impl::note(const Note& event) {
  const auto same = std::ranges::find_if(notes, [&](const Note& old) {
    return old.number == event.number && old.is_eject == event.is_eject;
  });
  if (same != notes.end()) {
    same->value = event.value;
  } else {
    notes.push_back(event);
  }
  static_cast<void>(send_notes());
}

bool BusEndpoint::Impl::send_notes() {
  while (!notes.empty()) {
    if (!sink.has_room(kNoteFrameSize)) return false;
    const Note event = notes.front();
    notes.pop_front();
    ++counters.device_events;
    if (event.is_eject) {
      send({}, Eject{.dev_num = event.number, .seconds = event.value});
    } else {
      send({}, EventDevice{.dev_num = event.number, .state = event.value});
    }
  }
  return true;
}

bool BusEndpoint::Impl::send_region_replies() {
  while (regions.has_due()) {
    if (!sink.has_room(kRegionReplySize)) return false;
    reply(regions.take_due());
  }
  return true;
}

bool BusEndpoint::Impl::flush() {
  if (!send_region_replies() || !send_notes()) return false;
  while (first_listed != nullptr) {
    Slot& slot = *first_listed;
    forget_visit(slot);
    if (!slot.endpoint->flush()) return false;  // and is at the end of the list again
  }
  handle_waiting();
  return true;
}

void BusEndpoint::Impl::visit_later(Slot& slot) {
  if (slot.is_listed) return;
  slot.is_listed = true;
  slot.next_listed = nullptr;
  if (last_listed == nullptr) {
    first_listed = &slot;
  } else {
    last_listed->next_listed = &slot;
  }
  last_listed = &slot;
}

void BusEndpoint::Impl::forget_visit(Slot& slot) {
  if (!slot.is_listed) return;
  slot.is_listed = false;
  Slot* before = nullptr;
  for (Slot* at = first_listed; at != &slot; at = at->next_listed) before = at;
  (before == nullptr ? first_listed : before->next_listed) = slot.next_listed;
  if (last_listed == &slot) last_listed = before;
}

// ---- the interface -----------------------------------------------------------------------------

std::unique_ptr<BusEndpoint> BusEndpoint::create(BusHost& host, FrameSink& sink,
                                                 const BusOptions& options) {
  if (options.max_message_size < kMinMaxMessageSize ||
      options.max_message_size > kMaxMaxMessageSize) {
    return nullptr;
  }
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): make_unique cannot reach the constructor.
  return std::unique_ptr<BusEndpoint>(new BusEndpoint(std::make_unique<Impl>(host, sink, options)));
}

BusEndpoint::BusEndpoint(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
BusEndpoint::~BusEndpoint() = default;

BusParameters BusEndpoint::parameters() const {
  const std::uint64_t strict = std::uint64_t{1} << VIRTIO_MSG_F_STRICT_CONFIG_GENERATION;
  return {.revision = VIRTIO_MSG_REVISION_1,
          .max_message_size = impl_->options.max_message_size,
          .transport_features = impl_->options.strict_config_generation ? strict : 0};
}

Result<const DeviceEndpoint*, AttachError> BusEndpoint::attach(std::uint16_t number, Device& device,
                                                               QueueHost& queues,
                                                               const AttachOptions& options,
                                                               Instant now) {
  switch (impl_->numbers.state(number, now)) {
    case NumberState::kTaken:
      return std::unexpected(AttachError::kNumberTaken);
    case NumberState::kQuarantined:
      return std::unexpected(AttachError::kNumberQuarantined);
    case NumberState::kFree:
      break;
  }
  // The driver side must have been told that the old device is gone, and what it sent to that one
  // must be gone too.
  const bool is_announced =
      std::ranges::find(impl_->notes, number, &Note::number) == impl_->notes.end();
  if (!is_announced || impl_->waiting.has(number)) {
    return std::unexpected(AttachError::kNumberQuarantined);
  }
  const auto slot = impl_->slots.try_emplace(number, *impl_, number).first;
  auto endpoint =
      DeviceEndpoint::create(number, device, queues, slot->second,
                             {.ring_features = options.ring_features,
                              .notification_data_allowed = options.notification_data_allowed,
                              .strict_config_generation = impl_->options.strict_config_generation,
                              .max_message_size = impl_->options.max_message_size});
  if (!endpoint) {
    impl_->slots.erase(slot);
    return std::unexpected(AttachError::kBadDevice);
  }
  slot->second.endpoint = std::move(*endpoint);
  VMSG_INVARIANT(impl_->numbers.take(number, now));
  if (options.is_announced) {
    impl_->note({.number = number, .value = VIRTIO_MSG_DEVICE_ADDED, .is_eject = false});
  }
  return slot->second.endpoint.get();
}

bool BusEndpoint::detach(std::uint16_t number, Instant now) {
  if (!withdraw(number)) return false;
  removed(number, now);
  return true;
}

bool BusEndpoint::withdraw(std::uint16_t number) {
  Impl::Slot* slot = impl_->find(number);
  if (slot == nullptr) return false;
  slot->endpoint->stop();
  impl_->forget_visit(*slot);
  slot->is_withdrawn = true;
  std::erase_if(impl_->notes, [&](const Note& note) { return note.number == number; });
  return true;
}

void BusEndpoint::removed(std::uint16_t number, Instant now) {
  const auto found = impl_->slots.find(number);
  if (found == impl_->slots.end() || !found->second.is_withdrawn) return;
  impl_->slots.erase(found);
  impl_->numbers.release(number, now);
  impl_->note({.number = number, .value = VIRTIO_MSG_DEVICE_REMOVED, .is_eject = false});
  impl_->handle_waiting();
}

bool BusEndpoint::eject(std::uint16_t number, std::uint16_t seconds) {
  if (impl_->find(number) == nullptr) return false;
  impl_->note({.number = number, .value = seconds, .is_eject = true});
  return true;
}

const DeviceEndpoint* BusEndpoint::find(std::uint16_t number) const {
  const Impl::Slot* slot = impl_->find(number);
  return slot == nullptr ? nullptr : slot->endpoint.get();
}

std::size_t BusEndpoint::device_count() const { return impl_->slots.size(); }

Taken BusEndpoint::on_frame(std::span<const std::byte> delivered) {
  return impl_->on_frame(delivered);
}

bool BusEndpoint::flush() {
  static_cast<void>(impl_->flush());
  return !wants_room();
}

bool BusEndpoint::wants_room() const {
  return impl_->refused_for_room || impl_->wants_room_for_waiting || impl_->regions.has_due() ||
         !impl_->notes.empty() || impl_->first_listed != nullptr;
}

bool BusEndpoint::can_take_refused() const {
  if (impl_->refused_for_place) return impl_->waiting.has_place();
  return impl_->refused_for_room && impl_->sink.has_room(impl_->options.max_message_size);
}

void BusEndpoint::released(std::uint16_t number) {
  Impl::Slot* slot = impl_->find(number);
  if (slot == nullptr) return;
  slot->endpoint->released();
  impl_->handle_waiting();
}

void BusEndpoint::answer_pending_reset(std::uint16_t number) {
  Impl::Slot* slot = impl_->find(number);
  if (slot == nullptr) return;
  slot->endpoint->answer_pending_reset();
  impl_->handle_waiting();
}

void BusEndpoint::config_changed(std::uint16_t number) {
  if (Impl::Slot* slot = impl_->find(number)) slot->endpoint->config_changed();
}

void BusEndpoint::needs_reset(std::uint16_t number) {
  if (Impl::Slot* slot = impl_->find(number)) slot->endpoint->needs_reset();
}

void BusEndpoint::used(std::uint16_t number, std::uint32_t queue) {
  if (Impl::Slot* slot = impl_->find(number)) slot->endpoint->used(queue);
}

void BusEndpoint::region_shared(std::uint32_t region, RegionAnswer answer) {
  impl_->regions.shared(region, answer);
  static_cast<void>(impl_->send_region_replies());
}

void BusEndpoint::region_unshared(std::uint32_t region) {
  impl_->regions.unshared(region);
  static_cast<void>(impl_->send_region_replies());
}

const BusCounters& BusEndpoint::counters() const { return impl_->counters; }

}  // namespace vmsg
