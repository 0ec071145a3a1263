// What a worker without anything to do does: it looks at its queues or sleeps, and hears when it is
// called.
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <memory>
#include <optional>
#include <semaphore>
#include <thread>
#include <vector>

#include "backend/worker.hpp"
#include "tests/mock-xen/mock_xen.hpp"

namespace vmsg {
namespace {

constexpr std::chrono::seconds kDeadline{20};

/// A ring that stays empty and counts how often it is looked at.
class QuietRing final : public DeviceQueue {
 public:
  QuietRing() : DeviceQueue({.size = 1, .areas = {}}) {}

  mutable std::atomic<int> looks{0};
  int looks_before_asking = -1;  // read after `asked`
  std::binary_semaphore asked{0};

 private:
  std::optional<QueueError> read_heads(std::size_t) override { return std::nullopt; }
  std::optional<QueueError> read_table(ChainBuilder&, std::span<const std::uint64_t>) override {
    return std::nullopt;
  }
  bool write_used(std::span<ChainRecord* const>) override { return false; }
  void suppress_notifications() override {}
  [[nodiscard]] bool look_for_next() const override {
    ++looks;
    return false;
  }
  bool ask_for_notification() override {
    if (looks_before_asking < 0) {
      looks_before_asking = looks;
      asked.release();
    }
    return false;
  }
};

class IdleService final : public QueueService {
 public:
  explicit IdleService(bool waits) : waits_(waits) {}

  [[nodiscard]] std::size_t room() const override { return 1; }
  void take(std::span<Chain>, const GuestRef&, CopyBatch&, Nanoseconds) override {}
  [[nodiscard]] std::optional<ServiceFault> start(Nanoseconds) override { return std::nullopt; }
  void deliver(const GuestRef&, CopyBatch&) override {}
  [[nodiscard]] std::optional<ServiceFault> retire(DeviceQueue&, Nanoseconds) override {
    return std::nullopt;
  }
  [[nodiscard]] bool has_work_in_flight() const override { return false; }
  [[nodiscard]] bool waits_for_storage() const override { return waits_; }
  void abandon() override {}

 private:
  const bool waits_;
};

/// A worker with some queues, each of which has had one turn, and nothing to do since.
class WorkerIdleTest : public ::testing::Test {
 protected:
  void add(bool waits_for_storage) {
    auto queue = std::make_unique<ServedQueue>();
    auto ring = std::make_unique<QuietRing>();
    rings_.push_back(ring.get());
    queue->size = 1;
    queue->budget = std::make_shared<GuestBudget>(GuestRates{});
    queue->queue = std::move(ring);
    queue->service = std::make_unique<IdleService>(waits_for_storage);
    queues_.push_back(std::move(queue));
  }

  /// Until every queue was asked for a notification: the worker is about to sleep.
  void run() {
    const auto in_backend = xen_.as_domain(0);
    auto made = Worker::create(0, outbox_.get(), {});
    ASSERT_TRUE(made.has_value());
    worker_ = std::move(*made);
    for (const auto& queue : queues_) {
      worker_->adopt(*queue);
      worker_->serve(*queue);
    }
    worker_->start();
    for (QuietRing* ring : rings_) ASSERT_TRUE(ring->asked.try_acquire_for(kDeadline));
  }

  static xen::RemotePort remote(const xen::Port& port) {
    return xen::RemotePort{static_cast<std::uint32_t>(port.local())};
  }

  void TearDown() override {
    if (worker_ == nullptr) return;
    for (const auto& queue : queues_) worker_->remove(*queue);
    std::vector<WorkerReport> reports;
    while (reports.size() < queues_.size()) {
      pollfd ready{.fd = outbox_.get(), .events = POLLIN, .revents = 0};
      ASSERT_EQ(::poll(&ready, 1, 20000), 1) << "the queues are not given back";
      std::uint64_t count = 0;
      static_cast<void>(::read(outbox_.get(), &count, sizeof(count)) == 0);
      worker_->take_reports(reports);
    }
    for (const WorkerReport& report : reports) {
      EXPECT_EQ(report.kind, WorkerReport::Kind::kReleased);
    }
    EXPECT_EQ(worker_->load(), 0U);
    worker_.reset();
  }

