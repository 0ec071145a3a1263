// The device side of a virtqueue, split or packed: takes chains out of memory that the driver can
// change at any moment, and gives them back. It knows no device, no notification mechanism and no
// hypervisor; copies of indirect tables are made by the caller's batch.
//
// One turn of the caller, for all its queues:
//
//   queue.take_heads(fetch, guest, budget)   heads and direct descriptors; asks for the tables
//   fetch.run()                              one call for the tables of all queues
//   queue.finish_take()                      the chains, as values
//   ...
//   queue.complete(std::move(chain), written)
//   if (queue.publish()) notify the driver
//
// Before it waits: `if (queue.enable_notifications())` there is more to take.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "transport/chain.hpp"
#include "transport/chain_builder.hpp"
#include "transport/chain_pool.hpp"
#include "transport/guest_memory.hpp"
#include "transport/queue_areas.hpp"
#include "transport/queue_error.hpp"
#include "transport/queue_layout.hpp"
#include "transport/result.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg {

struct QueueOptions {
  QueueFormat format = QueueFormat::kSplit;
  std::uint32_t size = 0;
  QueueAreas areas;
  bool event_idx = false;
  bool indirect = false;
  bool in_order = false;
  /// Descriptors a chain may have, tables included: what the device advertised (seg_max + 2). A
  /// chain that is longer is an error. At most kMaxQueueSize; the queue size is a sensible value.
  std::uint32_t max_chain_segments = 128;
  /// Chains taken and not yet published; more stay in the ring. At most `size`, 0 for `size`.
  std::uint32_t max_in_flight = 0;
};

/// Not thread-safe: a queue belongs to one worker. Nothing is allocated after create(): per chain
/// in flight 16 bytes a segment and about 100 more, plus 64 KiB or one table for indirect tables.
///
/// An error means that the driver broke the rules and its device needs a reset. The queue then
/// repeats that error on every take; chains that were taken before stay valid and can still be
/// completed and published.
class DeviceQueue {
 public:
  [[nodiscard]] static Result<std::unique_ptr<DeviceQueue>, QueueError> create(
      const QueueOptions& options);

  DeviceQueue(const DeviceQueue&) = delete;
  DeviceQueue& operator=(const DeviceQueue&) = delete;
  /// All chains are gone (outstanding() == 0) and no fetch that names this queue is pending.
  virtual ~DeviceQueue();

  /// Reads up to `max` available chains and adds one copy for each indirect table to `fetch`.
  /// Returns how many finish_take() will deliver; fewer than there are when max_in_flight or the
  /// table storage is used up. The chains of the turn before must have been moved out. On an error
  /// copies may have been added already: run the batch before the queue goes.
  [[nodiscard]] Result<std::size_t, QueueError> take_heads(CopyBatch& fetch, const GuestRef& guest,
                                                           std::size_t max);

  /// After fetch.run(): the chains, in the order of the ring. The span is valid until the next
  /// take_heads(); move each chain out of it. On an error the chains of this turn are gone.
  [[nodiscard]] Result<std::span<Chain>, QueueError> finish_take();

  /// `written` bytes of the writable segments were written, from their beginning; at most
  /// chain.writable_length(). The driver sees it at the next publish(). Its buffers must not be
  /// touched any more.
  void complete(Chain&& chain, std::uint32_t written);

  /// Bytes that completed chains have had written, since create().
  [[nodiscard]] std::uint64_t written() const { return written_; }

  /// Publishes everything completed since the last call, in one go, and decides once whether the
  /// driver wants to be notified. With in_order, a chain waits here for those before it.
  [[nodiscard]] bool publish();

  /// A hint to the driver that it need not notify. Notifications may still come.
  void disable_notifications();

  /// Asks for a notification at the next available chain, then looks once more: true when there
  /// is something to take already, which the caller must do (or do when chains were published, if
  /// max_in_flight is reached).
  [[nodiscard]] bool enable_notifications();

