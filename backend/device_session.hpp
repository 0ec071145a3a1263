// The queues of one device while its bus is connected: maps them, finds them a worker, takes them
// back. It is what DeviceEndpoint calls its QueueHost; it knows no messages.
//
// Control thread only. Destroyed only when is_idle().
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "backend/limits.hpp"
#include "backend/log.hpp"
#include "backend/served_queue.hpp"
#include "backend/snapshot.hpp"
#include "backend/worker_pool.hpp"
#include "devices/queue_service.hpp"
#include "transport/device.hpp"
#include "transport/guest_memory.hpp"

namespace vmsg {

/// Whom a DeviceSession tells. Calls come from the loop, and only device_resetting() from within a
/// call to the session.
class DeviceSessionListener {
 public:
  DeviceSessionListener() = default;
  DeviceSessionListener(const DeviceSessionListener&) = delete;
  DeviceSessionListener& operator=(const DeviceSessionListener&) = delete;
  virtual ~DeviceSessionListener() = default;

  /// What release() or release_all() answered with kPending is done.
  virtual void device_released(std::uint16_t number) = 0;
  /// The guest wants to hear that buffers of a queue were used, and the queue has no port.
  virtual void device_used(std::uint16_t number, std::uint32_t queue) = 0;
  /// The guest broke a rule; the queue takes nothing any more.
  virtual void device_failed(std::uint16_t number) = 0;
  /// release_all() could not finish at once: somebody may be waiting for its end.
  virtual void device_resetting(std::uint16_t number) = 0;
};

class DeviceSession final : public QueueHost {
 public:
  struct Environment {
    DeviceSessionListener& listener;
    GuestMemory& memory;
    WorkerPool& workers;
    GuestRef guest;
    std::shared_ptr<GuestBudget> budget;
    std::uint32_t max_queues;
  };

  /// `device` and what the environment names outlive the session.
  DeviceSession(std::uint16_t number, ServedDevice& device, const Environment& environment,
                Log log);
  ~DeviceSession() override;

  bool enable(const QueueSetup& setup) override;
  void go_live() override;
  void kick(std::uint32_t index, std::uint32_t hint) override;
  void stop() override;
  Release release(std::uint32_t index) override;
  Release release_all() override;

  /// Ports of the driver side for single queues. False when it cannot be bound.
  bool bind_port(std::uint32_t index, std::uint32_t remote_port);
  void unbind_port(std::uint32_t index);

  /// A report of a worker about a queue of this session. May end the life of `report.queue`.
  void on_report(const WorkerReport& report);

  [[nodiscard]] std::vector<QueueSnapshot> snapshot() const;

  /// Whether nothing of the device is mapped or served any more.
  [[nodiscard]] bool is_idle() const { return queues_.empty() && leaving_.empty(); }

 private:
  /// Maps one area with the least rights that work.
  bool map_areas(const QueueSetup& setup, ServedQueue& queue);
  /// Queues of one group share a worker.
  Worker& worker_for(std::uint32_t index);
  void log_fault(const ServedQueue& queue, const ServiceStop& stop) const;

  const std::uint16_t number_;
  ServedDevice& device_;
  Environment environment_;
  Log log_;
  std::map<std::uint32_t, std::unique_ptr<ServedQueue>> queues_;
  // Queues on their way back from their workers, out of the way of a new set-up of the same index.
  std::vector<std::unique_ptr<ServedQueue>> leaving_;
  bool is_live_ = false;
  bool waits_for_release_ = false;
};

}  // namespace vmsg
