// One enabled queue on its way between the control thread, which maps and owns it, and the worker,
// which alone touches it in between.
//
// Life: made by the control thread; Worker::adopt() hands it over (it may have a port from then
// on); Worker::serve() starts it; Worker::remove() asks for it back; the worker's kReleased report
// says that nothing of it is in use any more. Only then may the control thread destroy it, which
// unmaps the areas.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "backend/guest_budget.hpp"
#include "devices/queue_service.hpp"
#include "transport/device_queue.hpp"
#include "transport/guest_memory.hpp"
#include "xenbus-glue/event_channels.hpp"

namespace vmsg {

class DeviceSession;
class Worker;

/// Plain numbers for whoever exports them. Written by the worker, read by the control thread.
struct QueueCounters {
  std::atomic<std::uint64_t> chains{0};
  std::atomic<std::uint64_t> turns{0};
  std::atomic<std::uint64_t> kicks{0};
  std::atomic<std::uint64_t> notifications{0};
  std::atomic<std::uint64_t> suppressed{0};  // turns after which the guest wanted no notification
};

/// Why a worker stopped a queue.
struct ServiceStop {
  enum class Kind : std::uint8_t { kRing, kService };
  Kind kind = Kind::kRing;
  QueueError ring{QueueFault::kAbandoned};
  ServiceFault service{};
};

struct ServedQueue final : QueueWaker {
  /// On the worker's thread: host work of this queue is finished.
  void wake() override;

  std::uint32_t index = 0;
  std::uint32_t size = 0;
  GuestRef guest;
  std::shared_ptr<GuestBudget> budget;
  DeviceSession* owner = nullptr;  // control thread only
  bool is_packed = false;          // control thread only
  bool has_port = false;           // control thread only: what it asked the worker for last
  Worker* worker = nullptr;        // since adopt()

  // The mappings come first: the queue and the service go before they do.
  std::array<std::unique_ptr<MappedRange>, 3> areas;
  std::unique_ptr<DeviceQueue> queue;
  std::unique_ptr<QueueService> service;

  // Set by the side that has something to tell, cleared by the side that acts on it: a second kick
  // or notification before that costs nothing.
  std::atomic<bool> kicked{false};
  std::atomic<bool> used_reported{false};

  QueueCounters counters;

  // The rest is the worker's.
  xen::Port port;  // the queue's own event channel, bound on the worker's handle; or not open
  bool needs_unmask = false;
  bool is_served = false;
  bool is_ready = false;
  bool is_timed = false;
  bool is_hot = false;  // looked at again and again instead of asking for notifications
  Nanoseconds last_work_at = 0;
  Nanoseconds paused_until = 0;  // the guest has used up its budget; 0: not paused
  std::uint64_t paid_for = 0;    // of the bytes that were written
  bool is_stopped = false;
  bool is_leaving = false;
  bool wants_more = false;
};

}  // namespace vmsg
