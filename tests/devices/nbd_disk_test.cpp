// Disks behind an NBD server, on a real io_uring and with a server that misbehaves when told to.
#include "devices/blk/nbd_disk.hpp"

#include <gmock/gmock.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "devices/blk/data_pool.hpp"
#include "tests/devices/fake_nbd_server.hpp"
#include "tests/support/test_driver.hpp"

namespace vmsg::blk {
namespace {

using std::chrono::seconds;
using ::testing::HasSubstr;

/// Large enough never to be in the way.
constexpr seconds kLong{600};

class Results final : public DiskQueueOwner {
 public:
  void finished(std::uint32_t slot, int error) override { errors[slot] = error; }
  void wants_turn() override {}
  std::map<std::uint32_t, int> errors;
};

class Numbers final : public CounterSink {
 public:
  void operations(std::string_view, const OperationCounters&) override {}
  void number(std::string_view name, std::uint64_t value) override {
    of.emplace(std::string(name), value);
  }
  std::map<std::string, std::uint64_t> of;
};

/// A queue, its ring and what became of its operations.
struct Opened {
  explicit Opened(Disk& disk, std::uint32_t slots = 8)
      : queue(disk.open_queue({.io = *io, .owner = results, .slots = slots, .memory = {}})) {}
  ~Opened() {
    queue->abandon();
    wait_for([this] { return queue->is_idle(); });
  }

  /// False after a time in which everything here has happened long ago.
  bool wait_for(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + seconds(60);
    constexpr std::uint64_t kStep = 20'000'000;
    while (!condition()) {
      if (std::chrono::steady_clock::now() > end) return false;
      queue->carry_on();
      io->submit_and_wait(kStep);
      io->reap(64);
    }
    return true;
  }
  void submit(std::uint32_t slot, const DiskIo& operation) {
    results.errors.erase(slot);
    EXPECT_TRUE(queue->submit(slot, operation));
  }
  int result(std::uint32_t slot) {
    EXPECT_TRUE(wait_for([&] { return results.errors.contains(slot); })) << "slot " << slot;
    return results.errors.contains(slot) ? results.errors.at(slot) : -1;
  }
  int run(const DiskIo& operation) {
    submit(0, operation);
    return result(0);
  }
  /// The operation is on its way to the server.
  void send(std::uint32_t slot, const DiskIo& operation, test::FakeNbdServer& server) {
    const std::size_t before = server.commands();
    submit(slot, operation);
    EXPECT_TRUE(wait_for([&] { return server.commands() > before; }));
  }

  Results results;
  std::unique_ptr<IoRing> io = IoRing::create(16).value();
  std::unique_ptr<DiskQueue> queue;
};

class NbdDiskTest : public ::testing::Test {
 protected:
  std::unique_ptr<Disk> open(seconds patience = kLong) {
    auto opened = NbdDisk::open({.uri = server_.uri(), .patience = patience});
    EXPECT_TRUE(opened.has_value()) << opened.error();
    return opened ? std::move(*opened) : nullptr;
  }
  DiskIo data(Operation operation, std::uint64_t offset, std::size_t length) {
    return {
        .operation = operation, .offset = offset, .length = length, .data = memory_.first(length)};
  }
  static std::uint64_t count(const Disk& disk, const std::string& name) {
    Numbers numbers;
    disk.report(numbers);
    return numbers.of.at(name);
  }

