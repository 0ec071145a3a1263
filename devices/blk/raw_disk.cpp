#include "devices/blk/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <limits>
#include <utility>
#include <vector>

#include "devices/blk/data_pool.hpp"

namespace vmsg::blk {
namespace {

std::string words(int error) {
  std::array<char, 128> buffer{};
  return strerror_r(error, buffer.data(), buffer.size());
}

class RawDiskQueue final : public DiskQueue {
 public:
  RawDiskQueue(int fd, const DiskQueueContext& context)
      : fd_(fd), io_(context.io), owner_(context.owner) {
    for (std::uint32_t slot = 0; slot < context.slots; ++slot) works_.emplace_back(*this, slot);
    stalled_.reserve(context.slots);
  }

  bool submit(std::uint32_t slot, const DiskIo& io) override {
    Work& work = works_[slot];
    work.io = io;
    work.is_syncing = false;
    return prepare(work);
  }

  void carry_on() override {
    std::size_t started = 0;
    while (started < stalled_.size() && prepare(works_[stalled_[started]])) ++started;
    stalled_.erase(stalled_.begin(), stalled_.begin() + static_cast<std::ptrdiff_t>(started));
    if (!stalled_.empty()) owner_.wants_turn();
  }

 private:
  struct Work final : IoCompletion {
    Work(RawDiskQueue& owner, std::uint32_t number) : queue(owner), slot(number) {}
    void on_complete(std::int32_t result, bool) override { queue.completed(*this, result); }

    RawDiskQueue& queue;
    std::uint32_t slot;
    DiskIo io;  // what is left of it
    bool is_syncing = false;
  };

