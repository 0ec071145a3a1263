// What a device does with the buffers of one of its queues.
//
// A QueueService lives on one worker thread, beside the queue that it serves, and works in batches.
// One turn of the worker, for all its queues together:
//
//     take()     chains were made available: say which bytes of theirs are needed
//                (one copy from the guests, for all queues)
//     start()    those bytes are here: check them, hand the work to the host
//                (one submission to the host; completions collected)
//     deliver()  work is finished: say which bytes go to the guest
//                (one copy to the guests, for all queues)
//     retire()   those bytes are there: complete the chains
//                (one publication and at most one notification a queue)
//
// No service blocks, sees a mapping, a grant or a message, or allocates after it was made. Nothing
// of a guest's is held between turns but the right to copy, so nothing can outlive a completion.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/device_counters.hpp"
#include "devices/io_ring.hpp"
#include "transport/chain.hpp"
#include "transport/device.hpp"
#include "transport/device_queue.hpp"
#include "transport/guest_memory.hpp"

namespace vmsg {

/// Why a queue cannot go on: the guest broke a rule of the device or its memory is not there.
enum class ServiceFault : std::uint8_t {
  kNotGranted,  // a buffer could not be copied
  kBadRequest,  // a chain has a shape that the device type does not allow
};

/// How a service asks for a turn when work that the host did for it is finished. On the worker's
/// thread, any number of times; costs nothing.
class QueueWaker {
 public:
  QueueWaker() = default;
  QueueWaker(const QueueWaker&) = delete;
  QueueWaker& operator=(const QueueWaker&) = delete;
  virtual ~QueueWaker() = default;

  virtual void wake() = 0;
};

/// What a service is made with. `io` and `waker` outlive it.
struct QueueContext {
  const QueueSetup& setup;
  IoRing& io;
  QueueWaker& waker;
};

/// A moment of the worker's monotonic clock, in nanoseconds. Services never read a clock.
using Nanoseconds = std::uint64_t;

class QueueService {
 public:
  QueueService() = default;
  QueueService(const QueueService&) = delete;
  QueueService& operator=(const QueueService&) = delete;
  virtual ~QueueService() = default;

  /// How many more chains it can hold; the worker takes no more from the ring. 0 pauses the queue.
  [[nodiscard]] virtual std::size_t room() const = 0;

  /// Takes over all of `chains` (at most room() many).
  virtual void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
                    Nanoseconds now) = 0;

  [[nodiscard]] virtual std::optional<ServiceFault> start(Nanoseconds now) = 0;
  virtual void deliver(const GuestRef& guest, CopyBatch& give) = 0;
  /// `now` is later than start()'s: the host and the copies have taken their time.
  [[nodiscard]] virtual std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) = 0;

  /// Host work that is still under way. A queue is given back only when there is none.
  [[nodiscard]] virtual bool has_work_in_flight() const = 0;

  /// Whether the host is at work for it that takes longer than sleeping and being woken (a disk),
  /// so that the guest's next move comes after that: looking for it meanwhile is time for nothing,
  /// and may be time that the host's own work needs.
  [[nodiscard]] virtual bool waits_for_storage() const { return false; }

  /// The queue is going away and was abandoned itself: start no more, cancel what can be cancelled,
  /// drop the chains. What is under way still ends; its results go nowhere.
  virtual void abandon() = 0;

  /// When it wants a turn although nothing happens (a rate limit that refills).
  [[nodiscard]] virtual std::optional<Nanoseconds> wants_turn_at() const { return std::nullopt; }
};

/// What a worker sets up for a queue before it is served.
struct QueueLimits {
  std::uint32_t max_chain_segments = 8;
  std::uint32_t max_in_flight = 64;
};

/// Whom a device tells what happens to it. Any thread may call, at any time in the device's life.
class DeviceHost {
 public:
  DeviceHost() = default;
  DeviceHost(const DeviceHost&) = delete;
  DeviceHost& operator=(const DeviceHost&) = delete;
  virtual ~DeviceHost() = default;

  /// Bytes of the configuration space changed by themselves: the driver is to be told.
  virtual void config_changed() = 0;
};

/// Facts about a device that its administrator needs, such as the path of a terminal.
using PublishedFacts = std::vector<std::pair<std::string, std::string>>;

/// A device that brings the services of its queues. Unless said otherwise, members are called on
/// the control thread. Making and destroying one may block for a while, its other members may not.
class ServedDevice : public Device {
 public:
  /// Before the device is put on a bus. `host` outlives it.
  void set_host(DeviceHost& host) { host_ = &host; }

  /// The toolstack says that what stands behind the device has changed (a disk has grown): look at
  /// it again. The error says in words why nothing was changed.
  [[nodiscard]] virtual Result<void, std::string> refresh() {
    return std::unexpected(std::string("this type of device has nothing that could be resized"));
  }

  /// After tell_config_changed(), right before the driver is told: the bytes that read_config()
  /// shows change here, so that they change together with the generation that says so.
  virtual void update_config() {}

  [[nodiscard]] virtual PublishedFacts published() const { return {}; }

  virtual void report(CounterSink& sink) const { static_cast<void>(sink); }

  /// Queues of the same group are served by the same worker, so their services may share state
  /// without any lock.
  [[nodiscard]] virtual std::uint32_t queue_group(std::uint32_t index) const { return index; }

  [[nodiscard]] virtual QueueLimits queue_limits(std::uint32_t index) const = 0;

  /// Called on the control thread after FEATURES_OK; the service moves to a worker then. Null when
  /// a limit does not allow it.
  [[nodiscard]] virtual std::unique_ptr<QueueService> open_queue(const QueueContext& context) = 0;

 protected:
  /// On any thread. A device that is on no bus tells nobody.
  void tell_config_changed() const {
    if (host_ != nullptr) host_->config_changed();
  }

 private:
  DeviceHost* host_ = nullptr;
};

}  // namespace vmsg
