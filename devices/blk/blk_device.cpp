#include "devices/blk/blk_device.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <limits>

#include "devices/blk/nbd_disk.hpp"
#include "devices/blk/null_disk.hpp"
#include "devices/blk/raw_disk.hpp"

namespace vmsg::blk {
namespace {

constexpr std::uint32_t kVendor = 0x4d534756;  // "VGSM" as bytes

// A guest has 32768 grants unless its administrator says otherwise, and all its devices share them.
// One disk with all its queues full of the largest requests stays well below that.
constexpr std::uint32_t kGrantBudget = 18 * 1024;
// Beside its data a request takes grants for header, status and indirect table.
constexpr std::uint32_t kGrantsBesideData = 3;
constexpr std::uint32_t kMostSegments = 128;
constexpr std::uint32_t kLeastSegments = 4;
// A segment of at most a page is one grant, or two when it does not begin at a page border.
constexpr std::uint32_t kSizeMax = 4096;

// Ranges of one discard, write zeroes or secure erase request.
constexpr std::uint32_t kMaxRanges = 16;

std::uint32_t queues_of(const BlkOptions& options, const Disk& disk) {
  return disk.traits().may_use_several_queues ? options.queues : 1;
}

std::uint32_t seg_max_of(std::uint32_t queues, std::uint32_t queue_size) {
  const std::uint32_t grants = kGrantBudget / (queues * queue_size);
  const std::uint32_t segments = grants > kGrantsBesideData ? grants - kGrantsBesideData : 0;
  return std::clamp(segments, kLeastSegments, kMostSegments);
}

RangeRules rules_of(const RangeLimits& limits) {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint32_t>::max();
  const auto sectors =
      static_cast<std::uint32_t>(std::min(limits.max_bytes / wire::kSectorSize, kMost));
  return {.max_sectors = sectors, .max_ranges = sectors == 0 ? 0 : kMaxRanges};
}

}  // namespace

Result<std::unique_ptr<ServedDevice>, OpenError> BlkDevice::open(const BlkOptions& options) {
  std::unique_ptr<Disk> disk;
  switch (options.kind) {
    case TargetKind::kNull:
      disk = std::make_unique<NullDisk>(options.null_size);
      break;
    case TargetKind::kNbd: {
      auto opened = NbdDisk::open({.uri = options.target,
                                   .is_read_only = options.is_read_only,
                                   .may_discard = options.may_discard,
                                   .patience = options.reconnect_timeout});
      if (!opened) return std::unexpected(OpenError{opened.error()});
      disk = std::move(*opened);
      break;
    }
    case TargetKind::kRaw: {
      auto opened = RawDisk::open({.path = options.target,
                                   .is_read_only = options.is_read_only,
                                   .is_direct = options.is_direct,
                                   .may_discard = options.may_discard,
                                   .is_shared = options.is_shared,
                                   .block_size = options.block_size});
      if (!opened) return std::unexpected(opened.error());
      disk = std::move(*opened);
      break;
    }
  }
  return std::make_unique<BlkDevice>(options, std::move(disk));
}

BlkDevice::BlkDevice(const BlkOptions& options, std::unique_ptr<Disk> disk)
    : options_(options),
      disk_(std::move(disk)),
      queues_(queues_of(options, *disk_)),
      seg_max_(seg_max_of(queues_, options.queue_size)),
      throttle_(options.iops, options.bandwidth),
      counters_(queues_) {
  identity_.device_id = wire::kDeviceId;
  identity_.vendor_id = kVendor;
  identity_.config_size = sizeof(wire::Config);
  identity_.max_virtqueues = queues_;

  const DiskTraits& traits = disk_->traits();
  offered_ = {wire::kFeatureSizeMax, wire::kFeatureSegMax, wire::kFeatureBlockSize,
              wire::kFeatureTopology};
  if (queues_ > 1) offered_.set(wire::kFeatureMultiQueue);
  if (options_.is_read_only || traits.is_read_only) {
    offered_.set(wire::kFeatureReadOnly);
  } else {
    // virtio 1.3, 5.2.5.2: whoever offers CONFIG_WCE must offer FLUSH.
    if (options_.is_writeback) {
      offered_.set(wire::kFeatureFlush);
      offered_.set(wire::kFeatureConfigWce);
    }
    if (traits.discard.max_bytes != 0) offered_.set(wire::kFeatureDiscard);
    if (traits.write_zeroes.max_bytes != 0) offered_.set(wire::kFeatureWriteZeroes);
    if (traits.secure_erase.max_bytes != 0) offered_.set(wire::kFeatureSecureErase);
  }
  live_.capacity.store(disk_->size() / wire::kSectorSize, std::memory_order_relaxed);
  disk_->on_resize([this] { look_at_size(); });
}

bool BlkDevice::accepts(const FeatureSet& selection) const {
  // Without BLK_SIZE a driver may believe that single sectors can be written. Where they cannot,
  // it had better know.
  return disk_->traits().logical_block == wire::kSectorSize ||
         selection.has(wire::kFeatureBlockSize);
}

void BlkDevice::features_negotiated(const FeatureSet& selection) {
  selection_ = selection;
  // virtio 1.3, 5.2.5.2: with CONFIG_WCE but without FLUSH the device must begin as write-through.
  live_.is_writeback.store(selection.has(wire::kFeatureFlush), std::memory_order_relaxed);
}

std::uint32_t BlkDevice::max_queue_size(std::uint32_t index) const {
  return index < queues_ ? options_.queue_size : 0;
}

bool BlkDevice::has_queue(std::uint32_t index, const FeatureSet& selection) const {
  return index == 0 || (index < queues_ && selection.has(wire::kFeatureMultiQueue));
}

wire::Config BlkDevice::config() const {
  const DiskTraits& traits = disk_->traits();
  const RequestRules rules = this->rules();
  const std::uint32_t block = traits.logical_block;
  wire::Config config;
  config.capacity = live_.capacity.load(std::memory_order_relaxed);
  config.size_max = kSizeMax;
  config.seg_max = seg_max_;
  config.blk_size = block;
  config.topology.physical_block_exp =
      static_cast<std::uint8_t>(std::bit_width(std::max(traits.physical_block, block) / block) - 1);
  config.topology.min_io_size = static_cast<std::uint16_t>(
      std::min<std::uint32_t>(std::max(traits.physical_block, block) / block, 0xffff));
  config.topology.opt_io_size = traits.optimal_io / block;
  config.writeback = live_.is_writeback.load(std::memory_order_relaxed) ? 1 : 0;
  config.num_queues = static_cast<std::uint16_t>(queues_);
  config.max_discard_sectors = rules.discard.max_sectors;
  config.max_discard_seg = rules.discard.max_ranges;
  config.discard_sector_alignment = traits.discard.alignment / wire::kSectorSize;
  config.max_write_zeroes_sectors = rules.write_zeroes.max_sectors;
  config.max_write_zeroes_seg = rules.write_zeroes.max_ranges;
  config.write_zeroes_may_unmap = rules.write_zeroes.max_sectors == 0 ? 0 : 1;
  config.max_secure_erase_sectors = rules.secure_erase.max_sectors;
  config.max_secure_erase_seg = rules.secure_erase.max_ranges;
  config.secure_erase_sector_alignment = traits.secure_erase.alignment / wire::kSectorSize;
  return config;
}

RequestRules BlkDevice::rules() const {
  const DiskTraits& traits = disk_->traits();
  const auto if_offered = [this](unsigned feature, const RangeLimits& limits) {
    return offered_.has(feature) ? rules_of(limits) : RangeRules{};
  };
  return {.capacity = 0,
          .block_sectors = traits.logical_block / wire::kSectorSize,
          .is_read_only = offered_.has(wire::kFeatureReadOnly),
          .discard = if_offered(wire::kFeatureDiscard, traits.discard),
          .write_zeroes = if_offered(wire::kFeatureWriteZeroes, traits.write_zeroes),
          .secure_erase = if_offered(wire::kFeatureSecureErase, traits.secure_erase)};
}

void BlkDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  const wire::Config whole = config();
  const auto bytes = std::as_bytes(std::span(&whole, 1)).subspan(offset, out.size());
  std::ranges::copy(bytes, out.begin());
}

