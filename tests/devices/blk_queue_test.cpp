// The queue of a virtio disk (virtio 1.3, 5.2.6), by every format of ring, against disks of memory.
#include "devices/blk/blk_queue.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "devices/blk/blk_device.hpp"
#include "tests/support/memory_disk.hpp"
#include "tests/support/service_bench.hpp"

namespace vmsg::blk {
namespace {

using test::MemoryDisk;
using test::RingOptions;

constexpr std::uint64_t kSectors = 2048;

std::vector<std::byte> header(std::uint32_t type, std::uint64_t sector = 0) {
  const wire::RequestHeader header{.type = type, .reserved = {}, .sector = sector};
  const auto raw = std::as_bytes(std::span(&header, 1));
  return {raw.begin(), raw.end()};
}

std::vector<std::byte> joined(std::vector<std::byte> a, const std::vector<std::byte>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

class BlkQueueTest : public ::testing::TestWithParam<RingOptions> {
 protected:
  BlkQueueTest() : bench_(larger(GetParam())) {}

  void start(BlkOptions options = {}) {
    auto disk = std::make_unique<MemoryDisk>(kSectors * wire::kSectorSize);
    disk_ = disk.get();
    options.queue_size = 16;
    if (options.queue_memory > 1 << 20) options.queue_memory = 256 << 10;
    device_.emplace(options, std::move(disk));
    device_->features_negotiated(device_->device_features());
    setup_.size = 16;
    bench_.serve(device_->open_queue({setup_, no_io(), bench_.waker}));
  }
  test::TestDriver& driver() { return bench_.queues.driver; }

  /// The status byte of the next used buffer: its last byte.
  std::uint8_t next_status() {
    const auto used = driver().poll();
    EXPECT_TRUE(used.has_value());
    return used ? static_cast<std::uint8_t>(used->data.back()) : 0xff;
  }

  /// What all queues together have counted of one operation.
  class Counted final : public CounterSink {
   public:
    Counted(const BlkDevice& device, std::string_view operation) : operation_(operation) {
      device.report(*this);
    }
    void operations(std::string_view name, const OperationCounters& counters) override {
      if (name != operation_) return;
      errors += counters.errors.value();
      latency_ns += counters.latency.sum_ns();
    }
    void number(std::string_view, std::uint64_t) override {}
    std::uint64_t errors = 0;
    std::uint64_t latency_ns = 0;

   private:
    std::string_view operation_;
  };

  static RingOptions larger(RingOptions ring) {
    ring.size = 16;
    return ring;
  }

  MemoryDisk* disk_ = nullptr;
  QueueSetup setup_;
  std::optional<BlkDevice> device_;
  test::ServiceBench bench_;

 private:
  static IoRing& no_io() {
    static const std::unique_ptr<IoRing> ring = IoRing::create(4).value();
    return *ring;
  }
};

INSTANTIATE_TEST_SUITE_P(Rings, BlkQueueTest, ::testing::ValuesIn(test::all_ring_options()),
                         [](const auto& ring) { return test::name_of(ring.param); });

TEST_P(BlkQueueTest, WritesAndReadsBack) {
  start();
  driver().chain().readable(header(wire::kTypeOut, 3)).readable(1024).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusOk);
  EXPECT_EQ(disk_->read(3 * 512, 1024), test::bytes(1024));

  driver().chain().readable(header(wire::kTypeIn, 3)).writable(1024).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, 1025U);
  EXPECT_EQ(used->data, joined(test::bytes(1024), {std::byte{wire::kStatusOk}}));
}

TEST_P(BlkQueueTest, AnySplitIntoDescriptorsIsTheSame) {
  start();
  const auto whole = joined(header(wire::kTypeOut, 1), test::bytes(512));
  driver()
      .chain()
      .readable(std::span(whole).first(7))
      .readable(std::span(whole).subspan(7, 100))
      .readable(std::span(whole).subspan(107))
      .writable(1)
      .publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusOk);
  EXPECT_EQ(disk_->read(512, 512), test::bytes(512));

  // The status shares a descriptor with data, and data is cut anywhere.
  driver().chain().readable(header(wire::kTypeIn, 1)).writable(11).writable(502).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->data, joined(test::bytes(512), {std::byte{wire::kStatusOk}}));
}

TEST_P(BlkQueueTest, AllRequestsOfATurnShareItsCopies) {
  start();
  for (std::uint64_t i = 0; i < 2; ++i) {
    driver().chain().readable(header(wire::kTypeOut, i)).readable(512).writable(1).add();
  }
  static_cast<void>(driver().queue().publish());
  const auto fetches = bench_.queues.fetch.runs();
  const auto stores = bench_.queues.store.runs();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(driver().poll_all().size(), 2U);
  // Indirect tables, then headers and data; statuses.
  EXPECT_EQ(bench_.queues.fetch.runs() - fetches, 2U);
  EXPECT_EQ(bench_.queues.store.runs() - stores, 1U);
}