  const DiskIo flush_{.operation = Operation::kFlush, .data = {}};
  test::FakeNbdServer server_;
  DataPool pool_{256 << 10};
  std::span<std::byte> memory_ = *pool_.take(256 << 10);
};

TEST_F(NbdDiskTest, WritesReadsAndFlushes) {
  const auto disk = open();
  Opened opened(*disk);
  const auto bytes = test::bytes(8192);
  std::ranges::copy(bytes, memory_.begin());
  EXPECT_EQ(opened.run(data(Operation::kWrite, 4096, 8192)), 0);
  EXPECT_EQ(opened.run(flush_), 0);
  std::ranges::fill(memory_, std::byte{0});

  EXPECT_EQ(opened.run(data(Operation::kRead, 4096, 8192)), 0);

  EXPECT_TRUE(std::ranges::equal(memory_.first(8192), bytes));
  EXPECT_EQ(disk->size(), test::FakeNbdServer::kSize);
}

// libnbd that is told to read when there is nothing waits for an answer, and sends nothing more.
TEST_F(NbdDiskTest, WhatComesAfterTheLastAnswerIsSent) {
  const auto disk = open();
  Opened opened(*disk);

  for (int i = 0; i < 3; ++i) EXPECT_EQ(opened.run(data(Operation::kRead, 0, 4096)), 0);
}

TEST_F(NbdDiskTest, ManyAtATimeAreAllAnswered) {
  const auto disk = open();
  Opened opened(*disk, 64);
  for (int round = 0; round < 20; ++round) {
    for (std::uint32_t slot = 0; slot < 64; ++slot) {
      opened.submit(slot, data(slot % 2 == 0 ? Operation::kRead : Operation::kWrite,
                               std::uint64_t{slot} * 8192, 4096));
    }

    for (std::uint32_t slot = 0; slot < 64; ++slot) EXPECT_EQ(opened.result(slot), 0);
  }
}

TEST_F(NbdDiskTest, AnErrorOfTheServerIsThatOfTheOperation) {
  const auto disk = open();
  Opened opened(*disk);
  server_.answer_with(28);  // ENOSPC, as the protocol numbers it

  EXPECT_EQ(opened.run(data(Operation::kWrite, 0, 4096)), ENOSPC);
  EXPECT_EQ(opened.run(data(Operation::kRead, 0, 4096)), ENOSPC);

  server_.answer_with(0);
  EXPECT_EQ(opened.run(data(Operation::kRead, 0, 4096)), 0);
}

TEST_F(NbdDiskTest, WhatWasNotAnsweredIsAskedAgainOfTheNextServer) {
  const auto disk = open();
  Opened opened(*disk);
  server_.be_silent(true);
  opened.send(1, data(Operation::kRead, 0, 4096), server_);
  server_.be_away(true);
  server_.be_silent(false);
  ASSERT_TRUE(opened.wait_for([&] { return count(*disk, "nbd_lost_connections") == 1; }));
  EXPECT_FALSE(opened.results.errors.contains(1));

  server_.be_away(false);

  EXPECT_EQ(opened.result(1), 0);
  EXPECT_EQ(opened.run(data(Operation::kRead, 0, 4096)), 0);
  EXPECT_EQ(count(*disk, "nbd_reconnects"), 1U);
}

TEST_F(NbdDiskTest, AFlushFailsOnceWhenTheServerTookACacheWithIt) {
  const auto disk = open();
  Opened opened(*disk);
  EXPECT_EQ(opened.run(data(Operation::kWrite, 0, 4096)), 0);
  server_.be_away(true);
  ASSERT_TRUE(opened.wait_for([&] { return count(*disk, "nbd_lost_connections") == 1; }));
  server_.be_away(false);

  EXPECT_EQ(opened.run(flush_), EIO);
  EXPECT_EQ(opened.run(flush_), 0);
  EXPECT_EQ(count(*disk, "nbd_lost_caches"), 1U);
}

TEST_F(NbdDiskTest, NothingIsLostThatWasFlushedOrDurable) {
  const auto disk = open();
  Opened opened(*disk);
  EXPECT_EQ(opened.run(data(Operation::kWrite, 0, 4096)), 0);
  EXPECT_EQ(opened.run(flush_), 0);
  DiskIo durable = data(Operation::kWrite, 8192, 4096);
  durable.is_durable = true;
  EXPECT_EQ(opened.run(durable), 0);
  server_.be_away(true);
  ASSERT_TRUE(opened.wait_for([&] { return count(*disk, "nbd_lost_connections") == 1; }));
  server_.be_away(false);

  EXPECT_EQ(opened.run(flush_), 0);
  EXPECT_EQ(count(*disk, "nbd_lost_caches"), 0U);
}

TEST_F(NbdDiskTest, AllQueuesFailWhenThePatienceIsAtItsEnd) {
  const auto disk = open(seconds(1));
  Opened one(*disk);
  Opened two(*disk);
  EXPECT_EQ(one.run(data(Operation::kRead, 0, 4096)), 0);
  EXPECT_EQ(two.run(data(Operation::kRead, 0, 4096)), 0);

  server_.be_away(true);

  EXPECT_EQ(one.run(data(Operation::kRead, 0, 4096)), EIO);
  EXPECT_EQ(two.run(data(Operation::kRead, 0, 4096)), EIO);
  server_.be_away(false);
  ASSERT_TRUE(one.wait_for([&] { return one.run(data(Operation::kRead, 0, 4096)) == 0; }));
  ASSERT_TRUE(two.wait_for([&] { return two.run(data(Operation::kRead, 0, 4096)) == 0; }));
}

TEST_F(NbdDiskTest, AQueueThatGoesWaitsForWhatWasSent) {
  const auto disk = open();
  Opened opened(*disk);
  server_.be_silent(true);
  opened.send(1, data(Operation::kWrite, 0, 4096), server_);

  opened.queue->abandon();

  EXPECT_FALSE(opened.queue->is_idle());
  EXPECT_FALSE(opened.results.errors.contains(1));
  server_.be_silent(false);
  EXPECT_EQ(opened.result(1), 0);
  EXPECT_TRUE(opened.wait_for([&] { return opened.queue->is_idle(); }));
}

TEST_F(NbdDiskTest, ASilentServerDoesNotKeepAQueueForEver) {
  const auto disk = open(seconds(1));
  Opened opened(*disk);
  server_.be_silent(true);
  opened.send(1, data(Operation::kWrite, 0, 4096), server_);

  opened.queue->abandon();

  EXPECT_NE(opened.result(1), 0);
  EXPECT_TRUE(opened.wait_for([&] { return opened.queue->is_idle(); }));
}

TEST_F(NbdDiskTest, ARefreshFindsTheNewSize) {
  const auto disk = open();
  std::atomic<int> told = 0;
  disk->on_resize([&] { ++told; });
  Opened opened(*disk);
  server_.resize(2 * test::FakeNbdServer::kSize);

  EXPECT_TRUE(disk->refresh().has_value());

  EXPECT_TRUE(opened.wait_for([&] { return told == 1; }));
  EXPECT_EQ(disk->size(), 2 * test::FakeNbdServer::kSize);
}

TEST(NbdDisk, AServerThatIsNotThereIsSaid) {
  const auto none = NbdDisk::open({.uri = "nbd+unix:///?socket=/nonexistent/x"});

  ASSERT_FALSE(none.has_value());
  EXPECT_THAT(none.error(), HasSubstr("target='nbd+unix:///?socket=/nonexistent/x'"));
}

}  // namespace
}  // namespace vmsg::blk
