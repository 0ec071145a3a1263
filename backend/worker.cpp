#include "backend/worker.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <utility>

namespace vmsg {
namespace {

// Bounded work: what one queue may have done in one turn before the others have theirs.
constexpr std::size_t kChainsPerTurn = 64;
constexpr std::size_t kEventsPerTurn = 256;
constexpr std::size_t kCompletionsPerTurn = 512;
constexpr unsigned kRingEntries = 256;

Nanoseconds now_ns() {
  return static_cast<Nanoseconds>(std::chrono::duration_cast<std::chrono::nanoseconds>(
                                      std::chrono::steady_clock::now().time_since_epoch())
                                      .count());
}

void signal_eventfd(int fd) {
  const std::uint64_t one = 1;
  // It can only fail when the counter is full, and then the reader is awake anyway.
  static_cast<void>(::write(fd, &one, sizeof(one)) == 0);
}

void clear_eventfd(int fd) {
  std::uint64_t count = 0;
  static_cast<void>(::read(fd, &count, sizeof(count)) == 0);
}

/// Tells the processor that this thread is only looking.
void relax_processor() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

/// Keeps one descriptor polled on the worker's io_uring.
class Worker::WakeUp final : public IoCompletion {
 public:
  WakeUp(IoRing& io, int fd) : io_(io), fd_(fd) { arm(); }

  void on_complete(std::int32_t, bool is_last) override {
    was_woken_ = true;
    if (is_last) is_armed_ = false;
  }

  [[nodiscard]] bool is_pending() const { return was_woken_; }

  /// Whether something happened since the last call.
  bool take() { return std::exchange(was_woken_, false); }

  /// A multishot poll ends when the kernel cannot report; it is put back before the next wait.
  void arm() {
    if (is_armed_) return;
    io_uring_sqe* entry = io_.prepare(*this);
    if (entry == nullptr) return;
    io_uring_prep_poll_multishot(entry, fd_, POLLIN);
    is_armed_ = true;
  }

