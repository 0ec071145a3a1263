// The sequences of DriverDevice that concern the device as a whole: coming up, status, reset, and
// the configuration space.
#include <algorithm>

#include "transport/driver_device.hpp"
#include "transport/driver_device_await.hpp"

namespace vmsg {
namespace {

/// What a driver never selects here: SR_IOV and NOTIF_CONFIG_DATA have no meaning on this
/// transport.
constexpr RingFeature kNever[] = {RingFeature::kSrIov, RingFeature::kNotifConfigData};
/// What every device of this bus offers, and refuses to do without.
constexpr RingFeature kAlways[] = {RingFeature::kVersion1, RingFeature::kAccessPlatform};

}  // namespace

// ---- coming up ---------------------------------------------------------------------------------

DriverDevice::Task<void> DriverDevice::bring_up() {
  const bool may_start = state_ == DriverState::kNew || state_ == DriverState::kStopped ||
                         (state_ == DriverState::kFailed && !is_unusable_);
  if (!may_start) co_return std::unexpected(DriverFailure::kNotNow);
  if (info_.device_id == 0) {
    const auto known = co_await read_info();
    if (!known) {
      // Nothing but GET_DEVICE_INFO may be sent before a reset, FAILED neither.
      state_ = DriverState::kFailed;
      listener_.failed(known.error());
      co_return known;
    }
  }
  recoveries_ = 0;
  const auto up = co_await reset_and_bring_up();
  co_return up;
}

DriverDevice::Task<void> DriverDevice::reset_and_bring_up() {
  auto result = co_await reset();
  if (result) result = co_await negotiate();
  if (!result) {
    // Then it is tried again, from the reset on: recover().
    if (needs_recovery_) co_return result;
    const auto failed = co_await set_failed(result.error());
    co_return failed;
  }
  state_ = DriverState::kSetup;
  listener_.ready_for_setup();
  co_return DriverResult<void>();
}

bool DriverDevice::is_sensible(const GetDeviceInfoResponse& info) const {
  const std::uint64_t admin_end = std::uint64_t{info.admin_vq_start} + info.admin_vq_count;
  return info.device_id != 0 && info.max_virtqueues <= VIRTIO_MSG_MAX_VQUEUES &&
         admin_end <= info.max_virtqueues;
}

DriverDevice::Task<void> DriverDevice::read_info() {
  const auto info = co_await ask<GetDeviceInfoResponse>(GetDeviceInfoRequest{});
  if (!info) co_return std::unexpected(info.error());
  if (!is_sensible(*info)) co_return std::unexpected(DriverFailure::kBadDevice);
  info_ = *info;
  co_return DriverResult<void>();
}

DriverDevice::Task<void> DriverDevice::negotiate() {
  auto result = co_await add_status(kStatusAcknowledge);
  if (result) result = co_await add_status(kStatusDriver);
  if (result) result = co_await read_offered();
  if (!result) co_return result;

  selection_ = sanitized(listener_.select_features(offered_));
  for (const RingFeature feature : kAlways) {
    if (!selection_.has(feature)) co_return std::unexpected(DriverFailure::kMissingFeature);
  }
  result = co_await write_selection();
  if (!result) co_return result;

  const auto asked = co_await ask<SetDeviceStatusResponse>(
      SetDeviceStatusRequest{.status = (status_ & kStatusDriverBits) | kStatusFeaturesOk});
  static_cast<void>(asked);  // whatever became of it, this is the verdict:
  result = co_await read_status();
  if (result && (status_ & kStatusFeaturesOk) == 0) {
    co_return std::unexpected(DriverFailure::kFeaturesRefused);
  }
  co_return result;
}

FeatureSet DriverDevice::sanitized(const FeatureSet& wanted) const {
  FeatureSet selection = wanted;
  for (const RingFeature feature : kAlways) selection.set(feature);
  for (const RingFeature feature : kNever) selection.clear(feature);
  if (!options_.notification_data_allowed) selection.clear(RingFeature::kNotificationData);
  return selection & offered_;
}

DriverDevice::Task<void> DriverDevice::read_offered() {
  offered_ = FeatureSet();
  // What lies beyond is nothing that we understand.
  const auto blocks =
      std::min(info_.num_feature_blocks, static_cast<std::uint32_t>(kFeatureBlocks));
  const std::uint32_t at_once = max_feature_words(bus_.max_message_size());
  for (std::uint32_t block = 0; block < blocks;) {
    const std::uint32_t count = std::min(blocks - block, at_once);
    const auto response = co_await ask<GetDeviceFeaturesResponse>(
        GetDeviceFeaturesRequest{.block_index = block, .num_blocks = count});
    if (!response) co_return std::unexpected(response.error());
    if (response->block_index != block || response->words.size() != count) {
      co_return std::unexpected(DriverFailure::kBadResponse);
    }
    for (std::uint32_t i = 0; i < count; ++i) offered_.set_word(block + i, response->words[i]);
    block += count;
  }
  co_return DriverResult<void>();
}

DriverDevice::Task<void> DriverDevice::write_selection() {
  std::array<Le32, kFeatureBlocks> words;
  for (std::uint32_t i = 0; i < kFeatureBlocks; ++i) words[i] = selection_.word(i);
  const auto blocks =
      std::min(info_.num_feature_blocks, static_cast<std::uint32_t>(kFeatureBlocks));
  const std::uint32_t at_once = max_feature_words(bus_.max_message_size());
  for (std::uint32_t block = 0; block < blocks;) {
    const std::uint32_t count = std::min(blocks - block, at_once);
    const FeatureWords piece(std::span<const Le32>(words).subspan(block, count));
    const auto response = co_await ask<SetDriverFeaturesResponse>(
        SetDriverFeaturesRequest{.block_index = block, .words = piece});
    // The response says nothing but that it arrived; without it the selection is unknown.
    if (!response) co_return std::unexpected(response.error());
    block += count;
  }
  co_return DriverResult<void>();
}

// ---- status ------------------------------------------------------------------------------------

DriverResult<void> DriverDevice::note_status(std::uint32_t status) {
  status_ = status & (kStatusDriverBits | kStatusNeedsReset);
  if ((status_ & kStatusNeedsReset) == 0) return {};
  needs_recovery_ = true;
  return std::unexpected(DriverFailure::kNeedsReset);
}

DriverDevice::Task<void> DriverDevice::read_status() {
  const auto response = co_await ask<GetDeviceStatusResponse>(GetDeviceStatusRequest{});
  if (!response) co_return std::unexpected(response.error());
  co_return note_status(response->status);
}

/// Bits are only ever added here; the way to clear them is reset().
DriverDevice::Task<void> DriverDevice::add_status(std::uint32_t bits) {
  const std::uint32_t wanted = (status_ & kStatusDriverBits) | bits;
  const auto response =
      co_await ask<SetDeviceStatusResponse>(SetDeviceStatusRequest{.status = wanted});
  DriverResult<void> result;
  if (response) {
    result = note_status(response->status);
  } else {
    result = co_await read_status();  // not known whether it was applied: look, do not repeat
  }
  if (result && (status_ & wanted) != wanted) {
    co_return std::unexpected(DriverFailure::kStatusRefused);
  }
  co_return result;
}

DriverDevice::Task<void> DriverDevice::enter_live() {
  if (state_ != DriverState::kSetup) co_return std::unexpected(DriverFailure::kNotNow);
  const auto result = co_await add_status(kStatusDriverOk);
  if (!result) co_return result;
  state_ = DriverState::kLive;
  recoveries_ = 0;
  co_return result;
}

DriverDevice::Task<void> DriverDevice::set_failed(DriverFailure why) {
  // Not while a reset may be running: then nothing but GET_DEVICE_STATUS is sent.
  if (state_ != DriverState::kResetting && (status_ & kStatusAcknowledge) != 0) {
    const auto response = co_await ask<SetDeviceStatusResponse>(
        SetDeviceStatusRequest{.status = (status_ & kStatusDriverBits) | kStatusFailed});
    if (response) status_ = response->status & (kStatusDriverBits | kStatusNeedsReset);
  }
  state_ = DriverState::kFailed;
  needs_recovery_ = false;
  for (Queue& queue : queues_) queue.is_enabled = false;
  listener_.failed(why);
  co_return std::unexpected(why);
}

// ---- reset -------------------------------------------------------------------------------------

/// Complete only when a status of 0 has been read: until then nothing else is sent, and the queues'
/// memory is the device's.
DriverDevice::Task<void> DriverDevice::reset() {
  state_ = DriverState::kResetting;
  forget_queues();
  selection_ = FeatureSet();
  const Instant deadline = now_ + options_.reset_limit;

  const auto answer = co_await ask<SetDeviceStatusResponse>(SetDeviceStatusRequest{.status = 0});
  bool is_complete = answer && answer->status == 0;
  while (!is_complete) {
    if (now_ >= deadline) {
      is_unusable_ = true;
      co_return std::unexpected(DriverFailure::kResetTimedOut);
    }
    co_await pause_until(std::min(now_ + options_.reset_poll_interval, deadline));
    const auto polled = co_await ask<GetDeviceStatusResponse>(GetDeviceStatusRequest{});
    is_complete = polled && polled->status == 0;
  }
  status_ = 0;
  must_read_first_ = false;
  needs_recovery_ = false;
  state_ = DriverState::kStarting;
  listener_.was_reset();
  co_return DriverResult<void>();
}

DriverDevice::Task<void> DriverDevice::stop_for_good() {
  const auto result = co_await reset();
  state_ = result ? DriverState::kStopped : DriverState::kFailed;
  co_return result;
}

// ---- configuration -----------------------------------------------------------------------------

bool DriverDevice::is_inside_config(std::uint64_t offset, std::uint64_t length) const {
  return offset + length <= info_.config_size;
}

bool DriverDevice::may_set_up() const {
  return state_ == DriverState::kSetup || state_ == DriverState::kLive;
}

/// After an event, or for a bus that is polled.
DriverDevice::Task<void> DriverDevice::reread() {
  refresh_is_queued_ = false;
  if (!may_set_up()) co_return std::unexpected(DriverFailure::kNotNow);
  auto result = co_await read_status();
  if (!result) co_return result;
  if (state_ == DriverState::kLive && (status_ & kStatusDriverOk) == 0) {
    needs_recovery_ = true;  // it has lost what we had set up
    co_return std::unexpected(DriverFailure::kNeedsReset);
  }
  const auto generation = co_await read_once(0, {});
  if (!generation) co_return std::unexpected(generation.error());
  listener_.config_changed(*generation);
  co_return result;
}

DriverDevice::Task<std::uint32_t> DriverDevice::read_range(std::uint32_t offset,
                                                           std::span<std::byte> out) {
  if (!may_set_up()) co_return std::unexpected(DriverFailure::kNotNow);
  if (!is_inside_config(offset, out.size())) co_return std::unexpected(DriverFailure::kOutOfRange);
  DriverResult<std::uint32_t> result = std::unexpected(DriverFailure::kUnstable);
  for (std::uint32_t restarts = 0; restarts <= options_.max_config_restarts; ++restarts) {
    result = co_await read_once(offset, out);
    if (result || result.error() != DriverFailure::kUnstable) break;
  }
  if (result) must_read_first_ = false;
  co_return result;
}

/// kUnstable when the generation changed between two pieces.
DriverDevice::Task<std::uint32_t> DriverDevice::read_once(std::uint32_t offset,
                                                          std::span<std::byte> out) {
  const std::size_t at_once = max_config_chunk(bus_.max_message_size());
  std::optional<std::uint32_t> generation;
  std::size_t done = 0;
  do {
    const std::span<std::byte> piece = out.subspan(done, std::min(out.size() - done, at_once));
    const auto at = static_cast<std::uint32_t>(offset + done);
    const auto response = co_await ask<GetConfigResponse>(
        GetConfigRequest{.offset = at, .length = static_cast<std::uint32_t>(piece.size())});
    if (!response) co_return std::unexpected(response.error());
    if (response->offset != at) co_return std::unexpected(DriverFailure::kBadResponse);
    if (response->data.size() != piece.size()) {
      co_return std::unexpected(response->data.empty() ? DriverFailure::kRejected
                                                       : DriverFailure::kBadResponse);
    }
    generation_ = response->generation;
    knows_generation_ = true;
    if (generation && *generation != response->generation) {
      co_return std::unexpected(DriverFailure::kUnstable);
    }
    generation = response->generation;
    std::ranges::copy(response->data, piece.begin());
    done += piece.size();
  } while (done < out.size());
  co_return *generation;
}

DriverDevice::Task<void> DriverDevice::write_range(std::uint32_t offset,
                                                   std::vector<std::byte> bytes,
                                                   bool is_always_writable) {
  const bool is_allowed = may_set_up() || (is_always_writable && state_ == DriverState::kFailed &&
                                           (status_ & kStatusAcknowledge) != 0);
  if (!is_allowed) co_return std::unexpected(DriverFailure::kNotNow);
  if (!is_inside_config(offset, bytes.size())) {
    co_return std::unexpected(DriverFailure::kOutOfRange);
  }
  if (bus_.is_strict()) {
    // The peer knows better than what we were going to write; only its reader may decide again.
    if (must_read_first_) co_return std::unexpected(DriverFailure::kReadFirst);
    if (!knows_generation_) {
      const auto generation = co_await read_once(0, {});
      if (!generation) co_return std::unexpected(generation.error());
    }
  }
  const std::size_t at_once = max_config_chunk(bus_.max_message_size());
  for (std::size_t done = 0; done < bytes.size();) {
    const std::size_t size = std::min(bytes.size() - done, at_once);
    const auto result = co_await write_piece(static_cast<std::uint32_t>(offset + done),
                                             std::span(bytes).subspan(done, size));
    if (!result) co_return result;
    done += size;
  }
  co_return DriverResult<void>();
}

DriverDevice::Task<void> DriverDevice::write_piece(std::uint32_t offset,
                                                   std::span<const std::byte> bytes) {
  const std::uint32_t generation = bus_.is_strict() ? generation_ : 0;
  const auto response = co_await ask<SetConfigResponse>(
      SetConfigRequest{.generation = generation, .offset = offset, .data = bytes});
  if (!response) co_return std::unexpected(response.error());
  if (response->offset != offset) co_return std::unexpected(DriverFailure::kBadResponse);
  generation_ = response->generation;
  knows_generation_ = true;
  if (response->length == 0) {
    must_read_first_ = bus_.is_strict();
    co_return std::unexpected(DriverFailure::kRejected);
  }
  // Echoed data says nothing new and is not looked at.
  if (response->length != bytes.size()) co_return std::unexpected(DriverFailure::kBadResponse);
  co_return DriverResult<void>();
}

DriverDevice::Task<std::optional<SharedMemoryRegion>> DriverDevice::read_region(
    std::uint32_t shmid) {
  if (!may_set_up()) co_return std::unexpected(DriverFailure::kNotNow);
  const auto response = co_await ask<GetShmResponse>(GetShmRequest{.shmid = shmid});
  if (!response) co_return std::unexpected(response.error());
  if (response->shmid != shmid) co_return std::unexpected(DriverFailure::kBadResponse);
  std::optional<SharedMemoryRegion> region;
  if (response->length != 0) {
    region = SharedMemoryRegion{.length = response->length, .address = response->address};
  }
  co_return DriverResult<std::optional<SharedMemoryRegion>>(region);
}

}  // namespace vmsg