  /// Whether there is something to take, from one look at the ring: for looking again and again.
  [[nodiscard]] bool has_available() const { return !error_ && look_for_next(); }

  /// Chains taken and not yet published.
  [[nodiscard]] std::size_t in_flight() const { return in_flight_; }
  /// Chain values that exist, also after abandon().
  [[nodiscard]] std::size_t outstanding() const { return pool_.outstanding(); }
  /// Whether take_heads() could take anything: false at max_in_flight.
  [[nodiscard]] bool has_room() const { return in_flight_ < max_in_flight_; }
  [[nodiscard]] std::uint32_t size() const { return size_; }

  /// For a reset: nothing is taken or published any more, the areas are not touched any more, and
  /// chains may be dropped or completed without effect.
  void abandon();

 protected:
  explicit DeviceQueue(const QueueOptions& options);

  // What the two formats do, once per batch.

  /// Reads up to `max` chains (there is room for them) by means of the calls below.
  virtual std::optional<QueueError> read_heads(std::size_t max) = 0;
  /// Adds the descriptors of a table, which is a private copy and not empty.
  virtual std::optional<QueueError> read_table(ChainBuilder& chain,
                                               std::span<const std::uint64_t> words) = 0;
  /// Writes the used entries of `done` (not empty) and says whether to notify.
  virtual bool write_used(std::span<ChainRecord* const> done) = 0;
  virtual void suppress_notifications() = 0;
  [[nodiscard]] virtual bool look_for_next() const = 0;
  /// Asks for one and looks once more.
  virtual bool ask_for_notification() = 0;

  // For read_heads().

  /// Room for one more chain and the longest table that it may have.
  [[nodiscard]] bool can_begin() const {
    return pool_.free() != 0 && table_words_.size() - table_words_used_ >= max_table_words_;
  }
  [[nodiscard]] ChainBuilder begin_chain() { return {pool_.acquire(), pool_.max_segments()}; }
  /// The chain goes on in a table. Checks what the descriptor says about it and asks for the copy.
  [[nodiscard]] std::optional<QueueError> want_table(const ChainBuilder& chain,
                                                     const Descriptor& descriptor);
  /// Ends a chain of `descriptors` entries of the ring, known as `head`.
  [[nodiscard]] std::optional<QueueError> end_chain(ChainBuilder& chain, std::uint32_t head,
                                                    std::uint32_t descriptors);

  // NOLINTBEGIN(cppcoreguidelines-non-private-member-variables-in-classes): the formats' own.
  QueueAreas areas_;
  std::uint32_t size_;
  bool event_idx_;
  bool indirect_;
  bool in_order_;
  // NOLINTEND(cppcoreguidelines-non-private-member-variables-in-classes)

 private:
  /// A table whose copy was asked for in this turn.
  struct PendingTable {
    ChainBuilder chain;
    std::size_t first_word;
    std::size_t words;
  };

  [[nodiscard]] QueueError fail(QueueError error);
  void drop_turn();

  ChainPool pool_;  // before everything that holds chains
  std::uint32_t max_in_flight_;
  std::vector<std::uint8_t> is_head_busy_;  // by head or buffer id
  std::uint32_t ring_entries_busy_ = 0;

  // The turn between take_heads() and the next one.
  std::vector<Chain> turn_;
  std::vector<PendingTable> tables_;
  std::vector<CopyOutcome> table_outcomes_;
  std::vector<std::uint64_t> table_words_;
  std::size_t table_words_used_ = 0;
  std::size_t max_table_words_ = 0;
  CopyBatch* fetch_ = nullptr;  // only inside take_heads()
  GuestRef guest_;

  std::vector<ChainRecord*> done_;   // completed, to be published
  std::vector<ChainRecord*> order_;  // in_order: a ring of the chains in flight, oldest first
  std::size_t order_first_ = 0;
  std::size_t order_count_ = 0;

  std::size_t in_flight_ = 0;
  std::uint64_t written_ = 0;
  std::optional<QueueError> error_;
};

}  // namespace vmsg