 private:
  IoRing& io_;
  int fd_;
  bool is_armed_ = false;
  bool was_woken_ = false;
};

Result<std::unique_ptr<Worker>, WorkerError> Worker::create(unsigned number, int outbox_ready,
                                                            const PollPolicy::Options& polling) {
  FileDescriptor mailbox_ready(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!mailbox_ready.is_open()) return std::unexpected(WorkerError{"eventfd", errno});

  auto events = xen::EventChannels::open();
  if (!events) return std::unexpected(WorkerError{"event channels", events.error().error});
  auto mapper = xen::GrantMapper::open();
  if (!mapper) return std::unexpected(WorkerError{"grants", mapper.error().error});
  auto io = IoRing::create(kRingEntries);
  if (!io) return std::unexpected(WorkerError{"io_uring", io.error()});

  return std::unique_ptr<Worker>(new Worker(number, outbox_ready, polling, std::move(mailbox_ready),
                                            std::move(*events), std::move(*mapper),
                                            std::move(*io)));
}

Worker::Worker(unsigned number, int outbox_ready, const PollPolicy::Options& polling,
               FileDescriptor mailbox_ready, xen::EventChannels events, xen::GrantMapper mapper,
               std::unique_ptr<IoRing> io)
    : number_(number),
      outbox_ready_(outbox_ready),
      mailbox_ready_(std::move(mailbox_ready)),
      events_(std::move(events)),
      mapper_(std::move(mapper)),
      io_(std::move(io)),
      fetch_(mapper_, CopyDirection::kFromGuest),
      give_(mapper_, CopyDirection::kToGuest),
      mailbox_wake_(std::make_unique<WakeUp>(*io_, mailbox_ready_.get())),
      events_wake_(std::make_unique<WakeUp>(*io_, events_.fd())),
      polling_(polling),
      hot_for_(polling.window_ns) {}

Worker::~Worker() {
  if (thread_.joinable()) {
    post({.kind = Order::Kind::kQuit});
    thread_.join();
  }
  VMSG_INVARIANT(load() == 0);
}

void ServedQueue::wake() { worker->make_ready(*this); }

void Worker::start() { thread_ = std::thread(&Worker::run, this); }

// ---- the control thread's side ------------------------------------------------------------------

void Worker::adopt(ServedQueue& queue) {
  queue.worker = this;
  load_.fetch_add(1, std::memory_order_relaxed);
}

void Worker::serve(ServedQueue& queue) { post({.kind = Order::Kind::kServe, .queue = &queue}); }

void Worker::stop(ServedQueue& queue) { post({.kind = Order::Kind::kStop, .queue = &queue}); }

void Worker::remove(ServedQueue& queue) { post({.kind = Order::Kind::kRemove, .queue = &queue}); }

void Worker::kick(ServedQueue& queue) {
  // ORDER: pairs with the exchange in obey(): either this sees the flag still set and the worker
  // has yet to look at the ring, or the worker is told again.
  if (queue.kicked.exchange(true, std::memory_order_acq_rel)) return;
  post({.kind = Order::Kind::kKick, .queue = &queue});
}

Result<void, xen::XenError> Worker::bind_port(ServedQueue& queue, xen::RemotePort remote) {
  Binding binding{.remote = remote, .result = {}};
  post({.kind = Order::Kind::kBind, .queue = &queue, .binding = &binding});
  if (!thread_.joinable()) read_mailbox();  // there is nobody else who would
  binding.done.acquire();
  return binding.result;
}

void Worker::unbind_port(ServedQueue& queue) {
  post({.kind = Order::Kind::kUnbind, .queue = &queue});
}

void Worker::pass(TurnBarrier& barrier) { post({.kind = Order::Kind::kPass, .barrier = &barrier}); }

void Worker::take_reports(std::vector<WorkerReport>& reports) {
  const std::lock_guard lock(outbox_mutex_);
  reports.insert(reports.end(), outbox_.begin(), outbox_.end());
  outbox_.clear();
}

WorkerSnapshot Worker::snapshot() const {
  return {.number = number_,
          .queues = load(),
          .turns = counters_.turns.load(std::memory_order_relaxed),
          .from_guests = counters_.from_guests.snapshot(),
          .to_guests = counters_.to_guests.snapshot()};
}

void Worker::post(const Order& order) {
  {
    const std::lock_guard lock(mailbox_mutex_);
    mailbox_.push_back(order);
  }
  signal_eventfd(mailbox_ready_.get());
}

// ---- the worker's thread ------------------------------------------------------------------------

void Worker::run() {
  while (!quit_) {
    wait();
    go_round();
  }
}

bool Worker::run_once() {
  static_cast<void>(prepare_to_sleep());
  io_->submit_and_wait(0);
  go_round();
  return has_work();
}

void Worker::go_round() {
  io_->reap(kCompletionsPerTurn);
  if (mailbox_wake_->take()) read_mailbox();
  if (events_wake_->take() || has_more_events_) read_events();
  turn();
  release_leaving();
  publish_counters();
}

void Worker::publish_counters() {
  counters_.turns.store(counters_.turns.load(std::memory_order_relaxed) + 1,
                        std::memory_order_relaxed);
  counters_.from_guests.publish(fetch_.metrics());
  counters_.to_guests.publish(give_.metrics());
}

bool Worker::has_work() const {
  // A turn reaps completions too, so a wake-up may have been heard and not acted on yet.
  return !ready_.empty() || has_more_events_ || mailbox_wake_->is_pending() ||
         events_wake_->is_pending();
}

bool Worker::prepare_to_sleep() {
  mailbox_wake_->arm();
  events_wake_->arm();
  if (has_work() || look_on()) return false;
  cool_all_down();
  return !has_work();
}

void Worker::wait() {
  if (!prepare_to_sleep()) return io_->submit_and_wait(0);

  std::optional<Nanoseconds> earliest;
  for (const ServedQueue* queue : timed_) {
    const auto at = wanted_at(*queue);
    if (at && (!earliest || *at < *earliest)) earliest = at;
  }
  if (!earliest) return io_->submit_and_wait(std::nullopt);
  const Nanoseconds now = now_ns();
  io_->submit_and_wait(*earliest > now ? *earliest - now : 0);
}

// ---- looking instead of sleeping ----------------------------------------------------------------

bool Worker::look_on() {
  // Armed polls must be with the kernel before anything is expected of them.
  io_->submit_and_wait(0);
  if (!is_a_guest_next()) return false;
  for (Nanoseconds now = now_ns(); polling_.may_look_on(now); now = now_ns()) {
    look_at_hot_queues(now);
    if (!ready_.empty() || io_->has_completions()) return true;
    // Somebody has asked for a turn at a certain time, which only wait() knows how to keep.
    if (!timed_.empty()) return false;
    relax_processor();
  }
  return false;
}

bool Worker::is_a_guest_next() const {
  return std::ranges::any_of(hot_, [](const ServedQueue* queue) {
    return !queue->is_stopped && !queue->service->waits_for_storage();
  });
}

void Worker::look_at_hot_queues(Nanoseconds now) {
  for (std::size_t i = 0; i < hot_.size();) {
    ServedQueue& queue = *hot_[i];
    if (queue.is_stopped || queue.is_leaving || queue.is_ready) {
      queue.is_hot = false;
    } else if (queue.queue->has_available()) {
      queue.is_hot = false;
      make_ready(queue);
    } else if (now - queue.last_work_at >= hot_for_) {
      queue.is_hot = false;
      cool_down(queue);
    } else {
      ++i;
      continue;
    }
    hot_[i] = hot_.back();
    hot_.pop_back();
  }
}

void Worker::cool_down(ServedQueue& queue) {
  if (queue.queue->enable_notifications()) return make_ready(queue);
  listen_again(queue);
}

void Worker::cool_all_down() {
  for (ServedQueue* queue : hot_) {
    queue->is_hot = false;
    if (!queue->is_stopped && !queue->is_leaving && !queue->is_ready) cool_down(*queue);
  }
  hot_.clear();
}

// ---- orders and events --------------------------------------------------------------------------

void Worker::read_mailbox() {
  clear_eventfd(mailbox_ready_.get());
  {
    const std::lock_guard lock(mailbox_mutex_);
    orders_.swap(mailbox_);
  }
  for (const Order& order : orders_) obey(order);
  orders_.clear();
}

void Worker::obey(const Order& order) {
  switch (order.kind) {
    case Order::Kind::kQuit:
      quit_ = true;
      return;
    case Order::Kind::kServe:
      order.queue->is_served = true;
      return make_ready(*order.queue);
    case Order::Kind::kStop:
      order.queue->is_stopped = true;
      return;
    case Order::Kind::kRemove:
      order.queue->is_leaving = true;
      leaving_.push_back(order.queue);
      order.queue->queue->abandon();
      order.queue->service->abandon();
      return;
    case Order::Kind::kKick:
      // ORDER: cleared before the ring is looked at; pairs with kick().
      order.queue->kicked.exchange(false, std::memory_order_acq_rel);
      order.queue->counters.kicks.fetch_add(1, std::memory_order_relaxed);
      return make_ready(*order.queue);
    case Order::Kind::kBind:
      return obey_bind(*order.queue, *order.binding);
    case Order::Kind::kUnbind:
      return set_port(*order.queue, {});
    case Order::Kind::kPass:
      // ORDER: what this worker did in its turns comes before what the last one's report allows.
      if (order.barrier->left.fetch_sub(1, std::memory_order_acq_rel) == 1) {
        report({.kind = WorkerReport::Kind::kPassed});
      }
      return;
  }
}

void Worker::obey_bind(ServedQueue& queue, Binding& binding) {
  set_port(queue, {});
  auto port = events_.bind_interdomain(queue.guest.domain, binding.remote);
  if (port) {
    set_port(queue, std::move(*port));
    // Kicks that came by the other way before count too.
    make_ready(queue);
  } else {
    binding.result = std::unexpected(port.error());
  }
  binding.done.release();
}

void Worker::read_events() {
  has_more_events_ = false;
  for (std::size_t i = 0; i < kEventsPerTurn; ++i) {
    // Always to the end: the kernel wakes nobody for an event that joins others which were not
    // read, and a port that was closed leaves its own behind.
    const auto pending = events_.next_pending();
    if (!pending) {
      // The control thread ends the daemon: queues of this worker would hang in silence.
      if (!std::exchange(is_broken_, true)) {
        report({.kind = WorkerReport::Kind::kBroken, .xen_error = pending.error()});
      }
      return;
    }
    if (!*pending) return;
    const auto number = static_cast<std::size_t>(**pending);
    ServedQueue* queue = number < by_port_.size() ? by_port_[number] : nullptr;
    if (queue == nullptr) continue;  // closed meanwhile
    queue->counters.kicks.fetch_add(1, std::memory_order_relaxed);
    queue->needs_unmask = true;
    make_ready(*queue);
  }
  // The poll tells of new events only, so what is left must be remembered.
  has_more_events_ = true;
}

void Worker::set_port(ServedQueue& queue, xen::Port port) {
  if (queue.port.is_open()) {
    by_port_[static_cast<std::size_t>(queue.port.local())] = nullptr;
  }
  queue.port = std::move(port);
  queue.needs_unmask = false;
  if (!queue.port.is_open()) return;
  const auto number = static_cast<std::size_t>(queue.port.local());
  if (by_port_.size() <= number) by_port_.resize(number + 1);
  by_port_[number] = &queue;
}

void Worker::listen_again(ServedQueue& queue) {
  // A port stays masked until its queue is drained, so a storm of kicks costs one event a turn.
  if (!std::exchange(queue.needs_unmask, false)) return;
  static_cast<void>(queue.port.unmask());
}

void Worker::make_ready(ServedQueue& queue) {
  // What is not served yet is looked at when it is; what is stopped or leaving, never again.
  if (queue.is_ready || !queue.is_served) return;
  queue.is_ready = true;
  ready_.push_back(&queue);
}

void Worker::turn() {
  const Nanoseconds now = now_ns();
  turn_at_ = now;
  wake_timed(now);
  look_at_hot_queues(now);
  if (ready_.empty()) return;
  polling_.found_work(now);
  this_turn_.swap(ready_);
  ready_.clear();
  std::erase_if(this_turn_, [](ServedQueue* queue) {
    queue->is_ready = false;
    return queue->is_stopped || queue->is_leaving;
  });

  take_all(now);

  for (ServedQueue* queue : this_turn_) {
    if (queue->is_stopped) continue;
    if (const auto fault = queue->service->start(now)) {
      fail(*queue, {.kind = ServiceStop::Kind::kService, .service = *fault});
    }
  }
  // What was just prepared is submitted at once, and what is done already need not wait a turn.
  io_->submit_and_wait(0);
  io_->reap(kCompletionsPerTurn);

  for (ServedQueue* queue : this_turn_) {
    if (!queue->is_stopped) queue->service->deliver(queue->guest, give_);
  }
  give_.run();
  const Nanoseconds done_at = now_ns();
  for (ServedQueue* queue : this_turn_) finish_queue(*queue, done_at);
  this_turn_.clear();
}

void Worker::wake_timed(Nanoseconds now) {
  std::erase_if(timed_, [this, now](ServedQueue* queue) {
    const auto at = wanted_at(*queue);
    if (at && *at > now) return false;
    queue->is_timed = false;
    if (at) make_ready(*queue);
    return true;
  });
}

std::optional<Nanoseconds> Worker::wanted_at(const ServedQueue& queue) {
  const auto at = queue.service->wants_turn_at();
  if (queue.paused_until == 0) return at;
  return at ? std::min(*at, queue.paused_until) : queue.paused_until;
}

std::size_t Worker::room_in(ServedQueue& queue, Nanoseconds now) {
  const Nanoseconds free_at = queue.budget->free_at(now);
  queue.paused_until = free_at > now ? free_at : 0;
  if (queue.paused_until != 0) return 0;
  return std::min(queue.service->room(), kChainsPerTurn);
}

void Worker::pay(ServedQueue& queue, std::span<const Chain> chains) const {
  std::uint64_t bytes = 0;
  for (const Chain& chain : chains) bytes += chain.readable_length();
  queue.budget->spend(chains.size(), bytes, turn_at_);
}

void Worker::take_all(Nanoseconds now) {
  for (ServedQueue* queue : this_turn_) {
    queue->counters.turns.fetch_add(1, std::memory_order_relaxed);
    queue->queue->disable_notifications();
    const std::size_t room = room_in(*queue, now);
    const auto taken = queue->queue->take_heads(fetch_, queue->guest, room);
    if (!taken) {
      fail(*queue, {.kind = ServiceStop::Kind::kRing, .ring = taken.error()});
      continue;
    }
    queue->wants_more = room > 0 && *taken == room;
  }
  fetch_.run();  // indirect tables

  for (ServedQueue* queue : this_turn_) {
    if (queue->is_stopped) continue;
    const auto chains = queue->queue->finish_take();
    if (!chains) {
      fail(*queue, {.kind = ServiceStop::Kind::kRing, .ring = chains.error()});
      continue;
    }
    queue->counters.chains.fetch_add(chains->size(), std::memory_order_relaxed);
    pay(*queue, *chains);
    queue->service->take(*chains, queue->guest, fetch_, now);
  }
  fetch_.run();  // headers and data
}

void Worker::finish_queue(ServedQueue& queue, Nanoseconds now) {
  if (queue.is_stopped) return;
  const auto fault = queue.service->retire(*queue.queue, now);
  const std::uint64_t written = queue.queue->written() - queue.paid_for;
  queue.paid_for += written;
  queue.budget->spend(0, written, turn_at_);
  // Also what was finished before a fault is the guest's to see.
  if (queue.queue->publish()) {
    notify(queue);
  } else {
    queue.counters.suppressed.fetch_add(1, std::memory_order_relaxed);
  }
  if (fault) return fail(queue, {.kind = ServiceStop::Kind::kService, .service = *fault});

  if (!queue.is_timed && wanted_at(queue)) {
    queue.is_timed = true;
    timed_.push_back(&queue);
  }
  if (queue.wants_more) return make_ready(queue);
  // Without room for another chain the service wakes the queue when something is finished; a
  // notification would only be noise until then.
  if (queue.service->room() == 0 || !queue.queue->has_room() || queue.paused_until != 0) return;
  // It asks for notifications when it has been looked at in vain for a while.
  queue.last_work_at = turn_at_;
  if (!std::exchange(queue.is_hot, true)) hot_.push_back(&queue);
}

void Worker::notify(ServedQueue& queue) {
  queue.counters.notifications.fetch_add(1, std::memory_order_relaxed);
  if (queue.port.is_open()) {
    // A peer that is gone is no error here: its bus is closed by the control thread.
    static_cast<void>(queue.port.notify());
    return;
  }
  // ORDER: pairs with the control thread clearing the flag before it sends EVENT_USED.
  if (queue.used_reported.exchange(true, std::memory_order_acq_rel)) return;
  report({.kind = WorkerReport::Kind::kUsed, .queue = &queue, .fault = {}});
}

void Worker::fail(ServedQueue& queue, const ServiceStop& fault) {
  queue.is_stopped = true;
  report({.kind = WorkerReport::Kind::kFault, .queue = &queue, .fault = fault});
}

void Worker::release_leaving() {
  for (std::size_t i = 0; i < leaving_.size();) {
    ServedQueue& queue = *leaving_[i];
    if (queue.service->has_work_in_flight()) {
      ++i;
      continue;
    }
    set_port(queue, {});
    std::erase(ready_, &queue);
    std::erase(hot_, &queue);
    std::erase(timed_, &queue);
    leaving_[i] = leaving_.back();
    leaving_.pop_back();
    load_.fetch_sub(1, std::memory_order_relaxed);
    report({.kind = WorkerReport::Kind::kReleased, .queue = &queue, .fault = {}});
  }
}

void Worker::report(const WorkerReport& report) {
  {
    const std::lock_guard lock(outbox_mutex_);
    outbox_.push_back(report);
  }
  signal_eventfd(outbox_ready_);
}

}  // namespace vmsg
