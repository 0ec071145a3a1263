#include "devices/blk/raw_disk.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <string_view>
#include <utility>
#include <vector>

#include "devices/blk/blk_wire.hpp"
#include "devices/blk/data_pool.hpp"
#include "devices/blk/fixed_memory.hpp"
#include "devices/blk/raw_disk_io.hpp"
#include "devices/file_descriptor.hpp"

namespace vmsg::blk {
namespace {

std::string words(int error) {
  std::array<char, 128> buffer{};
  return strerror_r(error, buffer.data(), buffer.size());
}

constexpr std::uint32_t kMaxBlock = 65536;

/// Whether the filesystem of `file` can zero ranges without deallocating them.
bool can_zero_ranges(int file) {
  std::error_code error;
  const auto path = std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", file), error);
  if (error) return false;
  const FileDescriptor scratch(
      open(path.parent_path().c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR));
  return scratch.is_open() &&
         fallocate(scratch.get(), FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, 0, kMaxBlock) == 0;
}

/// A limit of a block device's queue, 0 when there is none to be found.
std::uint64_t read_queue_limit(int fd, std::string_view name) {
  struct stat status{};
  if (fstat(fd, &status) != 0) return 0;
  const std::string device =
      fmt::format("/sys/dev/block/{}:{}", major(status.st_rdev), minor(status.st_rdev));
  // A partition has its disk's queue.
  for (const std::string_view up : {"", "/.."}) {
    std::ifstream file(fmt::format("{}{}/queue/{}", device, up, name));
    std::uint64_t value = 0;
    if (file >> value) return value;
  }
  return 0;
}

class RawDiskQueue final : public DiskQueue {
 public:
  RawDiskQueue(int fd, const DiskQueueContext& context)
      : fd_(fd),
        io_(context.io),
        owner_(context.owner),
        fixed_(context.io.buffers(), context.memory) {
    for (std::uint32_t slot = 0; slot < context.slots; ++slot) works_.emplace_back(*this, slot);
    stalled_.reserve(context.slots);
  }

  bool submit(std::uint32_t slot, const DiskIo& io) override {
    Work& work = works_[slot];
    work.io = io;
    return prepare(work);
  }

  void carry_on() override {
    std::size_t started = 0;
    while (started < stalled_.size() && prepare(works_[stalled_[started]])) ++started;
    stalled_.erase(stalled_.begin(), stalled_.begin() + static_cast<std::ptrdiff_t>(started));
    if (!stalled_.empty()) owner_.wants_turn();
  }

  void abandon() override {
    is_abandoned_ = true;
    fixed_.release();
    for (const std::uint32_t slot : stalled_) owner_.finished(slot, ECANCELED);
    stalled_.clear();
  }

 private:
  struct Work final : IoCompletion {
    Work(RawDiskQueue& owner, std::uint32_t number) : queue(owner), slot(number) {}
    void on_complete(std::int32_t result, bool) override { queue.completed(*this, result); }

    RawDiskQueue& queue;
    std::uint32_t slot;
    DiskIo io;  // what is left of it
  };

  bool prepare(Work& work) {
    io_uring_sqe* const entry = io_.prepare(work);
    if (entry == nullptr) return false;
    const auto fixed = work.io.data.empty() ? std::nullopt : fixed_.number_for(work.io.data);
    prepare_raw_io(*entry, fd_, work.io, fixed);
    return true;
  }

  void completed(Work& work, std::int32_t result) {
    if (result == -EINTR || result == -EAGAIN) return again(work);
    if (result == -EOPNOTSUPP) {
      const Resort resort = resort_for(work.io);
      if (resort == Resort::kAgain) return again(work);
      if (resort == Resort::kDone) result = 0;
    }
    if (result < 0) return owner_.finished(work.slot, -result);
    DiskIo& io = work.io;
    if (io.operation == Operation::kRead || io.operation == Operation::kWrite) {
      const auto moved = static_cast<std::size_t>(result);
      if (moved == io.data.size()) return owner_.finished(work.slot, 0);
      // Nothing at all: the file ends here although it should not.
      if (moved == 0 || moved > io.data.size()) return owner_.finished(work.slot, EIO);
      // The rest must be as aligned as the whole was; what was done of a block is done again.
      const std::size_t step = moved / wire::kSectorSize * wire::kSectorSize;
      if (step == 0) return owner_.finished(work.slot, EIO);
      io.data = io.data.subspan(step);
      io.offset += step;
      return again(work);
    }
    // fallocate() knows no way to be durable by itself.
    if (io.is_durable && io.operation != Operation::kFlush) {
      io = {.operation = Operation::kFlush, .data = {}};
      return again(work);
    }
    owner_.finished(work.slot, 0);
  }

  void again(Work& work) {
    if (is_abandoned_) return owner_.finished(work.slot, ECANCELED);
    if (stalled_.empty() && prepare(work)) return;
    stalled_.push_back(work.slot);
    owner_.wants_turn();
  }