TEST_P(BlkQueueTest, FlushReachesTheDisk) {
  start();
  driver().chain().readable(header(wire::kTypeFlush)).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(next_status(), wire::kStatusOk);
  EXPECT_EQ(disk_->flushes(), 1U);
}

TEST_P(BlkQueueTest, GetIdAnswersTheSerial) {
  start({.serial = "abc"});
  driver().chain().readable(header(wire::kTypeGetId)).writable(20).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, 21U);
  EXPECT_EQ(std::memcmp(used->data.data(), "abc\0\0", 5), 0);
  EXPECT_EQ(used->data.back(), std::byte{wire::kStatusOk});
}

TEST_P(BlkQueueTest, AnUnknownTypeIsUnsupported) {
  start();
  driver().chain().readable(header(77)).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(next_status(), wire::kStatusUnsupported);
}

TEST_P(BlkQueueTest, BeyondTheEndIsAnErrorAndNothingIsWritten) {
  start();
  driver().chain().readable(header(wire::kTypeOut, kSectors)).readable(512).writable(1).add();
  driver().chain().readable(header(wire::kTypeOut, UINT64_MAX)).readable(512).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(next_status(), wire::kStatusIoError);
  EXPECT_EQ(next_status(), wire::kStatusIoError);
  EXPECT_EQ(disk_->writes(), 0U);
}

TEST_P(BlkQueueTest, AFailedReadDeliversNoData) {
  start();
  disk_->fail_next(EIO);
  driver().chain().readable(header(wire::kTypeIn)).writable(512).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, 0U);
  EXPECT_EQ(used->data.back(), std::byte{wire::kStatusIoError});
}

TEST_P(BlkQueueTest, AWriteToAReadOnlyDiskIsAnError) {
  start({.is_read_only = true});
  driver().chain().readable(header(wire::kTypeOut)).readable(512).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(next_status(), wire::kStatusIoError);
  EXPECT_EQ(disk_->writes(), 0U);
}

TEST_P(BlkQueueTest, ARequestWithoutStatusIsABadRequest) {
  start();
  driver().chain().readable(header(wire::kTypeFlush)).publish();

  EXPECT_EQ(bench_.turn(), ServiceFault::kBadRequest);
}

TEST_P(BlkQueueTest, ARequestWithoutAWholeHeaderIsABadRequest) {
  start();
  driver().chain().readable(15).writable(1).publish();

  EXPECT_EQ(bench_.turn(), ServiceFault::kBadRequest);
}

TEST_P(BlkQueueTest, ReadableBytesBehindTheHeaderOfAReadMeanNothing) {
  start();
  // Of nothing, where the status is all that there is room for; and of a sector.
  driver().chain().readable(header(wire::kTypeIn)).readable(64).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusOk);

  driver().chain().readable(header(wire::kTypeIn)).readable(64).writable(513).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->data, std::vector<std::byte>(513));
}

TEST_P(BlkQueueTest, ARequestOfAnyShapeIsAnswered) {
  start({.serial = "abc", .queue_memory = 64 << 10});
  // Whole pieces of memory, too: more than fits at once.
  for (const std::uint32_t type :
       {wire::kTypeIn, wire::kTypeOut, wire::kTypeFlush, wire::kTypeGetId, wire::kTypeDiscard,
        wire::kTypeWriteZeroes, wire::kTypeSecureErase, 77U}) {
    for (const std::size_t readable :
         {0U, 1U, 15U, 16U, 17U, 32U, 256U, 512U, 513U, 1024U, 65536U}) {
      for (const std::size_t writable :
           {1U, 2U, 16U, 20U, 21U, 22U, 512U, 513U, 514U, 1025U, 65537U}) {
        for (const std::uint64_t sector : {std::uint64_t{0}, kSectors - 1, kSectors, UINT64_MAX}) {
          driver()
              .chain()
              .readable(joined(header(type, sector), test::bytes(readable)))
              .writable(writable)
              .publish();
          std::optional<test::TestDriver::Used> used;
          for (int turn = 0; turn < 40 && !used; ++turn) {
            ASSERT_EQ(bench_.turn(), std::nullopt);
            used = driver().poll();
          }
          ASSERT_TRUE(used.has_value()) << type << ' ' << readable << ' ' << writable;
          ASSERT_LE(static_cast<std::uint8_t>(used->data.back()), wire::kStatusUnsupported);
        }
      }
    }
  }
}

