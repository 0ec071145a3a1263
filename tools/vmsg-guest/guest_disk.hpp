// A virtio disk as vmsg-guest uses it: one queue with a fixed number of requests that may be on
// their way, each with pages of its own that the device side may copy from and to.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
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
};

/// What the device said about itself.
Result<DiskInfo, Failure> read_disk_info(GuestDevice& device);

/// All the feature bits of the type that this tool can use.
FeatureSet disk_features();

class GuestDisk {
 public:
  /// Shares memory for `depth` requests of at most `bytes` each.
  static Result<std::unique_ptr<GuestDisk>, Failure> create(GuestDevice& device, GuestQueue& queue,
                                                            std::uint32_t depth,
                                                            std::uint32_t bytes);

  /// The data of a request: filled before a write, filled by a read.
  [[nodiscard]] SharedBytes data(std::uint32_t request) {
    return memory_.data.bytes().sub(std::size_t{request} * pages_ * kGrantPageSize, bytes_);
  }

  /// Queues a request whose number is free. The device sees it at publish().
  Result<void, Failure> read(std::uint32_t request, std::uint64_t sector, std::uint32_t bytes);
  Result<void, Failure> write(std::uint32_t request, std::uint64_t sector, std::uint32_t bytes);
  Result<void, Failure> flush(std::uint32_t request);
  Result<void, Failure> get_id(std::uint32_t request);

  void publish() { device_.publish(queue_); }

  struct Done {
    std::uint32_t request = 0;
    std::uint32_t written = 0;
    std::uint8_t status = 0;
  };
  /// Waits for the next one.
  Result<Done, Failure> wait();

  [[nodiscard]] std::uint32_t depth() const { return depth_; }
  [[nodiscard]] std::uint32_t max_bytes() const { return bytes_; }

 private:
  struct Memory {
    GuestBuffers headers;
    GuestBuffers statuses;
    GuestBuffers data;
  };

  GuestDisk(GuestDevice& device, GuestQueue& queue, std::uint32_t depth, std::uint32_t bytes,
            Memory memory);

  Result<void, Failure> add(std::uint32_t request, std::uint32_t type, std::uint64_t sector,
                            std::uint32_t bytes, bool is_write);

  GuestDevice& device_;
  GuestQueue& queue_;
  const std::uint32_t depth_;
  const std::uint32_t bytes_;
  const std::uint32_t pages_;  // of data, a request
  Memory memory_;
  std::vector<Segment> readable_;
  std::vector<Segment> writable_;
};

}  // namespace vmsg::guest
