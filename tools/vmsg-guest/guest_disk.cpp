#include "tools/vmsg-guest/guest_disk.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "devices/blk/blk_wire.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

constexpr std::byte kNoStatus{0xff};

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
  DiskInfo info;
  info.sectors = config.capacity.get();
  if (features.has(wire::kFeatureBlockSize)) info.block = config.blk_size.get();
  if (features.has(wire::kFeatureMultiQueue)) info.queues = config.num_queues.get();
  if (features.has(wire::kFeatureSizeMax)) info.size_max = config.size_max.get();
  if (features.has(wire::kFeatureSegMax)) info.seg_max = config.seg_max.get();
  info.is_read_only = features.has(wire::kFeatureReadOnly);
  return info;
}

Result<std::unique_ptr<GuestDisk>, Failure> GuestDisk::create(GuestDevice& device,
                                                              GuestQueue& queue,
                                                              std::uint32_t depth,
                                                              std::uint32_t bytes) {
  // What the device only reads is granted for reading, as Linux does.
  auto headers = device.share_buffers(pages_for(std::uint64_t{depth} * sizeof(wire::RequestHeader)),
                                      Access::kReadOnly);
  if (!headers) return std::unexpected(headers.error());
  auto statuses = device.share_buffers(pages_for(depth), Access::kReadWrite);
  if (!statuses) return std::unexpected(statuses.error());
  auto data = device.share_buffers(depth * pages_for(bytes), Access::kReadWrite);
  if (!data) return std::unexpected(data.error());
  return std::unique_ptr<GuestDisk>(new GuestDisk(
      device, queue, depth, bytes, {std::move(*headers), std::move(*statuses), std::move(*data)}));
}

GuestDisk::GuestDisk(GuestDevice& device, GuestQueue& queue, std::uint32_t depth,
                     std::uint32_t bytes, Memory memory)
    : device_(device),
      queue_(queue),
      depth_(depth),
      bytes_(bytes),
      pages_(pages_for(bytes)),
      memory_(std::move(memory)) {}

Result<void, Failure> GuestDisk::read(std::uint32_t request, std::uint64_t sector,
                                      std::uint32_t bytes) {
  return add(request, wire::kTypeIn, sector, bytes, false);
}

Result<void, Failure> GuestDisk::write(std::uint32_t request, std::uint64_t sector,
                                       std::uint32_t bytes) {
  return add(request, wire::kTypeOut, sector, bytes, true);
}

Result<void, Failure> GuestDisk::flush(std::uint32_t request) {
  return add(request, wire::kTypeFlush, 0, 0, false);
}

Result<void, Failure> GuestDisk::get_id(std::uint32_t request) {
  return add(request, wire::kTypeGetId, 0, wire::kIdBytes, false);
}

Result<void, Failure> GuestDisk::add(std::uint32_t request, std::uint32_t type,
                                     std::uint64_t sector, std::uint32_t bytes, bool is_write) {
  const wire::RequestHeader header{.type = type, .reserved = {}, .sector = sector};
  const std::size_t header_at = std::size_t{request} * sizeof(header);
  memory_.headers.bytes().copy_in(header_at, std::as_bytes(std::span(&header, 1)));
  memory_.statuses.bytes().copy_in(request, std::span(&kNoStatus, 1));

  readable_.assign(1, Segment{*memory_.headers.address()->checked_add(header_at),
                              static_cast<std::uint32_t>(sizeof(header))});
  writable_.clear();
  // Page by page, as a driver does whose pages lie anywhere.
  std::uint64_t at = std::uint64_t{request} * pages_ * kGrantPageSize;
  for (std::uint32_t left = bytes; left > 0;) {
    const auto take = std::min<std::uint32_t>(left, kGrantPageSize);
    (is_write ? readable_ : writable_).push_back({*memory_.data.address()->checked_add(at), take});
    at += take;
    left -= take;
  }
  writable_.push_back({*memory_.statuses.address()->checked_add(request), 1});
  if (queue_.queue->add(readable_, writable_, request) != AddOutcome::kAdded) {
    return std::unexpected("the queue takes no more requests");
  }
  return {};
}

Result<GuestDisk::Done, Failure> GuestDisk::wait() {
  const auto used = device_.wait_used(queue_);
  if (!used) return std::unexpected(used.error());
  Done done{.request = static_cast<std::uint32_t>(used->cookie), .written = used->written};
  std::byte status{};
  memory_.statuses.bytes().copy_out(done.request, std::span(&status, 1));
  if (status == kNoStatus) return std::unexpected("the device wrote no status");
  done.status = static_cast<std::uint8_t>(status);
  return done;
}

}  // namespace vmsg::guest
