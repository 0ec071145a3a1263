// When the memory of a queue is kept at hand by the kernel, and how much of it.
#include "devices/blk/fixed_memory.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>

#include "devices/blk/data_pool.hpp"
#include "devices/file_descriptor.hpp"
#include "devices/io_ring.hpp"

namespace vmsg::blk {
namespace {

class FixedMemoryTest : public ::testing::Test {
 protected:
  static constexpr std::size_t kPage = DataPool::kPageSize;

  /// `count` operations on the pages from `first` on.
  void use(std::uint32_t count, std::size_t first, std::size_t pages = 1) {
    for (std::uint32_t i = 0; i < count; ++i) last_ = number_of(first, pages);
  }
  std::optional<unsigned> number_of(std::size_t first, std::size_t pages = 1) {
    return fixed_.number_for(pool_.memory().subspan(first * kPage, pages * kPage));
  }

  std::unique_ptr<IoRing> io_ = IoRing::create(8).value();
  DataPool pool_{100 * kPage};
  FixedMemory fixed_{io_->buffers(), pool_.memory()};
  std::optional<unsigned> last_;
};

TEST_F(FixedMemoryTest, AQueueWithLittleTrafficPinsNothing) {
  use(FixedMemory::kLookEvery - 1, 0);

  EXPECT_FALSE(last_.has_value());
  EXPECT_EQ(io_->buffers().count(), 0U);
}

TEST_F(FixedMemoryTest, WhatABusyQueueUsesIsPinned) {
  use(FixedMemory::kLookEvery, 2);

  EXPECT_TRUE(last_.has_value());
  EXPECT_EQ(fixed_.size(), 4 * kPage);
  EXPECT_TRUE(number_of(0).has_value());
  EXPECT_TRUE(number_of(3).has_value());
  EXPECT_FALSE(number_of(4).has_value());
  EXPECT_FALSE(number_of(3, 2).has_value());  // half of it
}

TEST_F(FixedMemoryTest, ItGrowsWithUseAndNeverBeyondThePool) {
  use(FixedMemory::kLookEvery, 2);
  use(FixedMemory::kLookEvery, 5);
  EXPECT_EQ(fixed_.size(), 8 * kPage);
  EXPECT_EQ(io_->buffers().count(), 1U);

  use(FixedMemory::kLookEvery, 99);

  EXPECT_EQ(fixed_.size(), 100 * kPage);
  EXPECT_TRUE(number_of(99).has_value());
  EXPECT_EQ(io_->buffers().count(), 1U);
}

TEST_F(FixedMemoryTest, WhatItHasItKeepsWhenMoreIsRefused) {
  use(FixedMemory::kLookEvery, 2);
  while (io_->buffers().add(pool_.memory().first(kPage))) {
  }

  use(FixedMemory::kLookEvery, 5);

  EXPECT_EQ(fixed_.size(), 4 * kPage);
  EXPECT_TRUE(number_of(0).has_value());
}

TEST_F(FixedMemoryTest, ItStaysAsItIsWhileUseDoes) {
  use(FixedMemory::kLookEvery, 3);
  use(3 * FixedMemory::kLookEvery, 1);

  EXPECT_EQ(fixed_.size(), 4 * kPage);
}

TEST_F(FixedMemoryTest, ReleasingGivesTheRoomToOthers) {
  use(FixedMemory::kLookEvery, 0);
  fixed_.release();

  EXPECT_FALSE(number_of(0).has_value());
  EXPECT_EQ(io_->buffers().count(), 0U);
}

TEST_F(FixedMemoryTest, WhatWasRefusedIsAskedForAgainOnlyWhenItIsMore) {
  std::optional<unsigned> other;
  while (const auto number = io_->buffers().add(pool_.memory().first(kPage))) other = number;
  use(FixedMemory::kLookEvery, 0);
  EXPECT_EQ(fixed_.size(), 0U);
  io_->buffers().remove(*other);

  use(FixedMemory::kLookEvery, 0);
  EXPECT_EQ(fixed_.size(), 0U);
  use(FixedMemory::kLookEvery, 1);

  EXPECT_EQ(fixed_.size(), 2 * kPage);
}

class Result final : public IoCompletion {
 public:
  void on_complete(std::int32_t result, bool) override { value = result; }
  std::optional<std::int32_t> value;
};

// A queue grows what it has pinned while operations with the old number are still to be submitted.
TEST(IoBuffers, APreparedOperationStillFindsTheMemoryThatIsRemoved) {
  const auto io = IoRing::create(8).value();
  DataPool pool(DataPool::kPageSize);
  const FileDescriptor zeros(open("/dev/zero", O_RDONLY | O_CLOEXEC));
  const auto number = io->buffers().add(pool.memory());
  ASSERT_TRUE(number.has_value());
  Result read;
  io_uring_prep_read_fixed(io->prepare(read), zeros.get(), pool.memory().data(),
                           DataPool::kPageSize, 0, static_cast<int>(*number));

  io->buffers().remove(*number);
  io->submit_and_wait(std::nullopt);
  io->reap(8);

  EXPECT_EQ(read.value, static_cast<std::int32_t>(DataPool::kPageSize));
  EXPECT_EQ(io->buffers().count(), 0U);
}

TEST(IoBuffers, WhatIsNoMemoryIsRefusedAndCostsNoRoom) {
  const auto io = IoRing::create(8).value();
  // Not mapped, at any time: the first page.
  EXPECT_FALSE(io->buffers().add({reinterpret_cast<std::byte*>(16), 16}).has_value());  // NOLINT

  EXPECT_EQ(io->buffers().count(), 0U);
}

}  // namespace
}  // namespace vmsg::blk
