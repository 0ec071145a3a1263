// A block device or an image file, reached through the worker's io_uring.
//
// The promise about caches: a flush is an fdatasync, which reaches the medium through the host's
// own disk cache and the file's metadata; a durable write is a write with RWF_DSYNC.
#pragma once

#include <atomic>
#include <string>

#include "devices/blk/disk.hpp"
#include "devices/open_error.hpp"

namespace vmsg::blk {

struct RawDiskOptions {
  std::string path;
  bool is_read_only = false;
  bool is_direct = true;         // past the host's page cache (O_DIRECT)
  bool may_discard = true;       // of what the target can do
  bool is_shared = false;        // others may have it open for writing too
  std::uint32_t block_size = 0;  // of a file; 0 for the least that works
};

class RawDisk final : public Disk {
 public:
  [[nodiscard]] static Result<std::unique_ptr<Disk>, OpenError> open(const RawDiskOptions& options);
  ~RawDisk() override;

  const DiskTraits& traits() const override { return traits_; }
  std::unique_ptr<DiskQueue> open_queue(const DiskQueueContext& context) override;
  std::uint64_t size() const override { return size_.load(std::memory_order_relaxed); }
  Result<void, std::string> refresh() override;

 private:
  RawDisk(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}

  Result<void, std::string> inspect(const RawDiskOptions& options);
  Result<void, std::string> inspect_device();
  Result<void, std::string> inspect_file(const RawDiskOptions& options);
  void find_range_limits();
  Result<void, std::string> look_at_size();

  const int fd_;
  const std::string path_;
  bool is_block_device_ = false;
  DiskTraits traits_;
  std::atomic<std::uint64_t> size_{0};
};

}  // namespace vmsg::blk
