// The driver side of a virtqueue, split or packed, for vmsg-guest and for tests: makes buffers
// available in areas of its own memory and collects what the device used.
//
// The device is not trusted either: what has to be remembered about a buffer is kept in private
// memory, and ids and lengths that a device publishes are checked against it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "transport/chain.hpp"
#include "transport/device_queue.hpp"
#include "transport/grant_address.hpp"
#include "transport/queue_error.hpp"
#include "transport/queue_layout.hpp"
#include "transport/result.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg {

struct DriverQueueOptions {
  QueueFormat format = QueueFormat::kSplit;
  std::uint32_t size = 0;
  QueueAreas areas;  // of area_sizes() bytes each; create() clears them
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
};

/// Memory for one indirect table: 16 bytes a segment. The caller's until the buffer comes back.
struct IndirectTable {
  GrantAddress address;
  SharedBytes bytes;
};

struct UsedBuffer {
  std::uint64_t cookie = 0;
  std::uint32_t written = 0;

  friend bool operator==(const UsedBuffer&, const UsedBuffer&) = default;
};

enum class AddOutcome : std::uint8_t {
  kAdded,
  kFull,     // not enough free descriptors now
  kRefused,  // never possible: no segment at all, more than the queue or the table holds, an
             // indirect table without the feature
};

/// Not thread-safe. Nothing is allocated after create().
class DriverQueue {
 public:
  [[nodiscard]] static Result<std::unique_ptr<DriverQueue>, QueueError> create(
      const DriverQueueOptions& options);

  DriverQueue() = default;
  DriverQueue(const DriverQueue&) = delete;
  DriverQueue& operator=(const DriverQueue&) = delete;
  virtual ~DriverQueue() = default;

  /// Queues one buffer; the device sees it at the next publish(). `cookie` comes back with it.
  [[nodiscard]] virtual AddOutcome add(std::span<const Segment> readable,
                                       std::span<const Segment> writable, std::uint64_t cookie,
                                       const IndirectTable* table = nullptr) = 0;

  /// Makes everything added available in one go; true when the device wants to be notified.
  [[nodiscard]] virtual bool publish() = 0;

  /// The next used buffer, if there is one. After an error the queue is not usable.
  [[nodiscard]] virtual Result<std::optional<UsedBuffer>, QueueError> poll_used() = 0;

  virtual void disable_callbacks() = 0;
  /// Asks for a notification at the next used buffer, then looks once more: true when there is one.
  [[nodiscard]] virtual bool enable_callbacks() = 0;

  /// The next_offset of EVENT_AVAIL with VIRTIO_F_NOTIFICATION_DATA, for what was published.
  [[nodiscard]] virtual std::uint32_t notification_data() const = 0;

  [[nodiscard]] virtual std::uint32_t free_descriptors() const = 0;
  /// Buffers added and not yet collected.
  [[nodiscard]] virtual std::uint32_t outstanding() const = 0;
};

}  // namespace vmsg
