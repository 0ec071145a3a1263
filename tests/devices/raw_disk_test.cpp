// Raw targets on real files and a real io_uring.
#include "devices/blk/raw_disk.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <linux/fs.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <map>
#include <string>

#include "devices/blk/data_pool.hpp"
#include "devices/blk/fixed_memory.hpp"
#include "devices/blk/raw_disk_io.hpp"
#include "tests/support/test_driver.hpp"

namespace vmsg::blk {
namespace {

using ::testing::HasSubstr;

class Results final : public DiskQueueOwner {
 public:
  void finished(std::uint32_t slot, int error) override { errors[slot] = error; }
  void wants_turn() override {}
  std::map<std::uint32_t, int> errors;
};

class RawDiskTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kSize = 1 << 20;

  RawDiskTest() {
    // In the build folder: the temporary one may be on a filesystem without direct I/O.
    std::string name = "raw_disk_test.XXXXXX";
    const int fd = mkstemp(name.data());
    path_ = "./" + name;
    EXPECT_EQ(ftruncate(fd, kSize), 0);
    close(fd);
    char* const whole = realpath(path_.c_str(), nullptr);
    path_ = whole;
    std::free(whole);  // NOLINT(cppcoreguidelines-no-malloc): realpath's
  }
  ~RawDiskTest() override { unlink(path_.c_str()); }

  void open(RawDiskOptions options = {}) {
    options.path = path_;
    auto opened = RawDisk::open(options);
    ASSERT_TRUE(opened.has_value()) << opened.error().words;
    disk_ = std::move(*opened);
    queue_ =
        disk_->open_queue({.io = *io_, .owner = results_, .slots = 4, .memory = pool_.memory()});
  }

  int run(const DiskIo& io) {
    EXPECT_TRUE(queue_->submit(0, io));
    results_.errors.clear();
    while (!results_.errors.contains(0)) {
      io_->submit_and_wait(std::nullopt);
      io_->reap(16);
    }
    return results_.errors.at(0);
  }
  DiskIo data(Operation operation, std::uint64_t offset, std::size_t length) {
    return {
        .operation = operation, .offset = offset, .length = length, .data = memory_.first(length)};
  }

