// The workers of the daemon and the way of their reports back to the control thread's loop.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "backend/worker.hpp"

namespace vmsg {

class WorkerPool {
 public:
  using ReportHandler = std::function<void(const WorkerReport&)>;
  using FailureHandler = std::function<void(const xen::XenError&)>;

  /// Makes `count` workers, without their threads. `on_report` runs on the loop and hears of single
  /// queues.
  static Result<std::unique_ptr<WorkerPool>, WorkerError> create(boost::asio::io_context& context,
                                                                 unsigned count,
                                                                 const PollPolicy::Options& polling,
                                                                 ReportHandler on_report);
  enum class Threads : std::uint8_t { kOwn, kNone };
  /// Starts the threads, if the workers are to have their own: else run_once() does their work.
  /// `on_failed` hears that a worker cannot go on, through no fault of a guest.
  void start(FailureHandler on_failed, Threads threads = Threads::kOwn);
  /// Worker::run_once() of all; whether one of them would go on at once.
  bool run_once();

  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();

  /// The worker that serves the fewest queues.
  [[nodiscard]] Worker& least_loaded();

  /// Calls `then` on the loop when every worker has ended the turn that it may be in now, in the
  /// order of the calls. When the pool is destroyed before that, `then` is destroyed without being
  /// called; no worker runs then.
  void after_all_turns(std::move_only_function<void()> then);

  [[nodiscard]] std::size_t size() const { return workers_.size(); }

  [[nodiscard]] std::vector<WorkerSnapshot> snapshot() const;

 private:
  struct Alive {};

  WorkerPool(boost::asio::io_context& context, FileDescriptor ready, ReportHandler on_report);
  /// Somebody who waits for the end of all turns.
  struct Waiting {
    Waiting(std::uint32_t workers, std::move_only_function<void()> what)
        : barrier(workers), then(std::move(what)) {}
    TurnBarrier barrier;
    std::move_only_function<void()> then;
  };

  void arm();
  void tell_who_waits(const std::weak_ptr<Alive>& alive);
  void on_ready(const std::weak_ptr<Alive>& alive, const boost::system::error_code& error);

  ReportHandler on_report_;
  FailureHandler on_failed_;
  std::vector<WorkerReport> reports_;
  boost::asio::posix::stream_descriptor ready_;  // the eventfd that workers signal
  // Teardown is bottom up: workers count barriers down until they are joined.
  std::deque<std::unique_ptr<Waiting>> waiting_;  // in the order of the calls
  std::vector<std::unique_ptr<Worker>> workers_;
  // No handler runs any more once the token is gone; then the workers.
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
