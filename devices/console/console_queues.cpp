#include "devices/console/console_queues.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "devices/console/console_wire.hpp"

namespace vmsg::console {
namespace {

// What one queue may copy in one turn before the others have theirs.
constexpr std::size_t kBytesPerTurn = std::size_t{256} << 10;

/// What the services have in common: a share in the hub from the first turn to the end.
class ConsoleQueue : public QueueService {
 public:
  bool has_work_in_flight() const override { return hub_.is_draining(); }

 protected:
  explicit ConsoleQueue(const QueueContext& context, ConsoleHub& hub)
      : hub_(hub), io_(context.io), waker_(context.waker) {}

  /// In every turn: the service is made on the control thread, which may not touch the hub. True in
  /// the first one.
  bool join() {
    if (std::exchange(has_joined_, true)) return false;
    hub_.join(io_);
    return true;
  }
  void leave() {
    if (std::exchange(has_joined_, false)) hub_.leave();
  }

  [[nodiscard]] ConsoleHub& hub() const { return hub_; }
  [[nodiscard]] QueueWaker& waker() const { return waker_; }

 private:
  ConsoleHub& hub_;
  IoRing& io_;
  QueueWaker& waker_;
  bool has_joined_ = false;
};

// ---- transmitq ----------------------------------------------------------------------------------

/// The guest's output: copied into the port's buffer as room comes, and completed then.
class TransmitQueue final : public ConsoleQueue {
 public:
  TransmitQueue(const QueueContext& context, ConsoleHub& hub, ConsoleCounters& counters)
      : ConsoleQueue(context, hub),
        counters_(counters.transmit),
        number_(wire::port_of_queue(context.setup.index)),
        port_(hub.port(number_)) {
    waiting_.reserve(kMaxInFlight);
  }

  std::size_t room() const override { return kMaxInFlight - waiting_.size(); }

  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds now) override {
    if (join()) port_.set_transmit_waker(&waker());
    for (Chain& chain : chains) {
      waiting_.push_back(Request{.chain = std::move(chain), .taken_at = now});
    }
    std::size_t planned = 0;
    for (Request& request : waiting_) {
      if (!plan(request, planned, guest, fetch)) break;
    }
  }

  std::optional<ServiceFault> start(Nanoseconds now) override {
    for (Request& request : waiting_) {
      if (request.chain.writable_length() != 0) return ServiceFault::kBadRequest;
      if (request.planned == 0) continue;
      if (request.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
      port_.output().commit(request.planned);
      request.copied += std::exchange(request.planned, 0);
    }
    const auto open =
        std::ranges::find_if(waiting_, [](const Request& request) { return request.left() != 0; });
    done_ = static_cast<std::size_t>(open - waiting_.begin());

    if (done_ != 0) hub().heard_from(number_);
    hub().pump(number_, now);
    if (open != waiting_.end()) {
      port_.note_waiting(now);
      // Otherwise the end of a write makes room, and wakes us.
      if (port_.has_room()) waker().wake();
    }
    return std::nullopt;
  }

  void deliver(const GuestRef&, CopyBatch&) override {}

  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override {
    for (Request& request : std::span(waiting_).first(done_)) {
      counters_.operations.add();
      counters_.bytes.add(request.chain.readable_length());
      counters_.latency.add(now - request.taken_at);
      queue.complete(std::move(request.chain), 0);
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(done_));
    done_ = 0;
    return std::nullopt;
  }

  void abandon() override {
    port_.set_transmit_waker(nullptr);
    waiting_.clear();
    done_ = 0;
    leave();
  }

  std::optional<Nanoseconds> wants_turn_at() const override { return port_.wants_turn_at(); }

 private:
  struct Request {
    Chain chain;
    Nanoseconds taken_at = 0;
    std::uint32_t copied = 0;   // bytes that are in the port's buffer, or were dropped
    std::uint32_t planned = 0;  // bytes whose copy this turn makes
    CopyOutcome outcome = CopyOutcome::kOk;

    [[nodiscard]] std::uint32_t left() const { return chain.readable_length() - copied; }
  };

  /// Asks for as many bytes as there is room for. False when this is the last one for now.
  bool plan(Request& request, std::size_t& planned, const GuestRef& guest, CopyBatch& fetch) {
    const std::size_t capacity = port_.output().capacity();
    if (!port_.takes_output() && request.left() > capacity) {
      // Only its end would be kept.
      const auto skipped = static_cast<std::uint32_t>(request.left() - capacity);
      port_.count_dropped(skipped);
      request.copied += skipped;
    }
    const std::size_t wanted = std::min<std::size_t>(request.left(), kBytesPerTurn - planned);
    const std::size_t room = port_.make_room(planned, wanted);
    std::uint32_t offset = request.copied;
    request.outcome = CopyOutcome::kOk;
    for (const std::span<std::byte> part : port_.output().reserve(planned, room)) {
      if (part.empty()) continue;
      add_copies(fetch, guest, request.chain.readable(), offset, part, request.outcome);
      offset += static_cast<std::uint32_t>(part.size());
    }
    request.planned = static_cast<std::uint32_t>(room);
    planned += room;
    return room == request.left();
  }

  OperationCounters& counters_;
  const std::size_t number_;
  ConsolePort& port_;
  std::vector<Request> waiting_;  // in the order of the guest; never grows past kMaxInFlight
  std::size_t done_ = 0;          // the first of them, copied whole
};

// ---- receiveq -----------------------------------------------------------------------------------

/// The guest's input: what the port has read goes into the first buffers, each completed with what
/// there is.
class ReceiveQueue final : public ConsoleQueue {
 public:
  ReceiveQueue(const QueueContext& context, ConsoleHub& hub, ConsoleCounters& counters)
      : ConsoleQueue(context, hub),
        counters_(counters.receive),
        number_(wire::port_of_queue(context.setup.index)),
        port_(hub.port(number_)) {
    waiting_.reserve(kMaxInFlight);
  }