TEST_P(BlkQueueTest, DataThatIsNotGrantedIsAFault) {
  start();
  const auto request =
      driver().chain().readable(header(wire::kTypeOut)).readable(512).writable(1).add();
  static_cast<void>(driver().queue().publish());
  bench_.queues.memory.revoke(driver().readable_of(request)[1].address, 512);

  EXPECT_EQ(bench_.turn(), ServiceFault::kNotGranted);
  EXPECT_EQ(disk_->writes(), 0U);
}

TEST_P(BlkQueueTest, ARequestLargerThanItsShareOfMemoryGoesInPieces) {
  start({.queue_memory = 64 << 10});
  const auto data = test::bytes(100 << 10);
  driver().chain().readable(header(wire::kTypeOut, 0)).readable(data).writable(1).publish();
  while (driver().queue().outstanding() != 0 && disk_->writes() < 4) {
    ASSERT_EQ(bench_.turn(), std::nullopt);
  }
  EXPECT_EQ(next_status(), wire::kStatusOk);
  EXPECT_EQ(disk_->read(0, data.size()), data);

  driver().chain().readable(header(wire::kTypeIn, 0)).writable(data.size()).writable(1).publish();
  for (int i = 0; i < 4; ++i) ASSERT_EQ(bench_.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->data, joined(data, {std::byte{wire::kStatusOk}}));
}

TEST_P(BlkQueueTest, WhatFindsNoMemoryWaitsForIt) {
  start({.queue_memory = 64 << 10});
  disk_->hold();
  const auto data = test::bytes(32 << 10);
  driver().chain().readable(header(wire::kTypeOut, 0)).readable(data).writable(1).add();
  driver().chain().readable(header(wire::kTypeOut, 64)).readable(data).writable(1).publish();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(disk_->held(), 2U);  // all memory is in use now

  driver().chain().readable(header(wire::kTypeOut, 128)).readable(data).writable(1).publish();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(disk_->held(), 2U);
  EXPECT_EQ(bench_.service().room(), 0U);

  disk_->release();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(driver().poll_all().size(), 2U);
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(disk_->held(), 1U);
  disk_->release();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusOk);
  EXPECT_EQ(disk_->read(128 * 512, data.size()), data);
}

TEST_P(BlkQueueTest, AnAbandonedQueueHasWorkInFlightUntilTheDiskIsDone) {
  start();
  disk_->hold();
  driver().chain().readable(header(wire::kTypeIn)).writable(512).writable(1).publish();
  ASSERT_EQ(bench_.turn(), std::nullopt);

  bench_.queues.device.abandon();
  bench_.service().abandon();

  EXPECT_TRUE(bench_.service().has_work_in_flight());
  disk_->release();
  EXPECT_FALSE(bench_.service().has_work_in_flight());
  EXPECT_FALSE(driver().poll().has_value());
}

std::vector<std::byte> range(std::uint64_t sector, std::uint32_t count, std::uint32_t flags = 0) {
  const wire::Range range{.sector = sector, .num_sectors = count, .flags = flags};
  const auto raw = std::as_bytes(std::span(&range, 1));
  return {raw.begin(), raw.end()};
}

TEST_P(BlkQueueTest, TheRangesOfARequestAreDoneOneByOne) {
  start();
  driver()
      .chain()
      .readable(header(wire::kTypeWriteZeroes))
      .readable(joined(range(8, 2, wire::kRangeFlagUnmap), range(32, 1)))
      .writable(1)
      .publish();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  ASSERT_EQ(bench_.turn(), std::nullopt);

  EXPECT_EQ(next_status(), wire::kStatusOk);
  ASSERT_EQ(disk_->log().size(), 2U);
  EXPECT_EQ(disk_->log()[0].offset, 8U * 512);
  EXPECT_EQ(disk_->log()[0].length, 2U * 512);
  EXPECT_TRUE(disk_->log()[0].may_unmap);
  EXPECT_EQ(disk_->log()[1].offset, 32U * 512);
  EXPECT_FALSE(disk_->log()[1].may_unmap);
}

TEST_P(BlkQueueTest, FlagsThatARangeMayNotHaveAreUnsupported) {
  start();
  const auto ask = [this](std::uint32_t type, std::uint32_t flags) {
    driver().chain().readable(header(type)).readable(range(0, 1, flags)).writable(1).publish();
    EXPECT_EQ(bench_.turn(), std::nullopt);
    return next_status();
  };

  // virtio 1.3, 5.2.6.2
  EXPECT_EQ(ask(wire::kTypeDiscard, wire::kRangeFlagUnmap), wire::kStatusUnsupported);
  EXPECT_EQ(ask(wire::kTypeSecureErase, wire::kRangeFlagUnmap), wire::kStatusUnsupported);
  EXPECT_EQ(ask(wire::kTypeWriteZeroes, 2), wire::kStatusUnsupported);
  EXPECT_TRUE(disk_->log().empty());
}

