#include "transport/device_endpoint.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <variant>

#include "transport/queue_setup.hpp"

namespace vmsg {
namespace {

constexpr unsigned kFirstReservedFeature = 24;  // 24 to 49 belong to the transport and the rings
constexpr unsigned kEndReservedFeature = 50;

constexpr FeatureSet kRingFeatures{28, 29, 34, 35, 36, 40};

FeatureSet offer(const Device& device, const EndpointOptions& options) {
  FeatureSet ring = kRingFeatures;
  if (options.notification_data_allowed) ring.set(RingFeature::kNotificationData);
  FeatureSet offered = device.device_features() | (options.ring_features & ring);
  offered.set(RingFeature::kVersion1);
  offered.set(RingFeature::kAccessPlatform);
  return offered;
}

bool has_foreign_features(const FeatureSet& device_features) {
  for (unsigned bit = kFirstReservedFeature; bit < kEndReservedFeature; ++bit) {
    const bool is_admin = bit == static_cast<unsigned>(RingFeature::kAdminVq);
    if (device_features.has(bit) && !is_admin) return true;
  }
  return false;
}

std::optional<BadDevice> find_fault(const Device& device, const EndpointOptions& options) {
  const DeviceIdentity& identity = device.identity();
  if (options.max_message_size < kMinMaxMessageSize ||
      options.max_message_size > kMaxMaxMessageSize) {
    return BadDevice::kMessageSize;
  }
  if (identity.device_id == 0) return BadDevice::kNoDeviceId;
  if (identity.max_virtqueues > VIRTIO_MSG_MAX_VQUEUES) return BadDevice::kTooManyQueues;
  const std::uint64_t admin_end = std::uint64_t{identity.admin_vq_start} + identity.admin_vq_count;
  if (admin_end > identity.max_virtqueues) return BadDevice::kAdminRange;
  if (identity.admin_vq_count == 0 && identity.admin_vq_start != 0) return BadDevice::kAdminRange;
  const FeatureSet features = device.device_features();
  if (features.has(RingFeature::kAdminVq) != (identity.admin_vq_count > 0)) {
    return BadDevice::kAdminFeature;
  }
  if (has_foreign_features(features)) return BadDevice::kFeatures;
  for (std::uint32_t i = 0; i < identity.max_virtqueues; ++i) {
    const std::uint32_t size = device.max_queue_size(i);
    if (size > VIRTIO_MSG_MAX_QUEUE_SIZE || (size != 0 && !std::has_single_bit(size))) {
      return BadDevice::kQueueSize;
    }
  }
  return std::nullopt;
}

}  // namespace

// ---- creation ----------------------------------------------------------------------------------

Result<std::unique_ptr<DeviceEndpoint>, BadDevice> DeviceEndpoint::create(
    std::uint16_t number, Device& device, QueueHost& queues, FrameSink& sink,
    const EndpointOptions& options) {
  if (const auto fault = find_fault(device, options)) return std::unexpected(*fault);
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): make_unique cannot reach the constructor.
  return std::unique_ptr<DeviceEndpoint>(new DeviceEndpoint(number, device, queues, sink, options));
}

DeviceEndpoint::DeviceEndpoint(std::uint16_t number, Device& device, QueueHost& queues,
                               FrameSink& sink, const EndpointOptions& options)
    : number_(number),
      device_(device),
      host_(queues),
      sink_(sink),
      identity_(device.identity()),
      offered_(offer(device, options)),
      feature_blocks_(kFeatureBlocks),
      is_strict_(options.strict_config_generation),
      queues_(identity_.max_virtqueues),
      buffer_(options.max_message_size),
      config_at_reset_(identity_.config_size) {
  while (offered_.word(feature_blocks_ - 1) == 0) --feature_blocks_;  // VERSION_1 ends it at 2
  for (std::uint32_t i = 0; i < identity_.max_virtqueues; ++i) {
    queues_[i].max_size = device.max_queue_size(i);
  }
}

// ---- what came in ------------------------------------------------------------------------------

void DeviceEndpoint::on_frame(std::span<const std::byte> delivered) {
  const auto frame = parse_frame(delivered, static_cast<std::uint32_t>(buffer_.size()));
  if (!frame) return counters_.dropped.add(drop_reason(frame.error().error));
  on_frame(*frame);
}

void DeviceEndpoint::on_frame(const Frame& frame) {
  VMSG_INVARIANT(!is_busy());
  const auto message = receive_at_device(frame, number_);
  if (!message) return counters_.dropped.add(drop_reason(message.error().error));
  if (frame.header.is_request()) ++counters_.requests;
  std::visit([&](const auto& typed) { handle(address_of(frame.header), typed); }, *message);
}