  std::size_t room() const override { return kMaxInFlight - waiting_.size(); }

  void take(std::span<Chain> chains, const GuestRef&, CopyBatch&, Nanoseconds) override {
    if (join()) port_.set_receive_waker(&waker());
    for (Chain& chain : chains) waiting_.push_back(Request{.chain = std::move(chain)});
  }

  std::optional<ServiceFault> start(Nanoseconds now) override {
    std::size_t wanted = 0;
    for (const Request& request : waiting_) {
      if (request.chain.writable_length() == 0 || request.chain.readable_length() != 0) {
        return ServiceFault::kBadRequest;
      }
      wanted += request.chain.writable_length();
    }
    port_.set_wanted(hub().wants_input(number_) ? wanted : 0);
    hub().pump(number_, now);
    return std::nullopt;
  }

  void deliver(const GuestRef& guest, CopyBatch& give) override {
    auto input = port_.input();
    if (input.empty() || !hub().wants_input(number_)) return;
    for (Request& request : waiting_) {
      if (input.empty()) return;
      const std::size_t share =
          std::min<std::size_t>(request.chain.writable_length(), input.size());
      add_copies(give, guest, request.chain.writable(), 0, input.first(share), request.outcome);
      request.written = static_cast<std::uint32_t>(share);
      input = input.subspan(share);
      ++ready_;
    }
  }

  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds) override {
    if (ready_ == 0) return std::nullopt;
    for (Request& request : std::span(waiting_).first(ready_)) {
      if (request.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
      port_.consume_input(request.written);
      counters_.operations.add();
      counters_.bytes.add(request.written);
      queue.complete(std::move(request.chain), request.written);
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(ready_));
    ready_ = 0;
    // There may be more where this came from.
    if (!waiting_.empty()) waker().wake();
    return std::nullopt;
  }

  void abandon() override {
    port_.set_receive_waker(nullptr);
    port_.set_wanted(0);
    waiting_.clear();
    ready_ = 0;
    leave();
  }

  std::optional<Nanoseconds> wants_turn_at() const override { return port_.wants_turn_at(); }

 private:
  struct Request {
    Chain chain;
    std::uint32_t written = 0;
    CopyOutcome outcome = CopyOutcome::kOk;
  };

  OperationCounters& counters_;
  const std::size_t number_;
  ConsolePort& port_;
  std::vector<Request> waiting_;  // never grows past kMaxInFlight
  std::size_t ready_ = 0;         // the first of them that get bytes in this turn
};

// ---- control queues -----------------------------------------------------------------------------

/// Control messages of the driver: small, and all of them are taken at once.
class ControlTransmitQueue final : public ConsoleQueue {
 public:
  ControlTransmitQueue(const QueueContext& context, ConsoleHub& hub, ConsoleCounters& counters)
      : ConsoleQueue(context, hub), counters_(counters) {
    waiting_.reserve(kMaxInFlight);
  }

