#include "devices/blk/null_disk.hpp"

#include <algorithm>

namespace vmsg::blk {
namespace {

class NullDiskQueue final : public DiskQueue {
 public:
  explicit NullDiskQueue(DiskQueueOwner& owner) : owner_(owner) {}

  bool submit(std::uint32_t slot, const DiskIo& io) override {
    if (io.operation == Operation::kRead) std::ranges::fill(io.data, std::byte{0});
    owner_.finished(slot, 0);
    return true;
  }

 private:
  DiskQueueOwner& owner_;
};

}  // namespace

NullDisk::NullDisk(std::uint64_t size) : size_(size) {
  traits_.discard.max_bytes = size;
  traits_.write_zeroes.max_bytes = size;
}

std::unique_ptr<DiskQueue> NullDisk::open_queue(const DiskQueueContext& context) {
  return std::make_unique<NullDiskQueue>(context.owner);
}

}  // namespace vmsg::blk
