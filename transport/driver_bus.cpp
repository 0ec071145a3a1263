#include "transport/driver_bus.hpp"

#include <algorithm>
#include <utility>
#include <vector>

namespace vmsg {
namespace {

constexpr std::uint64_t kStrictBit = std::uint64_t{1} << VIRTIO_MSG_F_STRICT_CONFIG_GENERATION;

/// Hands on the value of a bus response of the right kind. `check(response)` compares its echo.
template <typename Response, typename Value, typename Check, typename Get>
DriverRequests::Done completing(DriverBus::Done<Value> done, Check check, Get get) {
  return [done = std::move(done), check, get](const Result<Frame, RequestFailure>& answer) {
    if (!answer) return done(std::unexpected(answer.error()));
    const auto message = receive_at_driver_bus(*answer);
    const auto* const response = message ? std::get_if<Response>(&*message) : nullptr;
    if (response == nullptr || !check(*response)) {
      return done(std::unexpected(RequestFailure::kBadResponse));
    }
    if constexpr (std::is_void_v<Value>) {
      get(*response);
      done({});
    } else {
      done(get(*response));
    }
  };
}

constexpr auto kNothing = [](const auto&) {};
constexpr auto kStatus = [](const auto& response) { return response.status; };

}  // namespace

Result<std::unique_ptr<DriverBus>, BadBus> DriverBus::create(FrameSink& sink,
                                                             DriverBusListener& listener,
                                                             const DriverBusOptions& options) {
  if (options.revision != VIRTIO_MSG_REVISION_1) return std::unexpected(BadBus::kRevision);
  if (options.max_message_size < kMinMaxMessageSize ||
      options.max_message_size > kMaxMaxMessageSize) {
    return std::unexpected(BadBus::kMaxMessageSize);
  }
  if ((options.transport_features & ~kStrictBit) != 0) {
    return std::unexpected(BadBus::kTransportFeatures);
  }
  return std::unique_ptr<DriverBus>(new DriverBus(sink, listener, options));
}

DriverBus::DriverBus(FrameSink& sink, DriverBusListener& listener, const DriverBusOptions& options)
    : sink_(sink),
      listener_(listener),
      options_(options),
      requests_(sink, options.max_message_size, options.limits) {}

bool DriverBus::is_strict() const { return (options_.transport_features & kStrictBit) != 0; }

// ---- frames ------------------------------------------------------------------------------------

void DriverBus::on_frame(std::span<const std::byte> delivered, Instant now) {
  now_ = now;
  ++counters_.frames;
  const auto frame = parse_frame(delivered, options_.max_message_size);
  if (!frame) {
    ++counters_.dropped;
    if (frame.error().error != WireError::kTooLarge) return;
    // Dropped all the same, but whoever waits for it need not wait any longer.
    const auto header = parse_frame(delivered, kMaxMaxMessageSize);
    if (header && header->header.is_response() && requests_.on_bad_response(header->header, now)) {
      ++counters_.bad_responses;
    }
    return;
  }
  if (frame->header.is_response()) return on_response(*frame, now);
  if (frame->header.is_bus()) return on_bus_frame(*frame, now);
  on_device_frame(*frame, now);
}

void DriverBus::on_response(const Frame& frame, Instant now) {
  ++counters_.responses;
  if (requests_.on_response(frame, now)) return;
  ++counters_.late_responses;
  ++counters_.dropped;
}

void DriverBus::on_bus_frame(const Frame& frame, Instant now) {
  const auto message = receive_at_driver_bus(frame);
  if (!message) {
    ++counters_.dropped;
  } else if (const auto* const ping = std::get_if<PingRequest>(&*message)) {
    answer(*ping, frame.header.token);
  } else if (const auto* const event = std::get_if<EventDevice>(&*message)) {
    on_announcement(*event, now);
  } else if (const auto* const eject = std::get_if<Eject>(&*message)) {
    if (present_.test(eject->dev_num)) listener_.eject_requested(eject->dev_num, eject->seconds);
  }
}

void DriverBus::on_device_frame(const Frame& frame, Instant now) {
  const std::uint16_t number = frame.header.dev_num;
  const auto client = clients_.find(number);
  const auto message = receive_at_driver(frame, number);
  if (!message || client == clients_.end()) {
    ++counters_.dropped;
    return;
  }
  ++counters_.events;
  client->second->on_event(*message, now);
}

void DriverBus::answer(const PingRequest& request, std::uint16_t token) {
  if (owed_count_ == kOwedPings) {
    ++counters_.pings_dropped;
    return;
  }
  owed_pings_[owed_count_++] = {.token = token, .data = request.data};
  if (!send_owed_pings()) wants_room_ = true;
}

bool DriverBus::send_owed_pings() {
  std::array<std::byte, 12> buffer;
  std::size_t sent = 0;
  while (sent < owed_count_ && sink_.has_room(buffer.size())) {
    const OwedPing& owed = owed_pings_[sent];
    const auto frame = encode(buffer, {.token = owed.token}, PingResponse{.data = owed.data});
    sink_.send(*frame);
    ++sent;
  }
  counters_.pings_answered += sent;
  std::copy(owed_pings_.begin() + static_cast<std::ptrdiff_t>(sent),
            owed_pings_.begin() + static_cast<std::ptrdiff_t>(owed_count_), owed_pings_.begin());
  owed_count_ -= sent;
  return owed_count_ == 0;
}

bool DriverBus::send_event(std::uint16_t number, const EventAvail& event) {
  std::array<std::byte, 16> buffer;
  if (!present_.test(number)) return true;  // nothing is sent to a device that is gone
  if (!sink_.has_room(buffer.size())) {
    wants_room_ = true;
    return false;
  }
  sink_.send(*encode(buffer, {.dev_num = number}, event));
  return true;
}

bool DriverBus::flush(Instant now) {
  now_ = now;
  bool is_done = send_owed_pings() && requests_.flush();
  for (const auto& [number, client] : clients_) is_done = client->flush() && is_done;
  wants_room_ = !is_done;
  return is_done;
}

void DriverBus::tick(Instant now) {
  now_ = now;
  requests_.expire(now);
  // By number: a client's callbacks may let others come and go.
  std::vector<std::uint16_t> numbers;
  numbers.reserve(clients_.size());
  for (const auto& [number, client] : clients_) numbers.push_back(number);
  for (const std::uint16_t number : numbers) {
    const auto client = clients_.find(number);
    if (client != clients_.end()) client->second->on_tick(now);
  }
}

std::optional<Instant> DriverBus::next_deadline() const {
  std::optional<Instant> next = requests_.next_deadline();
  for (const auto& [number, client] : clients_) {
    const auto deadline = client->next_deadline();
    if (deadline && (!next || *deadline < *next)) next = deadline;
  }
  return next;
}

// ---- which devices there are -------------------------------------------------------------------

void DriverBus::discover(Instant now) {
  now_ = now;
  if (enumeration_) {
    look_again_ = true;
    return;
  }
  enumeration_.emplace(options_.max_message_size);
  touched_.reset();
  ask_for_devices(now);
}

void DriverBus::ask_for_devices(Instant now) {
  const auto begun = begin_any(
      0, enumeration_->request(), now,
      [this](const Result<Frame, RequestFailure>& response) { on_devices(response, now_); });
  if (!begun) end_enumeration(std::unexpected(EnumerationError::kNoAnswer), now);
}

void DriverBus::on_devices(const Result<Frame, RequestFailure>& response, Instant now) {
  if (!response) return end_enumeration(std::unexpected(EnumerationError::kNoAnswer), now);
  const auto is_complete = enumeration_->on_response(*response);
  if (!is_complete) return end_enumeration(std::unexpected(is_complete.error()), now);
  if (!*is_complete) return ask_for_devices(now);
  apply(enumeration_->found(), now);
  end_enumeration({}, now);
}

void DriverBus::end_enumeration(const Result<void, EnumerationError>& result, Instant now) {
  enumeration_.reset();
  const bool again = std::exchange(look_again_, false);
  listener_.enumerated(result);
  // After a failure the next announcement, or the owner of this bus, tries again.
  if (again && result) discover(now);
}

void DriverBus::apply(const DeviceNumberSet& found, Instant now) {
  // A copy: callbacks may change what is present, and announcements what is touched.
  const DeviceNumberSet differing = (found ^ present_) & ~touched_;
  for (std::size_t i = 0; i < kDeviceNumberCount && differing.any(); ++i) {
    if (!differing.test(i)) continue;
    const auto number = static_cast<std::uint16_t>(i);
    if (found.test(i)) {
      appear(number);
    } else {
      disappear(number, RequestFailure::kDeviceGone, now);
    }
  }
}

/// Announcements may be repeated and come in any order, so they are not replayed: REMOVED ends what
/// we have under that number, whatever comes next; and either makes us look at what is there.
void DriverBus::on_announcement(const EventDevice& event, Instant now) {
  if (event.state != VIRTIO_MSG_DEVICE_ADDED && event.state != VIRTIO_MSG_DEVICE_REMOVED) {
    ++counters_.dropped;
    return;
  }
  ++counters_.device_events;
  if (event.state == VIRTIO_MSG_DEVICE_REMOVED) {
    touched_.set(event.dev_num);
    if (present_.test(event.dev_num)) {
      disappear(event.dev_num, RequestFailure::kDeviceGone, now);
    }
  }
  discover(now);
}

void DriverBus::appear(std::uint16_t number) {
  present_.set(number);
  listener_.device_appeared(number);
}

void DriverBus::disappear(std::uint16_t number, RequestFailure why, Instant now) {
  present_.reset(number);
  const auto client = clients_.find(number);
  if (client != clients_.end()) {
    DriverBusClient& told = *client->second;
    clients_.erase(client);
    requests_.fail_device(number, why, now);
    told.on_gone(why);
  } else {
    requests_.fail_device(number, why, now);
  }
  listener_.device_gone(number);
}

void DriverBus::lose_link(Instant now) {
  now_ = now;
  owed_count_ = 0;
  look_again_ = false;
  for (std::size_t i = 0; i < kDeviceNumberCount && present_.any(); ++i) {
    if (present_.test(i)) disappear(static_cast<std::uint16_t>(i), RequestFailure::kLinkLost, now);
  }
  requests_.fail_all(RequestFailure::kLinkLost, now);
  wants_room_ = requests_.is_waiting_for_room();
}

void DriverBus::register_client(std::uint16_t number, DriverBusClient& client) {
  VMSG_INVARIANT(!clients_.contains(number));
  clients_.emplace(number, &client);
}

void DriverBus::unregister_client(std::uint16_t number) {
  if (clients_.erase(number) != 0) requests_.forget_device(number, now_);
}

// ---- the bus's own requests --------------------------------------------------------------------

Result<void, RequestFailure> DriverBus::ping(std::uint32_t data, Instant now, Done<void> done) {
  now_ = now;
  const auto is_ours = [data](const PingResponse& response) { return response.data == data; };
  return begin_any(0, PingRequest{.data = data}, now,
                   completing<PingResponse, void>(std::move(done), is_ours, kNothing));
}

Result<void, RequestFailure> DriverBus::queue_event_channel(std::uint16_t dev_num,
                                                            std::uint32_t vq_index,
                                                            std::uint32_t port, Instant now,
                                                            Done<std::uint16_t> done) {
  now_ = now;
  if (!present_.test(dev_num)) return std::unexpected(RequestFailure::kDeviceGone);
  const auto is_ours = [dev_num, vq_index](const QueueEventChannelResponse& response) {
    return response.dev_num == dev_num && response.vq_index == vq_index;
  };
  return begin_any(
      0, QueueEventChannelRequest{.dev_num = dev_num, .vq_index = vq_index, .port = port}, now,
      completing<QueueEventChannelResponse, std::uint16_t>(std::move(done), is_ours, kStatus));
}

Result<void, RequestFailure> DriverBus::share_region(std::uint32_t region, std::uint32_t pages,
                                                     std::uint64_t address, Instant now,
                                                     Done<std::uint32_t> done) {
  now_ = now;
  const auto is_ours = [region](const ShareRegionResponse& response) {
    return response.region == region;
  };
  return begin_any(
      0, ShareRegionRequest{.region = region, .pages = pages, .address = address}, now,
      completing<ShareRegionResponse, std::uint32_t>(std::move(done), is_ours, kStatus));
}

Result<void, RequestFailure> DriverBus::unshare_region(std::uint32_t region, Instant now,
                                                       Done<std::uint32_t> done) {
  now_ = now;
  const auto is_ours = [region](const UnshareRegionResponse& response) {
    return response.region == region;
  };
  return begin_any(
      0, UnshareRegionRequest{.region = region}, now,
      completing<UnshareRegionResponse, std::uint32_t>(std::move(done), is_ours, kStatus));
}

Result<void, RequestFailure> DriverBus::ejected(std::uint16_t dev_num, std::uint16_t status,
                                                Instant now, Done<void> done) {
  now_ = now;
  if (!present_.test(dev_num)) return std::unexpected(RequestFailure::kDeviceGone);
  const auto is_ours = [dev_num](const EjectedResponse& response) {
    return response.dev_num == dev_num;
  };
  return begin_any(0, EjectedRequest{.dev_num = dev_num, .status = status}, now,
                   completing<EjectedResponse, void>(std::move(done), is_ours, kNothing));
}

}  // namespace vmsg
