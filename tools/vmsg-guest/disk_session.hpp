// A disk brought up with several queues, and what the commands of `vmsg-guest blk` do with it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/guest_disk.hpp"

namespace vmsg::guest {

class DiskSession {
 public:
  struct Options {
    std::uint32_t queues = 1;
    std::uint32_t queue_size = 128;
    GuestDisk::Options disk;
  };

  /// Finds the disk, sets it up and starts it. No more queues than it has.
  static Result<std::unique_ptr<DiskSession>, Failure> open(GuestLink& link,
                                                            const CommandOptions& command,
                                                            const Options& options);

  [[nodiscard]] const DiskInfo& info() const { return info_; }
  [[nodiscard]] GuestDevice& device() { return *device_; }
  [[nodiscard]] std::size_t queues() const { return disks_.size(); }
  [[nodiscard]] GuestDisk& queue(std::size_t index) { return *disks_[index]; }

  /// Waits until some queue has something to poll.
  Result<void, Failure> wait();

  /// One request of its own on the first queue, answered.
  Result<std::uint8_t, Failure> ask(const DiskRequest& request);

  /// Resets the device, whatever is on its way.
  Result<void, Failure> stop() { return device_->stop(); }

 private:
  DiskSession() = default;

  std::unique_ptr<GuestDevice> device_;
  DiskInfo info_;
  std::vector<std::unique_ptr<GuestDisk>> disks_;  // their memory goes before the device does
};

}  // namespace vmsg::guest
