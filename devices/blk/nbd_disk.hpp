// A disk behind an NBD server: qemu-nbd, nbdkit and others bring qcow2, VHD and remote storage.
//
// A server that goes away is connected to again, and what was not answered is asked for again. What
// a server had only in its cache when it went may be lost, and nobody but us knows that a guest
// believes it to be written: so the next flush after a loss fails, and the guest learns of it.
#pragma once

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "devices/blk/disk.hpp"
#include "devices/blk/nbd_connector.hpp"

namespace vmsg::blk {

struct NbdDiskOptions {
  std::string uri;
  bool is_read_only = false;
  bool may_discard = true;
  // How long requests wait for a server that went away, and a reset for one that does not answer.
  std::chrono::seconds patience{60};
};

/// What the queues of a disk know together. Written by workers.
class NbdCache {
 public:
  /// A write was finished that the server may keep in its cache.
  void wrote() { written_.fetch_add(1, std::memory_order_relaxed); }
  /// Before a flush is sent: what it will have covered.
  [[nodiscard]] std::uint64_t mark() const { return written_.load(std::memory_order_relaxed); }
  void flushed(std::uint64_t mark);

  /// A connection has ended. True when writes may be lost by that.
  bool lost_connection();
  /// Whether a loss is to be reported; once for each.
  [[nodiscard]] bool take_loss() {
    return is_lost_.load(std::memory_order_relaxed) && is_lost_.exchange(false);
  }

 private:
  std::atomic<std::uint64_t> written_{0};
  std::atomic<std::uint64_t> flushed_{0};
  std::atomic<bool> is_lost_{false};
};

struct NbdCounters {
  std::atomic<std::uint64_t> lost_connections{0};
  std::atomic<std::uint64_t> reconnects{0};
  std::atomic<std::uint64_t> lost_caches{0};
};

class NbdDisk final : public Disk {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Disk>, std::string> open(
      const NbdDiskOptions& options);
  NbdDisk(const NbdDiskOptions& options, NbdConnection first);

  const DiskTraits& traits() const override { return traits_; }
  std::uint64_t size() const override { return size_.load(std::memory_order_relaxed); }
  std::unique_ptr<DiskQueue> open_queue(const DiskQueueContext& context) override;
  Result<void, std::string> refresh() override;
  void report(CounterSink& sink) const override;

 private:
  void look_at(const NbdExport& exported);

  DiskTraits traits_;
  std::atomic<std::uint64_t> size_;
  const std::chrono::seconds patience_;
  NbdCache cache_;
  NbdCounters counters_;
  std::optional<NbdConnection> spare_;  // the one that was made to look at the server
  NbdConnector connector_;              // last: its thread uses the others
};

}  // namespace vmsg::blk