  mock::MockXen xen_;
  FileDescriptor outbox_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::vector<std::unique_ptr<ServedQueue>> queues_;
  std::vector<QuietRing*> rings_;
  std::unique_ptr<Worker> worker_;
};

TEST_F(WorkerIdleTest, LooksForAGuestThatMayGoOnAnyMoment) {
  add(false);

  run();

  EXPECT_GT(rings_[0]->looks_before_asking, 0);
}

TEST_F(WorkerIdleTest, SleepsAtOnceWhileAllGuestsWaitForADisk) {
  add(true);
  add(true);

  run();

  EXPECT_EQ(rings_[0]->looks_before_asking, 0);
  EXPECT_EQ(rings_[1]->looks_before_asking, 0);
}

TEST_F(WorkerIdleTest, OneGuestThatMayGoOnKeepsItLooking) {
  add(true);
  add(false);

  run();

  EXPECT_GT(rings_[1]->looks_before_asking, 0);
}

/// Offers ports to domain 0 and fires them.
class PortsOfAGuest {
 public:
  PortsOfAGuest(mock::MockXen& xen, std::uint16_t domid) : domain_{domid} {
    xen.create_domain(domid);
    const auto in_guest = xen.as_domain(domid);
    auto opened = xen::EventChannels::open();
    EXPECT_TRUE(opened.has_value());
    ports_.emplace(std::move(*opened));
  }

  xen::DomainId domain() const { return domain_; }
  xen::Port offer() { return ports_->alloc_unbound(xen::DomainId{0}).value(); }
  void fire(const xen::Port& port) { EXPECT_TRUE(port.notify().has_value()); }

 private:
  xen::DomainId domain_;
  std::optional<xen::EventChannels> ports_;
};

TEST_F(WorkerIdleTest, WithoutAThreadAPortIsBoundOnTheCallersOwn) {
  PortsOfAGuest guest(xen_, 3);
  add(false);
  queues_[0]->guest.domain = guest.domain();
  const auto in_backend = xen_.as_domain(0);
  auto made = Worker::create(0, outbox_.get(), {.window_ns = 0});
  ASSERT_TRUE(made.has_value());
  worker_ = std::move(*made);
  worker_->adopt(*queues_[0]);
  worker_->serve(*queues_[0]);
  const xen::Port port = guest.offer();

  ASSERT_TRUE(worker_->bind_port(*queues_[0], remote(port)).has_value());
  while (worker_->run_once()) continue;
  guest.fire(port);
  while (worker_->run_once()) continue;

  EXPECT_GE(queues_[0]->counters.kicks, 1U);
  EXPECT_EQ(rings_[0]->looks_before_asking, 0) << "it looked on, with no time for that";
  worker_->remove(*queues_[0]);
  while (worker_->run_once()) continue;
  worker_.reset();
}

// What the kernel keeps of a port that was closed keeps the events of all others from waking the
// worker until it is read.
TEST_F(WorkerIdleTest, HearsOneGuestAfterAnotherPlayedWithItsPorts) {
  constexpr int kRounds = 500;
  PortsOfAGuest player(xen_, 3);
  PortsOfAGuest bystander(xen_, 4);
  add(true);
  add(true);
  queues_[0]->guest.domain = player.domain();
  queues_[1]->guest.domain = bystander.domain();
  run();

  for (int i = 0; i < kRounds; ++i) {
    const xen::Port port = player.offer();
    ASSERT_TRUE(worker_->bind_port(*queues_[0], remote(port)).has_value());
    std::jthread firing([&](const std::stop_token& stop) {
      while (!stop.stop_requested()) player.fire(port);
    });
    worker_->unbind_port(*queues_[0]);
  }

  const xen::Port port = bystander.offer();
  ASSERT_TRUE(worker_->bind_port(*queues_[1], remote(port)).has_value());
  const auto deadline = std::chrono::steady_clock::now() + kDeadline;
  while (queues_[1]->counters.kicks == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the worker is deaf";
    std::this_thread::yield();
  }
}

}  // namespace
}  // namespace vmsg
