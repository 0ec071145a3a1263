// The host side of a virtio disk: something that reads, writes and flushes ranges of bytes without
// blocking. raw_disk, null_disk and nbd_disk implement it; nothing here knows virtio.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include "devices/device_counters.hpp"
#include "devices/io_ring.hpp"
#include "transport/result.hpp"

namespace vmsg::blk {

enum class Operation : std::uint8_t {
  kRead,
  kWrite,
  kFlush,
  kDiscard,
  kWriteZeroes,
  kSecureErase,
  // A disk never sees the rest: the virtio side answers it.
  kGetId,
  kUnknown,
};
inline constexpr std::size_t kOperations = 8;

/// What a disk is asked to do.
struct DiskIo {
  Operation operation = Operation::kRead;
  std::uint64_t offset = 0;  // bytes, multiples of the logical block size
  std::uint64_t length = 0;
  std::span<std::byte> data;  // of a read or write: `length` bytes, aligned to a page
  bool is_durable = false;    // on the medium before it is finished (no write cache)
  bool may_unmap = false;     // of kWriteZeroes: the space may be given back
};

/// Limits of one of the operations that deallocate; 0 bytes: the disk cannot do it.
struct RangeLimits {
  std::uint64_t max_bytes = 0;
  std::uint32_t alignment = 512;
};

/// What is known about a disk once it is open, and stays as it is.
struct DiskTraits {
  std::uint32_t logical_block = 512;
  std::uint32_t physical_block = 512;
  std::uint32_t optimal_io = 0;  // bytes, 0 for unknown
  bool is_read_only = false;
  bool may_use_several_queues = true;  // a flush on one covers what was finished on all
  RangeLimits discard;
  RangeLimits write_zeroes;
  RangeLimits secure_erase;
};

/// Whom a DiskQueue tells about what is finished; on the worker's thread.
class DiskQueueOwner {
 public:
  DiskQueueOwner() = default;
  DiskQueueOwner(const DiskQueueOwner&) = delete;
  DiskQueueOwner& operator=(const DiskQueueOwner&) = delete;
  virtual ~DiskQueueOwner() = default;

  /// The operation of this slot has ended; `error` is 0 or an errno value. May come from within
  /// submit().
  virtual void finished(std::uint32_t slot, int error) = 0;
  /// Something that could not go on can now: the queue wants carry_on() to be called in a turn.
  virtual void wants_turn() = 0;
};

/// One worker's way to a disk. An operation is known by a slot number that the owner chose; there
/// is at most one a slot at a time. Nothing is allocated after it was made.
class DiskQueue {
 public:
  DiskQueue() = default;
  DiskQueue(const DiskQueue&) = delete;
  DiskQueue& operator=(const DiskQueue&) = delete;
  /// Nothing is in flight.
  virtual ~DiskQueue() = default;

  /// Starts an operation. False when it cannot be started now: try again after wants_turn(), or on
  /// a later turn.
  [[nodiscard]] virtual bool submit(std::uint32_t slot, const DiskIo& io) = 0;

  /// Once a turn, before anything is submitted.
  virtual void carry_on() {}

  /// The queue is going away: what waits for something that may never come ends now with an error.
  /// On the worker's thread; nothing is submitted after it.
  virtual void abandon() {}

  /// Whether the kernel still has something of this queue's, beside the operations of slots.
  [[nodiscard]] virtual bool is_idle() const { return true; }
};

/// What the service of a queue gives to its disk. All of it outlives the DiskQueue.
struct DiskQueueContext {
  IoRing& io;
  DiskQueueOwner& owner;
  std::uint32_t slots;
  std::span<std::byte> memory;  // where the data of all operations is
};

/// Control thread only. Outlives its queues.
class Disk {
 public:
  Disk() = default;
  Disk(const Disk&) = delete;
  Disk& operator=(const Disk&) = delete;
  virtual ~Disk() = default;

  [[nodiscard]] virtual const DiskTraits& traits() const = 0;

  /// Bytes, a multiple of the logical block. Any thread.
  [[nodiscard]] virtual std::uint64_t size() const = 0;

  /// Who is told when size() has changed; called on any thread. Before the first queue is opened.
  void on_resize(std::function<void()> handler) { resized_ = std::move(handler); }

  [[nodiscard]] virtual std::unique_ptr<DiskQueue> open_queue(const DiskQueueContext& context) = 0;

  /// Looks at the size again, or begins to. The error says in words why that is not possible.
  [[nodiscard]] virtual Result<void, std::string> refresh() {
    return std::unexpected(std::string("the size of this target does not change"));
  }

  virtual void report(CounterSink& sink) const { static_cast<void>(sink); }

 protected:
  void resized() const {
    if (resized_) resized_();
  }

 private:
  std::function<void()> resized_;
};

}  // namespace vmsg::blk