TEST_P(BlkQueueTest, RangesBeyondTheEndOrOfAWrongShapeAreErrors) {
  start();
  const auto ask = [this](const std::vector<std::byte>& data) {
    driver().chain().readable(header(wire::kTypeDiscard)).readable(data).writable(1).publish();
    EXPECT_EQ(bench_.turn(), std::nullopt);
    return next_status();
  };

  EXPECT_EQ(ask(range(kSectors - 1, 2)), wire::kStatusIoError);
  EXPECT_EQ(ask(range(UINT64_MAX, 1)), wire::kStatusIoError);
  EXPECT_EQ(ask(test::bytes(15)), wire::kStatusIoError);
  EXPECT_EQ(ask(test::bytes(std::size_t{17} * 16)), wire::kStatusIoError);
  EXPECT_TRUE(disk_->log().empty());
}

TEST_P(BlkQueueTest, AWriteIsDurableUnlessTheDriverHasACache) {
  start();
  const auto write = [this] {
    driver().chain().readable(header(wire::kTypeOut)).readable(512).writable(1).publish();
    EXPECT_EQ(bench_.turn(), std::nullopt);
    EXPECT_EQ(next_status(), wire::kStatusOk);
    return disk_->log().back().is_durable;
  };
  EXPECT_FALSE(write());

  const std::byte off{0};
  ASSERT_EQ(device_->write_config(offsetof(wire::Config, writeback), std::span(&off, 1)),
            ConfigWrite::kApplied);
  EXPECT_TRUE(write());

  device_->features_negotiated({});
  EXPECT_TRUE(write());
}

TEST_P(BlkQueueTest, AFullDiskIsAnIoErrorAndCounted) {
  start();
  disk_->fail_next(ENOSPC);
  driver().chain().readable(header(wire::kTypeOut)).readable(512).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusIoError);

  EXPECT_EQ(Counted(*device_, "write").errors, 1U);
}

// The disk is done within the turn, but that takes time too.
TEST_P(BlkQueueTest, LatencyEndsWhenTheRequestIsGivenBack) {
  start();
  driver().chain().readable(header(wire::kTypeFlush)).writable(1).publish();
  bench_.take(1000);
  EXPECT_EQ(bench_.start(1000), std::nullopt);

  EXPECT_EQ(bench_.finish(9000), std::nullopt);

  EXPECT_EQ(Counted(*device_, "flush").latency_ns, 8000U);
}

TEST_P(BlkQueueTest, WhatTheDiskCannotTakeNowIsTriedAgain) {
  start();
  disk_->refuse(1);
  driver().chain().readable(header(wire::kTypeFlush)).writable(1).publish();

  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_FALSE(driver().poll().has_value());
  EXPECT_GE(bench_.waker.count, 1);
  EXPECT_EQ(bench_.service().room(), 0U);

  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(next_status(), wire::kStatusOk);
}

TEST_P(BlkQueueTest, ARateLimitHoldsRequestsUntilTheirTime) {
  constexpr Nanoseconds kSecond = 1'000'000'000;
  start({.iops = 1});
  driver().chain().readable(header(wire::kTypeFlush)).writable(1).add();
  driver().chain().readable(header(wire::kTypeFlush)).writable(1).publish();

  EXPECT_EQ(bench_.turn(kSecond), std::nullopt);
  EXPECT_EQ(driver().poll_all().size(), 1U);
  ASSERT_TRUE(bench_.service().wants_turn_at().has_value());
  EXPECT_EQ(bench_.service().room(), 0U);

  EXPECT_EQ(bench_.turn(*bench_.service().wants_turn_at()), std::nullopt);
  EXPECT_EQ(driver().poll_all().size(), 1U);
  EXPECT_FALSE(bench_.service().wants_turn_at().has_value());
}

TEST_P(BlkQueueTest, SaysWhetherItsGuestWaitsForTheDisk) {
  start();
  driver().chain().readable(header(wire::kTypeIn)).writable(512).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_FALSE(bench_.service().waits_for_storage()) << "it was done within the turn";

  disk_->hold();
  driver().chain().readable(header(wire::kTypeIn)).writable(512).writable(1).publish();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_TRUE(bench_.service().waits_for_storage());

  disk_->release();
  EXPECT_EQ(bench_.turn(), std::nullopt);
  EXPECT_FALSE(bench_.service().waits_for_storage());
}

TEST_P(BlkQueueTest, FinishedWorkAsksForATurn) {
  start();
  disk_->hold();
  driver().chain().readable(header(wire::kTypeIn)).writable(512).writable(1).publish();
  ASSERT_EQ(bench_.turn(), std::nullopt);
  EXPECT_EQ(bench_.waker.count, 0);

  disk_->release();

  EXPECT_EQ(bench_.waker.count, 1);
}

}  // namespace
}  // namespace vmsg::blk
