// One queue service with a driver on the other side, turned by hand: what a worker does in a turn,
// step by step, with fake guest memory.
#pragma once

#include <memory>
#include <optional>
#include <utility>

#include "devices/queue_service.hpp"
#include "tests/support/queue_pair.hpp"

namespace vmsg::test {

/// Counts how often a service asked for a turn.
class CountingWaker final : public QueueWaker {
 public:
  void wake() override { ++count; }
  int count = 0;
};

class ServiceBench {
 public:
  explicit ServiceBench(const RingOptions& ring = {}) : queues(ring) {}
  ~ServiceBench() { abandon(); }
  ServiceBench(const ServiceBench&) = delete;
  ServiceBench& operator=(const ServiceBench&) = delete;

  void serve(std::unique_ptr<QueueService> service) { service_ = std::move(service); }

  /// Takes what is available, as far as the service has room.
  void take(Nanoseconds now = 0) {
    auto chains = queues.take(service_->room());
    service_->take(*chains, kGuest, queues.fetch, now);
    queues.fetch.run();
  }
  std::optional<ServiceFault> start(Nanoseconds now = 0) { return service_->start(now); }
  /// Copies out, completes and publishes what is finished.
  std::optional<ServiceFault> finish(Nanoseconds now = 0) {
    service_->deliver(kGuest, queues.store);
    queues.store.run();
    const auto fault = service_->retire(queues.device, now);
    static_cast<void>(queues.device.publish());
    return fault;
  }
  /// A whole turn; the first fault ends it.
  std::optional<ServiceFault> turn(Nanoseconds now = 0) {
    take(now);
    if (const auto fault = start(now)) return fault;
    return finish(now);
  }
  void abandon() {
    if (service_ == nullptr) return;
    queues.device.abandon();
    service_->abandon();
    service_.reset();
  }

  QueueService& service() { return *service_; }

  QueuePair queues;
  CountingWaker waker;

 private:
  static constexpr GuestRef kGuest{};
  std::unique_ptr<QueueService> service_;
};

}  // namespace vmsg::test