void DeviceEndpoint::handle(MessageAddress from, const GetDeviceInfoRequest& /*request*/) {
  respond(from, GetDeviceInfoResponse{.device_id = identity_.device_id,
                                      .vendor_id = identity_.vendor_id,
                                      .device_uuid = identity_.uuid,
                                      .num_feature_blocks = feature_blocks_,
                                      .config_size = identity_.config_size,
                                      .max_virtqueues = identity_.max_virtqueues,
                                      .admin_vq_start = identity_.admin_vq_start,
                                      .admin_vq_count = identity_.admin_vq_count});
}

// ---- features ----------------------------------------------------------------------------------

void DeviceEndpoint::handle(MessageAddress from, const GetDeviceFeaturesRequest& request) {
  if (request.num_blocks > max_feature_words(static_cast<std::uint32_t>(buffer_.size()))) {
    ++counters_.refused;
  }
  ++counters_.responses;
  send(encode_features(buffer_, from, request.block_index, request.num_blocks, offered_));
}

void DeviceEndpoint::handle(MessageAddress from, const SetDriverFeaturesRequest& request) {
  if (!update_selection(request)) ++counters_.refused;
  respond(from, SetDriverFeaturesResponse{});
}

bool DeviceEndpoint::update_selection(const SetDriverFeaturesRequest& request) {
  if (!has_status(kStatusAcknowledge | kStatusDriver) || has_status(kStatusFeaturesOk) ||
      is_spoiled()) {
    return false;
  }
  for (std::uint32_t i = 0; i < request.words.size(); ++i) {
    const std::uint64_t block = std::uint64_t{request.block_index} + i;
    if (block < feature_blocks_) {
      selection_.set_word(block, request.words[i]);
    } else if (request.words[i] != 0) {
      // It cannot be stored, and must not be forgotten: FEATURES_OK would then say yes to it.
      is_unsatisfiable_ = true;
    }
  }
  return true;
}

bool DeviceEndpoint::accepts_selection() const {
  return !is_unsatisfiable_ && selection_.is_subset_of(offered_) &&
         selection_.has(RingFeature::kVersion1) && selection_.has(RingFeature::kAccessPlatform) &&
         device_.accepts(selection_);
}

// ---- configuration space -----------------------------------------------------------------------

void DeviceEndpoint::handle(MessageAddress from, const GetConfigRequest& request) {
  const std::uint64_t end = std::uint64_t{request.offset} + request.length;
  GetConfigResponse response{.generation = generation_, .offset = request.offset, .data = {}};
  const auto data = config_data_in(buffer_, request.length);
  if (request.length == 0) return respond(from, response);
  if (end > identity_.config_size || data.empty()) {
    ++counters_.refused;
    return respond(from, response);
  }
  device_.read_config(request.offset, data);
  response.data = data;
  respond(from, response);
}

void DeviceEndpoint::handle(MessageAddress from, const SetConfigRequest& request) {
  const bool is_applied = write_config(request);
  if (!is_applied && !request.data.empty()) ++counters_.refused;
  const auto length = static_cast<std::uint32_t>(request.data.size());
  respond(from, SetConfigResponse{.generation = generation_,
                                  .offset = request.offset,
                                  .length = is_applied ? length : 0,
                                  .echo = {}});
}

bool DeviceEndpoint::write_config(const SetConfigRequest& request) {
  if (request.data.empty() || is_resetting_) return false;
  const auto length = static_cast<std::uint32_t>(request.data.size());
  if (std::uint64_t{request.offset} + length > identity_.config_size) return false;
  const bool is_ready = has_status(kStatusFeaturesOk) && !is_spoiled();
  if (!is_ready && !device_.is_always_writable(request.offset, length)) return false;
  if (is_strict_ && request.generation != generation_) return false;
  switch (device_.write_config(request.offset, request.data)) {
    case ConfigWrite::kRefused:
      return false;
    case ConfigWrite::kApplied:
      return true;
    case ConfigWrite::kAppliedWithSideEffects:
      ++generation_;
      return true;
  }
  return false;
}

void DeviceEndpoint::config_changed() {
  ++generation_;
  if (may_announce_config()) {
    if (wants_config_) ++counters_.config_merged;
    wants_config_ = true;
    static_cast<void>(flush());
  } else if (has_status(kStatusDriver) && !has_status(kStatusDriverOk) && !is_resetting_) {
    is_config_change_unsaid_ = true;
  }
}

// ---- status and reset --------------------------------------------------------------------------

bool DeviceEndpoint::is_spoiled() const {
  return is_resetting_ || (status_ & (kStatusNeedsReset | kStatusFailed)) != 0;
}

bool DeviceEndpoint::is_live() const { return has_status(kStatusDriverOk) && !is_spoiled(); }

bool DeviceEndpoint::may_announce_config() const {
  return has_status(kStatusDriverOk) && !has_status(kStatusFailed) && !is_resetting_;
}