  const int fd_;
  IoRing& io_;
  DiskQueueOwner& owner_;
  FixedMemory fixed_;
  std::deque<Work> works_;              // by slot; a deque, for they do not move
  std::vector<std::uint32_t> stalled_;  // found no room in the ring, oldest first
  bool is_abandoned_ = false;
};

}  // namespace

Result<std::unique_ptr<Disk>, OpenError> RawDisk::open(const RawDiskOptions& options) {
  const auto wrong = [&options](std::string_view what) {
    return OpenError{.words = fmt::format("target='{}': {}", options.path, what)};
  };
  const int flags =
      (options.is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | (options.is_direct ? O_DIRECT : 0);
  const int fd = ::open(options.path.c_str(), flags);
  if (fd < 0) {
    const int error = errno;
    if (error == EINVAL && options.is_direct) {
      return std::unexpected(wrong("its filesystem has no direct I/O; direct=off is allowed"));
    }
    return std::unexpected(wrong(words(error)));
  }
  std::unique_ptr<RawDisk> disk(new RawDisk(fd, options.path));
  struct stat status{};
  if (fstat(fd, &status) != 0) return std::unexpected(wrong(words(errno)));
  if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode)) {
    return std::unexpected(wrong("a block device or a regular file is expected"));
  }
  disk->is_block_device_ = S_ISBLK(status.st_mode);
  // Two guests that write to one image destroy it. Ends with the descriptor; after a daemon was
  // killed, with the operations that it had under way.
  const int lock = options.is_read_only ? LOCK_SH : LOCK_EX;
  if (!options.is_shared && flock(fd, lock | LOCK_NB) != 0) {
    OpenError locked = wrong(
        "in use by somebody else; shared=on allows that, and destroys most filesystems when two "
        "write");
    locked.may_pass = true;
    return std::unexpected(std::move(locked));
  }
  if (auto known = disk->inspect(options); !known) return std::unexpected(wrong(known.error()));
  return disk;
}

RawDisk::~RawDisk() { close(fd_); }

Result<void, std::string> RawDisk::inspect(const RawDiskOptions& options) {
  traits_.is_read_only = options.is_read_only;
  const auto inspected = is_block_device_ ? inspect_device() : inspect_file(options);
  if (!inspected) return inspected;
  if (options.may_discard && !options.is_read_only) find_range_limits();
  return look_at_size();
}

Result<void, std::string> RawDisk::inspect_device() {
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
  return {};
}

/// Which pieces of a file can be read past the page cache: the filesystem does not say so on every
/// kernel, so it is tried.
Result<void, std::string> RawDisk::inspect_file(const RawDiskOptions& options) {
  DataPool buffer(kMaxBlock);
  if (!buffer.is_valid()) return std::unexpected(words(ENOMEM));
  const auto memory = buffer.take(kMaxBlock);
  std::uint32_t least = wire::kSectorSize;
  if (options.is_direct) {
    while (pread(fd_, memory->data(), least, 0) < 0) {
      if (errno != EINVAL) return std::unexpected(words(errno));
      least *= 2;
      if (least > kMaxBlock) return std::unexpected(std::string("direct I/O does not work"));
    }
  }
  if (options.block_size != 0 && options.block_size < least) {
    return std::unexpected(fmt::format("block-size='{}': at least {} is allowed with this file",
                                       options.block_size, least));
  }
  traits_.logical_block = std::max(least, options.block_size);
  traits_.physical_block = std::max<std::uint32_t>(traits_.logical_block, DataPool::kPageSize);
  return {};
}

/// Tries what deallocates, behind the end of a file where there is nothing to lose. A block device
/// says in sysfs what it can do.
void RawDisk::find_range_limits() {
  // Requests of this size are cut off from nothing, and none takes for ever.
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 30;
  const RangeLimits limits{.max_bytes = kMostBytes, .alignment = traits_.logical_block};
  if (is_block_device_) {
    // fallocate() zeroes block devices always; it deallocates if the device can do both at once.
    traits_.write_zeroes = limits;
    if (read_queue_limit(fd_, "write_zeroes_max_bytes") != 0 &&
        read_queue_limit(fd_, "discard_max_bytes") != 0) {
      traits_.discard = limits;
    }
    return;
  }
  struct stat status{};
  if (fstat(fd_, &status) != 0) return;
  const off_t end = (status.st_size + kMaxBlock - 1) / kMaxBlock * kMaxBlock;
  // A hole where nothing is changes nothing. Zeroes would allocate blocks there, so they are tried
  // on a file of no name beside this one.
  if (fallocate(fd_, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, end, kMaxBlock) != 0) return;
  traits_.discard = limits;
  if (can_zero_ranges(fd_)) traits_.write_zeroes = limits;
}

Result<void, std::string> RawDisk::refresh() {
  auto looked = look_at_size();
  if (looked) resized();
  return looked;
}

Result<void, std::string> RawDisk::look_at_size() {
  std::uint64_t bytes = 0;
  if (is_block_device_) {
    if (ioctl(fd_, BLKGETSIZE64, &bytes) != 0) return std::unexpected(words(errno));
  } else {
    struct stat status{};
    if (fstat(fd_, &status) != 0) return std::unexpected(words(errno));
    bytes = static_cast<std::uint64_t>(status.st_size);
  }
  size_.store(bytes - bytes % traits_.logical_block, std::memory_order_relaxed);
  return {};
}

std::unique_ptr<DiskQueue> RawDisk::open_queue(const DiskQueueContext& context) {
  return std::make_unique<RawDiskQueue>(fd_, context);
}

}  // namespace vmsg::blk