  std::size_t room() const override { return kMaxInFlight - waiting_.size(); }

  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds) override {
    join();
    for (Chain& chain : chains) {
      Request& request = waiting_.emplace_back();
      request.chain = std::move(chain);
      // What follows the fixed part is not defined by any version of the specification.
      if (request.is_whole()) {
        add_copies(fetch, guest, request.chain.readable(), 0, request.bytes, request.outcome);
      }
    }
  }

  std::optional<ServiceFault> start(Nanoseconds) override {
    for (const Request& request : waiting_) {
      if (request.chain.writable_length() != 0) return ServiceFault::kBadRequest;
      if (request.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
      if (!request.is_whole()) {
        counters_.bad_controls.add();
        continue;
      }
      wire::Control control;
      std::memcpy(&control, request.bytes.data(), sizeof(control));
      hub().take_control(control);
    }
    return std::nullopt;
  }

  void deliver(const GuestRef&, CopyBatch&) override {}

  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds) override {
    for (Request& request : waiting_) queue.complete(std::move(request.chain), 0);
    waiting_.clear();
    return std::nullopt;
  }

  void abandon() override {
    waiting_.clear();
    leave();
  }

 private:
  struct Request {
    Chain chain;
    std::array<std::byte, sizeof(wire::Control)> bytes{};
    CopyOutcome outcome = CopyOutcome::kOk;

    [[nodiscard]] bool is_whole() const { return chain.readable_length() >= bytes.size(); }
  };

  ConsoleCounters& counters_;
  std::vector<Request> waiting_;  // never grows past kMaxInFlight
};

/// Control messages for the driver, made when there is a buffer for them.
class ControlReceiveQueue final : public ConsoleQueue {
 public:
  ControlReceiveQueue(const QueueContext& context, ConsoleHub& hub) : ConsoleQueue(context, hub) {
    waiting_.reserve(kMaxInFlight);
  }

  std::size_t room() const override { return kMaxInFlight - waiting_.size(); }

  void take(std::span<Chain> chains, const GuestRef&, CopyBatch&, Nanoseconds) override {
    if (join()) hub().set_control_waker(&waker());
    for (Chain& chain : chains) waiting_.emplace_back().chain = std::move(chain);
  }

  std::optional<ServiceFault> start(Nanoseconds) override {
    ready_ = 0;
    for (Request& request : waiting_) {
      if (request.chain.readable_length() != 0) return ServiceFault::kBadRequest;
      if (!hub().next_message(request.message)) return std::nullopt;
      // A driver that makes room for less than it has to understand cannot be helped.
      if (request.chain.writable_length() < request.message.size) return ServiceFault::kBadRequest;
      ++ready_;
    }
    return std::nullopt;
  }

  void deliver(const GuestRef& guest, CopyBatch& give) override {
    for (Request& request : std::span(waiting_).first(ready_)) {
      add_copies(give, guest, request.chain.writable(), 0,
                 std::span(request.message.bytes).first(request.message.size), request.outcome);
    }
  }

  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds) override {
    for (Request& request : std::span(waiting_).first(ready_)) {
      if (request.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
      queue.complete(std::move(request.chain), static_cast<std::uint32_t>(request.message.size));
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(ready_));
    ready_ = 0;
    return std::nullopt;
  }

  void abandon() override {
    hub().set_control_waker(nullptr);
    waiting_.clear();
    ready_ = 0;
    leave();
  }

 private:
  struct Request {
    Chain chain;
    ControlMessage message;
    CopyOutcome outcome = CopyOutcome::kOk;
  };

  std::vector<Request> waiting_;  // never grows past kMaxInFlight
  std::size_t ready_ = 0;         // the first of them that get a message in this turn
};

}  // namespace

std::unique_ptr<QueueService> open_queue(const QueueContext& context, ConsoleHub& hub,
                                         ConsoleCounters& counters) {
  const std::uint32_t index = context.setup.index;
  if (index == wire::kControlReceiveQueue) {
    return std::make_unique<ControlReceiveQueue>(context, hub);
  }
  if (index == wire::kControlTransmitQueue) {
    return std::make_unique<ControlTransmitQueue>(context, hub, counters);
  }
  if (wire::is_receive_queue(index)) {
    return std::make_unique<ReceiveQueue>(context, hub, counters);
  }
  return std::make_unique<TransmitQueue>(context, hub, counters);
}

}  // namespace vmsg::console
