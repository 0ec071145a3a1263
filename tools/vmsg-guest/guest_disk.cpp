#include "tools/vmsg-guest/guest_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/blk/blk_wire.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

constexpr std::byte kNoStatus{0xff};
constexpr std::uint32_t kTableEntries = 128;
constexpr std::uint32_t kTableBytes = kTableEntries * 16;

std::uint32_t pages_for(std::uint64_t bytes) {
  return static_cast<std::uint32_t>((bytes + kGrantPageSize - 1) / kGrantPageSize);
}

}  // namespace

FeatureSet disk_features() {
  return {wire::kFeatureSizeMax,     wire::kFeatureSegMax,     wire::kFeatureReadOnly,
          wire::kFeatureBlockSize,   wire::kFeatureFlush,      wire::kFeatureTopology,
          wire::kFeatureConfigWce,   wire::kFeatureMultiQueue, wire::kFeatureDiscard,
          wire::kFeatureWriteZeroes, wire::kFeatureSecureErase};
}

Result<DiskInfo, Failure> read_disk_info(GuestDevice& device) {
  const auto bytes = device.read_config();
  if (!bytes) return std::unexpected(bytes.error());
  wire::Config config;
  std::memcpy(&config, bytes->data(), std::min(bytes->size(), sizeof(config)));
  const FeatureSet& features = device.state().selection();
  const auto with = [&](unsigned feature, std::uint32_t value) {
    return features.has(feature) ? value : 0;
  };
  return DiskInfo{
      .sectors = config.capacity.get(),
      .block = std::max(with(wire::kFeatureBlockSize, config.blk_size.get()), wire::kSectorSize),
      .queues = std::max(with(wire::kFeatureMultiQueue, config.num_queues.get()), 1U),
      .size_max = with(wire::kFeatureSizeMax, config.size_max.get()),
      .seg_max = with(wire::kFeatureSegMax, config.seg_max.get()),
      .is_read_only = features.has(wire::kFeatureReadOnly),
      .is_writeback = with(wire::kFeatureConfigWce, config.writeback) != 0,
      .max_discard = with(wire::kFeatureDiscard, config.max_discard_sectors.get()),
      .max_write_zeroes = with(wire::kFeatureWriteZeroes, config.max_write_zeroes_sectors.get()),
      .max_secure_erase = with(wire::kFeatureSecureErase, config.max_secure_erase_sectors.get()),
  };
}

Result<std::unique_ptr<GuestDisk>, Failure> GuestDisk::create(GuestDevice& device,
                                                              GuestQueue& queue,
                                                              const Options& options) {
  const std::uint32_t depth = options.depth;
  // What the device only reads is granted for reading, as Linux does.
  auto headers = device.share_buffers(pages_for(std::uint64_t{depth} * sizeof(wire::RequestHeader)),
                                      Access::kReadOnly);
  if (!headers) return std::unexpected(headers.error());
  auto statuses = device.share_buffers(pages_for(depth), Access::kReadWrite);
  if (!statuses) return std::unexpected(statuses.error());
  auto tables =
      device.share_buffers(pages_for(std::uint64_t{depth} * kTableBytes), Access::kReadOnly);
  if (!tables) return std::unexpected(tables.error());
  auto data = device.share_buffers(depth * (pages_for(options.bytes) + 1), Access::kReadWrite);
  if (!data) return std::unexpected(data.error());
  return std::unique_ptr<GuestDisk>(new GuestDisk(
      device, queue, options,
      {std::move(*headers), std::move(*statuses), std::move(*tables), std::move(*data)}));
}

GuestDisk::GuestDisk(GuestDevice& device, GuestQueue& queue, const Options& options, Memory memory)
    : device_(device),
      queue_(queue),
      options_(options),
      pages_(pages_for(options.bytes)),
      may_use_tables_(device.state().selection().has(RingFeature::kIndirectDesc)),
      memory_(std::move(memory)),
      random_(options.seed),
      status_(options.depth) {}

