#include "devices/blk/nbd_disk.hpp"

#include <fmt/format.h>

#include <utility>

#include "devices/blk/nbd_queue.hpp"

namespace vmsg::blk {
namespace {

constexpr std::chrono::seconds kFirstAttempt{10};

}  // namespace

void NbdCache::flushed(std::uint64_t mark) {
  std::uint64_t before = flushed_.load(std::memory_order_relaxed);
  while (before < mark && !flushed_.compare_exchange_weak(before, mark)) {
  }
}

bool NbdCache::lost_connection() {
  if (written_.load() == flushed_.load()) return false;
  is_lost_.store(true);
  return true;
}

Result<std::unique_ptr<Disk>, std::string> NbdDisk::open(const NbdDiskOptions& options) {
  const std::atomic<bool> is_stopped{false};
  auto made = connect_nbd(options.uri, kFirstAttempt, is_stopped);
  if (!made) return std::unexpected(fmt::format("target='{}': {}", options.uri, made.error()));
  const NbdExport& exported = made->exported;
  if (exported.traits.is_read_only && !options.is_read_only) {
    return std::unexpected(fmt::format(
        "target='{}': the server lets nobody write; access=ro is allowed", options.uri));
  }
  if (!exported.can_flush && !options.is_read_only) {
    return std::unexpected(fmt::format(
        "target='{}': the server has no flush, so nothing written there would be safe; access=ro "
        "is allowed",
        options.uri));
  }
  return std::make_unique<NbdDisk>(options, std::move(*made));
}

NbdDisk::NbdDisk(const NbdDiskOptions& options, NbdConnection first)
    : traits_(first.exported.traits),
      size_(first.exported.size),
      patience_(options.patience),
      spare_(std::move(first)),
      connector_(options.uri, options.patience,
                 [this](const NbdExport& exported) { look_at(exported); }) {
  if (options.is_read_only) traits_.is_read_only = true;
  if (!options.may_discard || traits_.is_read_only) {
    traits_.discard = {};
    traits_.write_zeroes = {};
  }
}

std::unique_ptr<DiskQueue> NbdDisk::open_queue(const DiskQueueContext& context) {
  return std::make_unique<NbdQueue>(NbdQueue::Environment{connector_, cache_, counters_, patience_},
                                    std::exchange(spare_, std::nullopt), context);
}

Result<void, std::string> NbdDisk::refresh() {
  connector_.look();
  return {};
}

void NbdDisk::look_at(const NbdExport& exported) {
  if (size_.exchange(exported.size, std::memory_order_relaxed) != exported.size) resized();
}

void NbdDisk::report(CounterSink& sink) const {
  sink.number("nbd_lost_connections", counters_.lost_connections.load(std::memory_order_relaxed));
  sink.number("nbd_reconnects", counters_.reconnects.load(std::memory_order_relaxed));
  sink.number("nbd_lost_caches", counters_.lost_caches.load(std::memory_order_relaxed));
}

}  // namespace vmsg::blk
