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
#include <vector>

#include "transport/chain.hpp"
#include "transport/grant_address.hpp"
#include "transport/queue_areas.hpp"
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

  DriverQueue(const DriverQueue&) = delete;
  DriverQueue& operator=(const DriverQueue&) = delete;
  virtual ~DriverQueue() = default;

  /// Queues one buffer; the device sees it at the next publish(). `cookie` comes back with it.
  [[nodiscard]] AddOutcome add(std::span<const Segment> readable, std::span<const Segment> writable,
                               std::uint64_t cookie, const IndirectTable* table = nullptr);

  /// Makes everything added available in one go; true when the device wants to be notified.
  [[nodiscard]] virtual bool publish() = 0;

  /// The next used buffer, if there is one. After an error the queue repeats that error.
  [[nodiscard]] Result<std::optional<UsedBuffer>, QueueError> poll_used();

  virtual void disable_callbacks() = 0;
  /// Asks for a notification at the next used buffer, then looks once more: true when there is one.
  [[nodiscard]] bool enable_callbacks() {
    const bool has_more = ask_for_callback();
    return has_more || batch_.has_value();
  }

  /// The next_offset of EVENT_AVAIL with VIRTIO_F_NOTIFICATION_DATA, for what was published.
  [[nodiscard]] virtual std::uint32_t notification_data() const = 0;

  [[nodiscard]] std::uint32_t free_descriptors() const { return free_; }
  /// Buffers added and not yet collected.
  [[nodiscard]] std::uint32_t outstanding() const { return outstanding_; }
  [[nodiscard]] std::uint32_t size() const { return size_; }

 protected:
  /// What is remembered about a buffer, by its id: the head (split) or a number of ours (packed).
  struct Buffer {
    std::uint64_t cookie = 0;
    std::uint32_t writable_length = 0;
    std::uint64_t sequence = 0;     // counts the buffers that were ever added
    std::uint16_t descriptors = 0;  // of the ring: one for an indirect table
    bool is_out = false;
  };

  /// A used entry as the device wrote it, and how many buffers it can stand for.
  struct UsedEntry {
    std::uint32_t id;
    std::uint32_t written;
    std::uint32_t max_buffers;
  };

  explicit DriverQueue(const DriverQueueOptions& options);

  // What the two formats do.

  /// Writes `descriptors` entries of the ring and returns the buffer's id. They are free.
  virtual std::uint16_t write_buffer(std::span<const Segment> readable,
                                     std::span<const Segment> writable,
                                     const IndirectTable* table) = 0;
  /// The entry at the ring's next used position, if there is one. Does not move on.
  virtual Result<std::optional<UsedEntry>, QueueError> peek_used() = 0;
  /// The buffer with this id came back: frees its descriptors and moves on by one entry.
  virtual void collect(std::uint16_t id, const Buffer& buffer) = 0;
  /// Asks for one and looks once more at the ring.
  virtual bool ask_for_callback() = 0;

  // NOLINTBEGIN(cppcoreguidelines-non-private-member-variables-in-classes): the formats' own.
  QueueAreas areas_;
  std::uint32_t size_;
  bool event_idx_;
  bool indirect_;
  bool in_order_;
  // NOLINTEND(cppcoreguidelines-non-private-member-variables-in-classes)

 private:
  /// An in-order device may write one entry for several buffers, naming the last of them.
  [[nodiscard]] Result<std::optional<UsedBuffer>, QueueError> take_entry(const UsedEntry& entry);

  std::vector<Buffer> buffers_;       // by id
  std::vector<std::uint16_t> order_;  // in_order: ids by sequence, modulo size
  std::uint64_t first_sequence_ = 0;  // in_order: of the oldest buffer outstanding
  std::uint64_t next_sequence_ = 0;
  std::uint32_t free_;
  std::uint32_t outstanding_ = 0;
  std::optional<UsedEntry> batch_;  // in_order: read already, with buffers before it to return
  std::optional<QueueError> error_;
};

}  // namespace vmsg
