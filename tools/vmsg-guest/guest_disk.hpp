// A virtio disk as vmsg-guest uses it: one queue with a fixed number of requests that may be on
// their way, each with memory of its own that the device side may copy from and to.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::guest {

struct DiskInfo {
  std::uint64_t sectors = 0;
  std::uint32_t block = 512;
  std::uint32_t queues = 1;
  std::uint32_t size_max = 0;
  std::uint32_t seg_max = 0;
  bool is_read_only = false;
  bool is_writeback = false;
  std::uint32_t max_discard = 0;  // sectors of one range; 0 when it cannot
  std::uint32_t max_write_zeroes = 0;
  std::uint32_t max_secure_erase = 0;
};

/// What the device said about itself.
Result<DiskInfo, Failure> read_disk_info(GuestDevice& device);

/// All the feature bits of the type that this tool can use.
FeatureSet disk_features();

/// How requests are cut into descriptors.
enum class DiskLayout : std::uint8_t {
  kPages,   // header, page by page, status; in a table where tables are allowed
  kRandom,  // anyhow, in a table or not
};

struct DiskRequest {
  std::uint32_t type = 0;
  std::uint64_t sector = 0;
  std::uint32_t bytes = 0;  // of data
  bool device_writes = false;
};

class GuestDisk {
 public:
  struct Options {
    std::uint32_t depth = 8;
    std::uint32_t bytes = 16 << 10;  // the most of one request
    DiskLayout layout = DiskLayout::kPages;
    std::uint32_t seed = 1;
  };

  static Result<std::unique_ptr<GuestDisk>, Failure> create(GuestDevice& device, GuestQueue& queue,
                                                            const Options& options);

  /// The data of a request: filled before a write, filled by a read.
  [[nodiscard]] SharedBytes data(std::uint32_t request) {
    return memory_.data.bytes().sub(data_at(request), options_.bytes);
  }

  /// Queues the request with this number, which is free. The device sees it at publish(). False
  /// when the queue has no room for it now.
  [[nodiscard]] Result<bool, Failure> add(std::uint32_t number, const DiskRequest& request);

  void publish() { device_.publish(queue_); }

  struct Done {
    std::uint32_t request = 0;
    std::uint32_t written = 0;
    std::uint8_t status = 0;
  };
  /// The next one, if there is one.
  [[nodiscard]] Result<std::optional<Done>, Failure> poll();
  /// Asks for a notification; true when there is something already.
  [[nodiscard]] bool prepare_to_wait() { return queue_.queue->enable_callbacks(); }
  /// Waits for the next one.
  Result<Done, Failure> wait();

  [[nodiscard]] std::uint32_t depth() const { return options_.depth; }
  [[nodiscard]] std::uint32_t max_bytes() const { return options_.bytes; }

 private:
  struct Memory {
    GuestBuffers headers;
    GuestBuffers statuses;
    GuestBuffers tables;
    GuestBuffers data;
  };

  GuestDisk(GuestDevice& device, GuestQueue& queue, const Options& options, Memory memory);

  [[nodiscard]] std::uint64_t data_at(std::uint32_t number) const {
    return std::uint64_t{number} * (pages_ + 1) * kGrantPageSize;
  }
  /// A page's worth at a time, or anyhow.
  void cut(GrantAddress address, std::uint32_t bytes, std::vector<Segment>& segments);
  [[nodiscard]] bool toss() { return (random_() & 1U) != 0; }
  Result<Done, Failure> finish(const UsedBuffer& used);

  GuestDevice& device_;
  GuestQueue& queue_;
  const Options options_;
  const std::uint32_t pages_;  // of data, a request
  const bool may_use_tables_;
  Memory memory_;
  std::minstd_rand random_;
  std::vector<SharedBytes> status_;
  std::vector<Segment> readable_;
  std::vector<Segment> writable_;
};

}  // namespace vmsg::guest
