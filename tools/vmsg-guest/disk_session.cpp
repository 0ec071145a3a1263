#include "tools/vmsg-guest/disk_session.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "devices/blk/blk_wire.hpp"

namespace vmsg::guest {

Result<std::unique_ptr<DiskSession>, Failure> DiskSession::open(GuestLink& link,
                                                                const CommandOptions& command,
                                                                const Options& options) {
  CommandOptions choice = command;
  choice.device.features = disk_features();
  std::unique_ptr<DiskSession> session(new DiskSession);
  auto device = find_device(link, choice, blk::wire::kDeviceId, "disk");
  if (!device) return std::unexpected(device.error());
  session->device_ = std::move(*device);
  const auto info = read_disk_info(*session->device_);
  if (!info) return std::unexpected(info.error());
  session->info_ = *info;
  const std::uint32_t count = std::min(options.queues, info->queues);
  for (std::uint32_t index = 0; index < count; ++index) {
    auto queue = session->device_->add_queue(index, options.queue_size);
    if (!queue) return std::unexpected(queue.error());
    GuestDisk::Options disk_options = options.disk;
    disk_options.seed += index;
    auto disk = GuestDisk::create(*session->device_, **queue, disk_options);
    if (!disk) return std::unexpected(disk.error());
    session->disks_.push_back(std::move(*disk));
  }
  if (auto live = session->device_->go_live(); !live) return std::unexpected(live.error());
  return session;
}

Result<void, Failure> DiskSession::wait() {
  return device_->wait_until(
      [this] {
        return std::ranges::any_of(disks_,
                                   [](const auto& disk) { return disk->prepare_to_wait(); });
      },
      "the disk to answer");
}

Result<std::uint8_t, Failure> DiskSession::ask(const DiskRequest& request) {
  const auto added = disks_[0]->add(0, request);
  if (!added) return std::unexpected(added.error());
  if (!*added) return std::unexpected("the queue takes no more requests");
  disks_[0]->publish();
  const auto done = disks_[0]->wait();
  if (!done) return std::unexpected(done.error());
  return done->status;
}

}  // namespace vmsg::guest
