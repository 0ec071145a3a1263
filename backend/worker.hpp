// A worker: one thread that serves some queues, for any number of guests, and shares nothing.
//
// It owns its event-channel handle, its two grant-copy batches and its io_uring. The control thread
// talks to it through a mailbox and gets reports back through an outbox; both are used when queues
// come and go or have no event channel of their own, never per request. The turn that moves data is
// described in devices/queue_service.hpp.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "backend/poll_policy.hpp"
#include "backend/served_queue.hpp"
#include "backend/snapshot.hpp"
#include "backend/worker_counters.hpp"
#include "devices/file_descriptor.hpp"
#include "devices/io_ring.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/grant_copy.hpp"
#include "xenbus-glue/grant_map.hpp"

namespace vmsg {

/// Counts the workers that have yet to end the turn that they are in.
struct TurnBarrier {
  explicit TurnBarrier(std::uint32_t workers) : left(workers) {}
  std::atomic<std::uint32_t> left;
};

/// What a worker tells the control thread.
struct WorkerReport {
  enum class Kind : std::uint8_t {
    kUsed,      // buffers were used and the guest wants to know, and the queue has no port
    kReleased,  // nothing of the queue is in use any more
    kFault,     // the queue was stopped; `fault` says why
    kBroken,    // `xen_error`: its event-channel handle fails, so kicks do not arrive any more
    kPassed,    // a barrier: this worker was the last that had to end a turn
  };
  Kind kind = Kind::kUsed;
  ServedQueue* queue = nullptr;
  ServiceStop fault{};
  xen::XenError xen_error{};
};

struct WorkerError {
  const char* what = "";
  int error = 0;  // errno
};

class Worker {
 public:
  /// `outbox_ready` is an eventfd that is signalled when reports wait; it outlives the worker.
  static Result<std::unique_ptr<Worker>, WorkerError> create(unsigned number, int outbox_ready,
                                                             const PollPolicy::Options& polling);

  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;
  /// Joins the thread. All queues must have been released.
  ~Worker();

  void start();

  /// In place of start(), for a program of one thread: what the worker's thread does from one wait
  /// to the next, without waiting. Whether it would go on at once.
  bool run_once();

  // What the control thread may ask for. Only bind_port() waits, for at most one turn.

  void adopt(ServedQueue& queue);
  void serve(ServedQueue& queue);
  void stop(ServedQueue& queue);
  void remove(ServedQueue& queue);
  void kick(ServedQueue& queue);

  /// Gives an adopted queue an event channel of its own, in place of one that it has.
  Result<void, xen::XenError> bind_port(ServedQueue& queue, xen::RemotePort remote);
  void unbind_port(ServedQueue& queue);

  /// Counts the barrier down between two turns: what a turn that has begun may have found in a
  /// table that is read without a lock is not used by this worker any more then.
  void pass(TurnBarrier& barrier);

  /// Moves the waiting reports to the end of `reports`.
  void take_reports(std::vector<WorkerReport>& reports);

  /// On the worker's own thread: the queue gets a turn.
  void make_ready(ServedQueue& queue);

  [[nodiscard]] std::size_t load() const { return load_.load(std::memory_order_relaxed); }
  [[nodiscard]] unsigned number() const { return number_; }
  [[nodiscard]] WorkerSnapshot snapshot() const;
  IoRing& io() { return *io_; }

 private:
  /// A bind on its way: the caller waits for `done`, so it lives on the caller's stack.
  struct Binding {
    xen::RemotePort remote{};
    Result<void, xen::XenError> result;
    std::binary_semaphore done{0};
  };

  struct Order {
    enum class Kind : std::uint8_t { kServe, kStop, kRemove, kKick, kBind, kUnbind, kPass, kQuit };
    Kind kind = Kind::kKick;
    ServedQueue* queue = nullptr;
    Binding* binding = nullptr;
    TurnBarrier* barrier = nullptr;
  };

  class WakeUp;  // a multishot poll on one descriptor

  Worker(unsigned number, int outbox_ready, const PollPolicy::Options& polling,
         FileDescriptor mailbox_ready, xen::EventChannels events, xen::GrantMapper mapper,
         std::unique_ptr<IoRing> io);

  void run();
  void go_round();
  void wait();
  /// False when there is work, so that no time is to be spent waiting.
  [[nodiscard]] bool prepare_to_sleep();
  [[nodiscard]] bool has_work() const;
  /// Looks for work for as long as that seems worth it; true when there is some.
  bool look_on();
  /// Whether some guest that was busy lately may go on any moment. While all of them wait for a
  /// disk sleeping is the better way to wait: the disk wakes us as soon as it would wake anybody.
  [[nodiscard]] bool is_a_guest_next() const;
  /// Queues with new chains become ready. Those that had none for a while cool down.
  void look_at_hot_queues(Nanoseconds now);
  /// From now on the guest notifies of new chains.
  void cool_down(ServedQueue& queue);
  void cool_all_down();
  void read_mailbox();
  void obey(const Order& order);
  void obey_bind(ServedQueue& queue, Binding& binding);
  void read_events();
  void turn();
  void wake_timed(Nanoseconds now);
  void take_all(Nanoseconds now);
  /// When a queue wants a turn although nothing happens: its service, or its guest may go on then.
  [[nodiscard]] static std::optional<Nanoseconds> wanted_at(const ServedQueue& queue);
  /// How many chains may be taken; notes it when the guest has to wait.
  static std::size_t room_in(ServedQueue& queue, Nanoseconds now);
  void pay(ServedQueue& queue, std::span<const Chain> chains) const;
  void finish_queue(ServedQueue& queue, Nanoseconds now);
  void release_leaving();
  void fail(ServedQueue& queue, const ServiceStop& fault);
  void notify(ServedQueue& queue);
  void report(const WorkerReport& report);
  void publish_counters();
  void post(const Order& order);
  void set_port(ServedQueue& queue, xen::Port port);
  /// The queue's port, of which an event was taken, may have another one.
  void listen_again(ServedQueue& queue);

  const unsigned number_;
  const int outbox_ready_;
  FileDescriptor mailbox_ready_;

  std::mutex mailbox_mutex_;
  std::vector<Order> mailbox_;
  std::mutex outbox_mutex_;
  std::vector<WorkerReport> outbox_;
  std::atomic<std::size_t> load_{0};
  WorkerCounters counters_;

  // Teardown is bottom up, after the destructor joined the thread: the batches use the mapper, and
  // all ports are closed before their handle.
  xen::EventChannels events_;
  xen::GrantMapper mapper_;
  std::unique_ptr<IoRing> io_;
  xen::GrantCopyBatch fetch_;
  xen::GrantCopyBatch give_;
  std::unique_ptr<WakeUp> mailbox_wake_;
  std::unique_ptr<WakeUp> events_wake_;

  std::vector<Order> orders_;          // the mailbox's other half, swapped
  std::vector<ServedQueue*> leaving_;  // those to give back once nothing of them is in use
  std::vector<ServedQueue*> ready_;    // those with something to do
  std::vector<ServedQueue*> this_turn_;
  std::vector<ServedQueue*> hot_;      // had work lately, and are asked for no notification
  std::vector<ServedQueue*> timed_;    // those that want a turn at some time
  std::vector<ServedQueue*> by_port_;  // index: local port
  PollPolicy polling_;
  const Nanoseconds hot_for_;
  Nanoseconds turn_at_ = 0;
  bool has_more_events_ = false;
  bool is_broken_ = false;  // kBroken was reported
  bool quit_ = false;

  std::thread thread_;
};

}  // namespace vmsg