void DeviceEndpoint::handle(MessageAddress from, const GetDeviceStatusRequest& /*request*/) {
  respond(from, GetDeviceStatusResponse{.status = status_});
}

void DeviceEndpoint::handle(MessageAddress from, const SetDeviceStatusRequest& request) {
  const bool was_live = is_live();
  const std::uint32_t want = request.status & kStatusDriverBits;
  const std::uint32_t has = status_ & kStatusDriverBits;

  const bool is_reset = request.status == 0;
  const bool would_clear = (has & ~want) != 0;
  if (is_resetting_ || (!is_reset && (would_clear || has_status(kStatusFailed)))) {
    ++counters_.refused;
  } else if (is_reset) {
    if (start_reset() == Release::kPending) {
      held_ = HeldAnswer{.to = from, .is_queue_reset = false, .is_ready = false};
      return;
    }
  } else {
    status_ = climb(want);
    if ((want & ~status_) != 0) ++counters_.refused;
  }
  respond(from, SetDeviceStatusResponse{.status = status_});

  // What follows from going live comes after the response.
  if (was_live || !is_live()) return;
  if (is_config_change_unsaid_) {
    is_config_change_unsaid_ = false;
    wants_config_ = true;
    static_cast<void>(flush());
  }
  host_.go_live();
}

/// The status after a write of `want` that clears nothing: each bit needs the one before it.
std::uint32_t DeviceEndpoint::climb(std::uint32_t want) {
  std::uint32_t status = status_ | (want & kStatusFailed);
  if ((status_ & kStatusNeedsReset) == 0) {
    status |= want & kStatusAcknowledge;
    if ((status & kStatusAcknowledge) != 0) status |= want & kStatusDriver;
    const bool asks = (want & ~status & kStatusFeaturesOk) != 0;
    if (asks && (status & kStatusDriver) != 0 && accepts_selection()) {
      status |= kStatusFeaturesOk;
      device_.features_negotiated(selection_);
    }
    if ((status & kStatusFeaturesOk) != 0) status |= want & kStatusDriverOk;
  }
  if ((status & kStatusFailed) != 0) {
    forget_unsent_events();
    stop_queues();
  }
  return status;
}

void DeviceEndpoint::stop() {
  forget_unsent_events();
  stop_queues();
}

void DeviceEndpoint::stop_queues() {
  if (is_stopped_) return;
  is_stopped_ = true;
  host_.stop();
}

void DeviceEndpoint::needs_reset() {
  // A reset that is running clears the condition anyway.
  if (has_status(kStatusNeedsReset) || is_resetting_) return;
  status_ |= kStatusNeedsReset;
  ++counters_.needs_reset;
  forget_unsent_events();
  stop_queues();
  if (!may_announce_config()) return;
  wants_config_ = true;
  static_cast<void>(flush());
}

Release DeviceEndpoint::start_reset() {
  if (status_ == 0) return Release::kDone;
  ++counters_.resets;
  is_resetting_ = true;
  is_config_change_unsaid_ = false;
  forget_unsent_events();
  const Release release = host_.release_all();
  if (release == Release::kDone) finish_reset();
  return release;
}

void DeviceEndpoint::finish_reset() {
  device_.read_config(0, config_at_reset_);
  device_.reset();
  // The generation goes on across a reset, and moves when the reset itself changed something.
  std::array<std::byte, 64> now{};
  bool is_changed = false;
  for (std::size_t at = 0; at < config_at_reset_.size() && !is_changed; at += now.size()) {
    const auto before = std::span<const std::byte>(config_at_reset_).subspan(at);
    const std::size_t length = std::min(now.size(), before.size());
    const auto after = std::span(now).first(length);
    device_.read_config(static_cast<std::uint32_t>(at), after);
    is_changed = !std::ranges::equal(before.first(length), after);
  }
  if (is_changed) ++generation_;
  for (Queue& queue : queues_) forget(queue);
  selection_ = {};
  is_unsatisfiable_ = false;
  is_resetting_ = false;
  is_stopped_ = false;
  status_ = 0;
}

void DeviceEndpoint::released() {
  if (is_resetting_) {
    finish_reset();
  } else if (!held_ || held_->is_ready) {
    return;
  }
  if (held_) held_->is_ready = true;
  static_cast<void>(flush());
}

void DeviceEndpoint::answer_pending_reset() {
  if (!held_ || held_->is_queue_reset) return;
  held_->is_ready = true;
  static_cast<void>(flush());
}

// ---- shared memory -----------------------------------------------------------------------------

void DeviceEndpoint::handle(MessageAddress from, const GetShmRequest& request) {
  GetShmResponse response{.shmid = request.shmid};
  const auto region = device_.find_shared_memory(request.shmid);
  if (region && region->length != 0) {
    response.length = region->length;
    response.address = region->address;
  }
  respond(from, response);
}

}  // namespace vmsg