  std::string path_;
  std::unique_ptr<IoRing> io_ = IoRing::create(8).value();
  Results results_;
  DataPool pool_{256 << 10};
  std::span<std::byte> memory_ = *pool_.take(256 << 10);
  std::unique_ptr<Disk> disk_;
  std::unique_ptr<DiskQueue> queue_;
};

TEST_F(RawDiskTest, WritesReadsAndFlushes) {
  open();
  const auto bytes = test::bytes(8192);
  std::ranges::copy(bytes, memory_.begin());
  EXPECT_EQ(run(data(Operation::kWrite, 4096, 8192)), 0);
  EXPECT_EQ(run({.operation = Operation::kFlush, .data = {}}), 0);
  std::ranges::fill(memory_, std::byte{0});

  EXPECT_EQ(run(data(Operation::kRead, 4096, 8192)), 0);

  EXPECT_TRUE(std::ranges::equal(memory_.first(8192), bytes));
  EXPECT_EQ(disk_->size(), kSize);
}

// What a busy queue uses is pinned once; what comes and goes is right before, at and after that.
TEST_F(RawDiskTest, TheMemoryOfABusyQueueIsKeptAtHand) {
  open();
  for (std::uint32_t i = 0; i < 3 * FixedMemory::kLookEvery; ++i) {
    const std::uint64_t offset = i % 256 * 4096;
    std::ranges::fill(memory_.first(4096), static_cast<std::byte>(i));
    ASSERT_EQ(run(data(Operation::kWrite, offset, 4096)), 0);
    std::ranges::fill(memory_.first(4096), std::byte{0});
    ASSERT_EQ(run(data(Operation::kRead, offset, 4096)), 0);
    ASSERT_EQ(std::ranges::count(memory_.first(4096), static_cast<std::byte>(i)), 4096);
    ASSERT_EQ(io_->buffers().count(), 2 * i + 2 >= FixedMemory::kLookEvery ? 1U : 0U) << i;
  }

  // The addresses mean nothing any more: only what the kernel has kept can be read into.
  ASSERT_EQ(mprotect(memory_.data(), memory_.size(), PROT_NONE), 0);
  EXPECT_EQ(run(data(Operation::kRead, 4096, 4096)), 0);
  ASSERT_EQ(mprotect(memory_.data(), memory_.size(), PROT_READ | PROT_WRITE), 0);
  EXPECT_EQ(std::ranges::count(memory_.first(4096), std::byte{1}), 4096);

  queue_->abandon();

  EXPECT_EQ(io_->buffers().count(), 0U);
}

TEST_F(RawDiskTest, WithoutRoomForMoreMemoryItWorksAsBefore) {
  while (io_->buffers().add(memory_.first(4096))) {
  }
  const std::size_t others = io_->buffers().count();
  open();
  std::ranges::fill(memory_.first(4096), std::byte{7});
  for (std::uint32_t i = 0; i < FixedMemory::kLookEvery; ++i) {
    ASSERT_EQ(run(data(Operation::kWrite, 0, 4096)), 0);
  }
  std::ranges::fill(memory_.first(4096), std::byte{0});

  EXPECT_EQ(run(data(Operation::kRead, 0, 4096)), 0);

  EXPECT_EQ(std::ranges::count(memory_.first(4096), std::byte{7}), 4096);
  EXPECT_EQ(io_->buffers().count(), others);
}

TEST_F(RawDiskTest, DiscardAndWriteZeroesLeaveZeros) {
  open();
  ASSERT_NE(disk_->traits().discard.max_bytes, 0U);
  ASSERT_NE(disk_->traits().write_zeroes.max_bytes, 0U);
  std::ranges::fill(memory_, std::byte{7});
  EXPECT_EQ(run(data(Operation::kWrite, 0, 64 << 10)), 0);

  EXPECT_EQ(run({.operation = Operation::kDiscard, .offset = 0, .length = 8192, .data = {}}), 0);
  EXPECT_EQ(run({.operation = Operation::kWriteZeroes,
                 .offset = 16384,
                 .length = 4096,
                 .data = {},
                 .is_durable = true}),
            0);

  EXPECT_EQ(run(data(Operation::kRead, 0, 64 << 10)), 0);
  EXPECT_EQ(std::ranges::count(memory_.first(64 << 10), std::byte{0}), 8192 + 4096);
  EXPECT_EQ(disk_->size(), kSize);
}

TEST_F(RawDiskTest, ATriedDiscardLeavesTheFileAsItWas) {
  open();
  struct stat status{};
  ASSERT_EQ(stat(path_.c_str(), &status), 0);

  EXPECT_EQ(status.st_size, static_cast<off_t>(kSize));
  EXPECT_EQ(status.st_blocks, 0);
}

TEST_F(RawDiskTest, AFileThatWasCutIsAnErrorBehindItsEnd) {
  open();
  ASSERT_EQ(truncate(path_.c_str(), kSize / 2), 0);

  EXPECT_EQ(run(data(Operation::kRead, kSize - 4096, 4096)), EIO);
}

TEST_F(RawDiskTest, AReadThatComesBackShortGoesOnUntilTheEnd) {
  open();
  ASSERT_EQ(truncate(path_.c_str(), kSize - 4096), 0);

  EXPECT_EQ(run(data(Operation::kRead, kSize - 16384, 12288)), 0);
  EXPECT_EQ(run(data(Operation::kRead, kSize - 16384, 16384)), EIO);
}

TEST_F(RawDiskTest, ARefreshFindsTheNewSize) {
  open();
  int told = 0;
  disk_->on_resize([&] { ++told; });
  ASSERT_EQ(truncate(path_.c_str(), 2 * kSize), 0);

  EXPECT_TRUE(disk_->refresh().has_value());

  EXPECT_EQ(disk_->size(), 2 * kSize);
  EXPECT_EQ(told, 1);
}

TEST_F(RawDiskTest, AFileIsWrittenByOneDiskOnly) {
  open();

  const auto second = RawDisk::open({.path = path_});
  ASSERT_FALSE(second.has_value());
  EXPECT_THAT(second.error().words, HasSubstr("in use by somebody else"));
  EXPECT_TRUE(second.error().may_pass);
  EXPECT_FALSE(RawDisk::open({.path = path_, .is_read_only = true}).has_value());
  EXPECT_TRUE(RawDisk::open({.path = path_, .is_shared = true}).has_value());
}

TEST_F(RawDiskTest, WhatIsNoDiskIsSaid) {
  const auto missing = RawDisk::open({.path = "/nonexistent/x"});
  ASSERT_FALSE(missing.has_value());
  EXPECT_FALSE(missing.error().may_pass);
  EXPECT_THAT(missing.error().words, HasSubstr("target='/nonexistent/x': No such file"));

  const auto terminal = RawDisk::open({.path = "/dev/null", .is_direct = false});
  ASSERT_FALSE(terminal.has_value());
  EXPECT_THAT(terminal.error().words, HasSubstr("a block device or a regular file is expected"));
}

// What the kernel is asked for decides what a flush is worth, and no later test could tell.
TEST(RawDiskIo, AFlushReachesTheMedium) {
  io_uring_sqe entry{};
  prepare_raw_io(entry, 5, {.operation = Operation::kFlush, .data = {}}, std::nullopt);

  EXPECT_EQ(entry.opcode, IORING_OP_FSYNC);
  EXPECT_EQ(entry.fd, 5);
  EXPECT_EQ(entry.len, 0U);  // the whole file
}

TEST(RawDiskIo, ADurableWriteIsOneThatSyncs) {
  std::array<std::byte, 512> bytes{};
  io_uring_sqe entry{};
  prepare_raw_io(entry, 5,
                 {.operation = Operation::kWrite, .offset = 512, .length = 512, .data = bytes},
                 std::nullopt);
  EXPECT_EQ(entry.rw_flags & RWF_DSYNC, 0);

  prepare_raw_io(entry, 5,
                 {.operation = Operation::kWrite,
                  .offset = 512,
                  .length = 512,
                  .data = bytes,
                  .is_durable = true},
                 std::nullopt);

  EXPECT_EQ(entry.opcode, IORING_OP_WRITE);
  EXPECT_EQ(entry.rw_flags & RWF_DSYNC, RWF_DSYNC);
}

TEST(RawDiskIo, DataInMemoryThatTheKernelKeepsIsNotLookedUp) {
  std::array<std::byte, 512> bytes{};
  io_uring_sqe entry{};
  prepare_raw_io(entry, 5, {.operation = Operation::kRead, .length = 512, .data = bytes}, 3U);
  EXPECT_EQ(entry.opcode, IORING_OP_READ_FIXED);
  EXPECT_EQ(entry.buf_index, 3);

  prepare_raw_io(entry, 5,
                 {.operation = Operation::kWrite, .length = 512, .data = bytes, .is_durable = true},
                 3U);

  EXPECT_EQ(entry.opcode, IORING_OP_WRITE_FIXED);
  EXPECT_EQ(entry.buf_index, 3);
  EXPECT_EQ(entry.rw_flags & RWF_DSYNC, RWF_DSYNC);
}

TEST(RawDiskIo, NothingThatDeallocatesChangesTheSize) {
  io_uring_sqe entry{};
  prepare_raw_io(entry, 5, {.operation = Operation::kDiscard, .length = 512, .data = {}},
                 std::nullopt);
  EXPECT_EQ(entry.len & FALLOC_FL_KEEP_SIZE, static_cast<unsigned>(FALLOC_FL_KEEP_SIZE));

  prepare_raw_io(entry, 5, {.operation = Operation::kWriteZeroes, .length = 512, .data = {}},
                 std::nullopt);

  EXPECT_EQ(entry.opcode, IORING_OP_FALLOCATE);
  EXPECT_EQ(entry.len, static_cast<unsigned>(FALLOC_FL_KEEP_SIZE | FALLOC_FL_ZERO_RANGE));
}

TEST(RawDiskIo, ADiscardThatTheTargetCannotDoIsDone) {
  DiskIo io{.operation = Operation::kDiscard, .length = 512, .data = {}};

  EXPECT_EQ(resort_for(io), Resort::kDone);
}

TEST(RawDiskIo, ZerosThatCannotBeDeallocatedAreWritten) {
  DiskIo io{.operation = Operation::kWriteZeroes, .length = 512, .data = {}, .may_unmap = true};

  EXPECT_EQ(resort_for(io), Resort::kAgain);

  EXPECT_FALSE(io.may_unmap);
  EXPECT_EQ(resort_for(io), Resort::kNone);
}

TEST(RawDiskIo, NothingElseMayBeLeftUndone) {
  for (const Operation operation : {Operation::kRead, Operation::kWrite, Operation::kFlush}) {
    DiskIo io{.operation = operation, .data = {}};
    EXPECT_EQ(resort_for(io), Resort::kNone);
  }
}

TEST(DataPool, GivesRunsOfPagesAndTakesThemBack) {
  DataPool pool(100 * 4096);
  const auto first = pool.take(70 * 4096);
  ASSERT_TRUE(first.has_value());
  EXPECT_FALSE(pool.take(40 * 4096).has_value());
  const auto second = pool.take(30 * 4096 - 100);
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->size(), 30U * 4096 - 100);
  EXPECT_EQ(pool.free_pages(), 0U);
  EXPECT_FALSE(pool.take(1).has_value());

  pool.give_back(*first);
  EXPECT_EQ(pool.free_pages(), 70U);
  const auto third = pool.take(65 * 4096);
  ASSERT_TRUE(third.has_value());
  EXPECT_EQ(third->data(), first->data());
}

}  // namespace
}  // namespace vmsg::blk