ConfigWrite BlkDevice::write_config(std::uint32_t offset, std::span<const std::byte> bytes) {
  constexpr std::byte kMostValue{1};
  if (offset != offsetof(wire::Config, writeback) || bytes.size() != 1 || bytes[0] > kMostValue ||
      !selection_.has(wire::kFeatureConfigWce)) {
    return ConfigWrite::kRefused;
  }
  live_.is_writeback.store(bytes[0] == kMostValue, std::memory_order_relaxed);
  return ConfigWrite::kApplied;
}

void BlkDevice::reset() {
  selection_ = {};
  live_.is_writeback.store(false, std::memory_order_relaxed);
}

Result<void, std::string> BlkDevice::refresh() { return disk_->refresh(); }

void BlkDevice::look_at_size() {
  const std::uint64_t capacity = disk_->size() / wire::kSectorSize;
  if (live_.capacity.exchange(capacity, std::memory_order_relaxed) != capacity) {
    tell_config_changed();
  }
}

void BlkDevice::report(CounterSink& sink) const {
  constexpr std::array<std::string_view, kOperations> kNames{
      "read", "write", "flush", "discard", "write_zeroes", "secure_erase", "get_id", "unknown"};
  for (const BlkCounters& queue : counters_) {
    for (std::size_t i = 0; i < kOperations; ++i) sink.operations(kNames[i], queue[i]);
  }
  disk_->report(sink);
}

std::uint32_t BlkDevice::queue_group(std::uint32_t index) const {
  // One worker for all queues, and the limit needs no lock.
  return throttle_.is_limited() ? 0 : index;
}

QueueLimits BlkDevice::queue_limits(std::uint32_t) const {
  // A driver may cut a request into more segments than seg_max asks for: header and data byte by
  // byte, if it likes. What it costs is bounded by the size of the queue.
  return {.max_chain_segments = std::max(options_.queue_size, seg_max_ + 2),
          .max_in_flight = options_.queue_size};
}

std::unique_ptr<QueueService> BlkDevice::open_queue(const QueueContext& context) {
  BlkQueueOptions options{.rules = rules(),
                          .live = live_,
                          .throttle = throttle_.is_limited() ? &throttle_ : nullptr,
                          .slots = context.setup.size,
                          .memory = options_.queue_memory};
  std::ranges::copy(std::as_bytes(std::span(options_.serial)), options.serial.begin());
  return BlkQueue::create(options, *disk_, context.io, context.waker,
                          counters_[context.setup.index]);
}

}  // namespace vmsg::blk
