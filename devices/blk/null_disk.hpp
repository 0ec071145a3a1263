// A disk that is all zeros and forgets what is written, at once: for measuring what everything else
// costs.
#pragma once

#include "devices/blk/disk.hpp"

namespace vmsg::blk {

class NullDisk final : public Disk {
 public:
  explicit NullDisk(std::uint64_t size);

  const DiskTraits& traits() const override { return traits_; }
  std::uint64_t size() const override { return size_; }
  std::unique_ptr<DiskQueue> open_queue(const DiskQueueContext& context) override;

 private:
  const std::uint64_t size_;
  DiskTraits traits_;
};

}  // namespace vmsg::blk
