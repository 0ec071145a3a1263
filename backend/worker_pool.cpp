#include "backend/worker_pool.hpp"

#include <sys/eventfd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace vmsg {

Result<std::unique_ptr<WorkerPool>, WorkerError> WorkerPool::create(
    boost::asio::io_context& context, unsigned count, const PollPolicy::Options& polling,
    ReportHandler on_report) {
  FileDescriptor ready(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!ready.is_open()) return std::unexpected(WorkerError{"eventfd", errno});
  std::unique_ptr<WorkerPool> pool(new WorkerPool(context, std::move(ready), std::move(on_report)));
  for (unsigned i = 0; i < count; ++i) {
    auto worker = Worker::create(i, pool->ready_.native_handle(), polling);
    if (!worker) return std::unexpected(worker.error());
    pool->workers_.push_back(std::move(*worker));
  }
  return pool;
}

void WorkerPool::start(FailureHandler on_failed, Threads threads) {
  on_failed_ = std::move(on_failed);
  if (threads == Threads::kOwn) {
    for (const auto& worker : workers_) worker->start();
  }
  arm();
}

bool WorkerPool::run_once() {
  bool is_busy = false;
  for (const auto& worker : workers_) is_busy |= worker->run_once();
  return is_busy;
}

WorkerPool::WorkerPool(boost::asio::io_context& context, FileDescriptor ready,
                       ReportHandler on_report)
    : on_report_(std::move(on_report)), ready_(context, ready.release()) {}

WorkerPool::~WorkerPool() { alive_.reset(); }

Worker& WorkerPool::least_loaded() {
  return **std::min_element(workers_.begin(), workers_.end(),
                            [](const auto& a, const auto& b) { return a->load() < b->load(); });
}

std::vector<WorkerSnapshot> WorkerPool::snapshot() const {
  std::vector<WorkerSnapshot> all;
  all.reserve(workers_.size());
  for (const auto& worker : workers_) all.push_back(worker->snapshot());
  return all;
}

void WorkerPool::after_all_turns(std::move_only_function<void()> then) {
  waiting_.push_back(
      std::make_unique<Waiting>(static_cast<std::uint32_t>(workers_.size()), std::move(then)));
  TurnBarrier& barrier = waiting_.back()->barrier;
  for (const auto& worker : workers_) worker->pass(barrier);
}

void WorkerPool::tell_who_waits(const std::weak_ptr<Alive>& alive) {
  // One worker's reports may be taken before another's earlier ones: that some barrier was passed
  // is a reason to look, and the order is that of the calls.
  while (!alive.expired() && !waiting_.empty() &&
         waiting_.front()->barrier.left.load(std::memory_order_acquire) == 0) {
    const std::unique_ptr<Waiting> done = std::move(waiting_.front());
    waiting_.pop_front();
    done->then();
  }
}

void WorkerPool::arm() {
  ready_.async_wait(boost::asio::posix::stream_descriptor::wait_read,
                    [this, alive = std::weak_ptr<Alive>(alive_)](
                        const boost::system::error_code& error) { on_ready(alive, error); });
}

void WorkerPool::on_ready(const std::weak_ptr<Alive>& alive,
                          const boost::system::error_code& error) {
  if (alive.expired() || error) return;
  std::uint64_t count = 0;
  static_cast<void>(::read(ready_.native_handle(), &count, sizeof(count)) == 0);
  for (const auto& worker : workers_) worker->take_reports(reports_);
  for (const WorkerReport& report : reports_) {
    if (report.kind == WorkerReport::Kind::kPassed) {
      tell_who_waits(alive);
    } else if (report.kind == WorkerReport::Kind::kBroken) {
      on_failed_(report.xen_error);
    } else {
      on_report_(report);
    }
    if (alive.expired()) return;
  }
  reports_.clear();
  arm();
}

}  // namespace vmsg