  bool prepare(Work& work) {
    io_uring_sqe* const entry = io_.prepare(work);
    if (entry == nullptr) return false;
    const DiskIo& io = work.io;
    if (work.is_syncing) {
      io_uring_prep_fsync(entry, fd_, IORING_FSYNC_DATASYNC);
      return true;
    }
    switch (io.operation) {
      case Operation::kRead:
        io_uring_prep_read(entry, fd_, io.data.data(), static_cast<unsigned>(io.data.size()),
                           io.offset);
        break;
      case Operation::kWrite:
        io_uring_prep_write(entry, fd_, io.data.data(), static_cast<unsigned>(io.data.size()),
                            io.offset);
        if (io.is_durable) entry->rw_flags = RWF_DSYNC;
        break;
      case Operation::kDiscard:
        prepare_fallocate(entry, io, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
        break;
      case Operation::kWriteZeroes:
        prepare_fallocate(
            entry, io,
            (io.may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE) | FALLOC_FL_KEEP_SIZE);
        break;
      case Operation::kFlush:
      case Operation::kSecureErase:
      case Operation::kGetId:
      case Operation::kUnknown:
        io_uring_prep_fsync(entry, fd_, IORING_FSYNC_DATASYNC);
        break;
    }
    return true;
  }

  void prepare_fallocate(io_uring_sqe* entry, const DiskIo& io, int mode) const {
    io_uring_prep_fallocate(entry, fd_, mode, static_cast<off_t>(io.offset),
                            static_cast<off_t>(io.length));
  }

  void completed(Work& work, std::int32_t result) {
    if (result == -EINTR || result == -EAGAIN) return again(work);
    if (result < 0) return owner_.finished(work.slot, -result);
    DiskIo& io = work.io;
    if (work.is_syncing) return owner_.finished(work.slot, 0);
    if (io.operation == Operation::kRead || io.operation == Operation::kWrite) {
      const auto moved = static_cast<std::size_t>(result);
      if (moved == io.data.size()) return owner_.finished(work.slot, 0);
      // Nothing at all: the file ends here although it should not.
      if (moved == 0 || moved > io.data.size()) return owner_.finished(work.slot, EIO);
      // The rest must be as aligned as the whole was; what was done of a block is done again.
      const std::size_t step = moved & ~(DataPool::kPageSize - 1);
      if (step == 0) return owner_.finished(work.slot, EIO);
      io.data = io.data.subspan(step);
      io.offset += step;
      return again(work);
    }
    // fallocate() knows no way to be durable by itself.
    if (io.is_durable && io.operation != Operation::kFlush) {
      work.is_syncing = true;
      return again(work);
    }
    owner_.finished(work.slot, 0);
  }

  void again(Work& work) {
    if (stalled_.empty() && prepare(work)) return;
    stalled_.push_back(work.slot);
    owner_.wants_turn();
  }

  const int fd_;
  IoRing& io_;
  DiskQueueOwner& owner_;
  std::deque<Work> works_;              // by slot; a deque, for they do not move
  std::vector<std::uint32_t> stalled_;  // found no room in the ring, oldest first
};

}  // namespace

Result<std::unique_ptr<Disk>, std::string> RawDisk::open(const RawDiskOptions& options) {
  const int flags =
      (options.is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (options.is_direct ? O_DIRECT : 0);
  const int fd = ::open(options.path.c_str(), flags);
  if (fd < 0) {
    const int error = errno;
    if (error == EINVAL && options.is_direct) {
      return std::unexpected(fmt::format(
          "target='{}': its filesystem has no direct I/O; direct=off is allowed", options.path));
    }
    return std::unexpected(fmt::format("target='{}': {}", options.path, words(error)));
  }
  std::unique_ptr<RawDisk> disk(new RawDisk(fd, options.path));
  if (auto known = disk->inspect(options); !known) {
    return std::unexpected(fmt::format("target='{}': {}", options.path, known.error()));
  }
  return disk;
}

RawDisk::~RawDisk() { close(fd_); }

Result<void, std::string> RawDisk::inspect(const RawDiskOptions& options) {
  struct stat status{};
  if (fstat(fd_, &status) != 0) return std::unexpected(words(errno));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return std::unexpected(std::string("a block device or a regular file is expected"));
  }
  is_block_device_ = S_ISBLK(status.st_mode);
  // Two guests that write to one image destroy it. Ends with the descriptor.
  const int lock = options.is_read_only ? LOCK_SH : LOCK_EX;
  if (!options.is_shared && flock(fd_, lock | LOCK_NB) != 0) {
    return std::unexpected(
        std::string("in use by somebody else; shared=on allows that, and destroys most "
                    "filesystems when two write"));
  }
  traits_.is_read_only = options.is_read_only;
  if (is_block_device_) {
    int logical = 0;
    unsigned physical = 0;
    unsigned optimal = 0;
    if (ioctl(fd_, BLKSSZGET, &logical) != 0 || ioctl(fd_, BLKPBSZGET, &physical) != 0 ||
        ioctl(fd_, BLKIOOPT, &optimal) != 0) {
      return std::unexpected(words(errno));
    }
    traits_.logical_block = static_cast<std::uint32_t>(logical);
    traits_.physical_block = physical;
    traits_.optimal_io = optimal;
  }
  if (options.may_discard && !options.is_read_only) {
    traits_.discard.max_bytes = std::numeric_limits<std::uint32_t>::max();
    traits_.discard.alignment = traits_.logical_block;
    traits_.write_zeroes = traits_.discard;
  }
  return refresh();
}

Result<void, std::string> RawDisk::refresh() {
  std::uint64_t bytes = 0;
  if (is_block_device_) {
    if (ioctl(fd_, BLKGETSIZE64, &bytes) != 0) return std::unexpected(words(errno));
  } else {
    struct stat status{};
    if (fstat(fd_, &status) != 0) return std::unexpected(words(errno));
    bytes = static_cast<std::uint64_t>(status.st_size);
  }
  traits_.size = bytes - bytes % traits_.logical_block;
  return {};
}

std::unique_ptr<DiskQueue> RawDisk::open_queue(const DiskQueueContext& context) {
  return std::make_unique<RawDiskQueue>(fd_, context);
}

}  // namespace vmsg::blk