void GuestDisk::cut(GrantAddress address, std::uint32_t bytes, std::vector<Segment>& segments) {
  const bool is_random = options_.layout == DiskLayout::kRandom;
  constexpr std::uint32_t kPage = static_cast<std::uint32_t>(kGrantPageSize);
  std::uint32_t pieces =
      pages_for(bytes) + (is_random ? static_cast<std::uint32_t>(random_() % 6) : 0);
  std::uint32_t done = 0;
  while (done < bytes) {
    const std::uint32_t left = bytes - done;
    std::uint32_t take = std::min(left, kPage);
    // No more pieces than what the device asks for: the last ones are as large as they may be.
    if (is_random && pieces > pages_for(left))
      take = 1 + static_cast<std::uint32_t>(random_() % take);
    segments.push_back({*address.checked_add(done), take});
    done += take;
    if (pieces > 0) --pieces;
  }
}

Result<bool, Failure> GuestDisk::add(std::uint32_t number, const DiskRequest& request) {
  const bool is_random = options_.layout == DiskLayout::kRandom;
  const wire::RequestHeader header{.type = request.type, .reserved = {}, .sector = request.sector};
  const std::size_t header_at = std::size_t{number} * sizeof(header);
  memory_.headers.bytes().copy_in(header_at, std::as_bytes(std::span(&header, 1)));
  const GrantAddress data = *memory_.data.address()->checked_add(data_at(number));

  readable_.clear();
  writable_.clear();
  const GrantAddress header_address = *memory_.headers.address()->checked_add(header_at);
  if (is_random && toss()) {
    cut(header_address, sizeof(header), readable_);
  } else {
    readable_.push_back({header_address, static_cast<std::uint32_t>(sizeof(header))});
  }
  std::uint32_t writable_bytes = request.device_writes ? request.bytes : 0;
  if (!request.device_writes) cut(data, request.bytes, readable_);
  if (is_random && request.device_writes && toss()) {
    // The status right behind the data, perhaps in the same descriptor.
    status_[number] = memory_.data.bytes().sub(data_at(number) + request.bytes, 1);
    cut(data, ++writable_bytes, writable_);
  } else {
    cut(data, writable_bytes, writable_);
    status_[number] = memory_.statuses.bytes().sub(number, 1);
    writable_.push_back({*memory_.statuses.address()->checked_add(number), 1});
  }
  status_[number].copy_in(0, std::span(&kNoStatus, 1));

  const std::size_t table_at = std::size_t{number} * kTableBytes;
  const IndirectTable table{*memory_.tables.address()->checked_add(table_at),
                            memory_.tables.bytes().sub(table_at, kTableBytes)};
  const bool with_table = may_use_tables_ && (!is_random || toss());
  switch (queue_.queue->add(readable_, writable_, number, with_table ? &table : nullptr)) {
    case AddOutcome::kAdded:
      return true;
    case AddOutcome::kFull:
      return false;
    case AddOutcome::kRefused:
      break;
  }
  return std::unexpected(fmt::format("a request of {} descriptors cannot be in this queue",
                                     readable_.size() + writable_.size()));
}

Result<GuestDisk::Done, Failure> GuestDisk::finish(const UsedBuffer& used) {
  Done done{.request = static_cast<std::uint32_t>(used.cookie), .written = used.written};
  std::byte status{};
  status_[done.request].copy_out(0, std::span(&status, 1));
  if (status == kNoStatus) return std::unexpected("the device wrote no status");
  done.status = static_cast<std::uint8_t>(status);
  return done;
}

Result<std::optional<GuestDisk::Done>, Failure> GuestDisk::poll() {
  const auto used = queue_.queue->poll_used();
  if (!used) {
    return std::unexpected(fmt::format("queue {}: the device side broke it: {} ({:#x})",
                                       queue_.index, name(used.error().fault), used.error().value));
  }
  if (!*used) return std::nullopt;
  auto done = finish(**used);
  if (!done) return std::unexpected(done.error());
  return *done;
}

Result<GuestDisk::Done, Failure> GuestDisk::wait() {
  const auto used = device_.wait_used(queue_);
  if (!used) return std::unexpected(used.error());
  return finish(*used);
}

}  // namespace vmsg::guest
