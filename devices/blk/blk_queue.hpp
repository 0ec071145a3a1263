// Serves one queue of a virtio disk: takes requests apart, moves their data through a pool of
// bounded size, and hands the work to a DiskQueue.
//
// The life of a request, one slot each:
//
//     take()    its header is asked for, and the data of a write if the pool has room
//     start()   the header is judged; the disk gets the work
//     deliver() what was read, and the status, go to the guest
//     retire()  the chain is completed, slot and memory are free again
//
// A request that is larger than what the pool gives to one goes round several times. What waits for
// memory, for the ring or for a rate limit keeps its place; meanwhile nothing more is taken from
// the guest.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "devices/blk/blk_request.hpp"
#include "devices/blk/data_pool.hpp"
#include "devices/blk/disk.hpp"
#include "devices/blk/throttle.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::blk {

using BlkCounters = std::array<OperationCounters, kOperations>;

/// What the control thread may change while queues are served.
struct LiveState {
  std::atomic<std::uint64_t> capacity{0};  // sectors
  std::atomic<bool> is_writeback{false};
};

/// What a queue is made with. What is referred to outlives it.
struct BlkQueueOptions {
  RequestRules rules;  // its capacity is not used: LiveState has it
  const LiveState& live;
  std::array<std::byte, wire::kIdBytes> serial{};
  Throttle* throttle = nullptr;  // null for no limit; of this worker
  std::uint32_t slots = 0;
  std::uint64_t memory = 0;
};

class BlkQueue final : public QueueService, private DiskQueueOwner {
 public:
  /// Null when there is no memory.
  static std::unique_ptr<BlkQueue> create(const BlkQueueOptions& options, Disk& disk, IoRing& io,
                                          QueueWaker& waker, BlkCounters& counters);
  ~BlkQueue() override;

  std::size_t room() const override;
  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds now) override;
  std::optional<ServiceFault> start(Nanoseconds now) override;
  void deliver(const GuestRef& guest, CopyBatch& give) override;
  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override;
  bool has_work_in_flight() const override;
  bool waits_for_storage() const override { return at_disk_ != 0; }
  void abandon() override;
  std::optional<Nanoseconds> wants_turn_at() const override { return wake_at_; }

 private:
  using SlotNumber = std::uint32_t;
  using SlotList = std::vector<SlotNumber>;  // never grows past the number of slots

  struct Slot {
    Chain chain;
    Nanoseconds taken_at = 0;
    wire::RequestHeader header;
    CopyOutcome outcome = CopyOutcome::kOk;
    Status status = Status::kOk;
    std::byte status_byte{};
    bool is_parsed = false;
    bool is_admitted = false;  // by the rate limit
    Request request;
    std::span<std::byte> memory;  // of the pool, empty for none
    std::uint32_t done = 0;       // bytes of the request's data that are finished
    std::uint32_t piece = 0;      // bytes of it that are being worked on
    std::uint32_t delivered = 0;  // bytes at the beginning of the writable part
    std::array<std::byte, wire::kIdBytes> id{};
  };

  BlkQueue(const BlkQueueOptions& options, QueueWaker& waker, BlkCounters& counters);

  // DiskQueueOwner
  void finished(std::uint32_t slot, int error) override;
  void wants_turn() override;

  void take_one(Chain&& chain, const GuestRef& guest, CopyBatch& fetch, Nanoseconds now);
  void serve_waiting(const GuestRef& guest, CopyBatch& fetch);
  bool find_memory(Slot& slot, std::uint32_t bytes);
  void fetch_piece(Slot& slot, const GuestRef& guest, CopyBatch& fetch);
  void begin(SlotNumber number);
  void go_on(SlotNumber number);
  bool submit(SlotNumber number);
  bool submit_range(SlotNumber number);
  bool hand_over(SlotNumber number, const DiskIo& io);
  void answer(SlotNumber number, Status status);
  void free(SlotNumber number);
  void wake();

  const BlkQueueOptions options_;
  QueueWaker& waker_;
  BlkCounters& counters_;
  DataPool pool_;
  const std::uint32_t max_piece_;
  RequestRules rules_;  // as of this turn
  Nanoseconds now_ = 0;
  std::optional<Nanoseconds> wake_at_;  // a rate limit stands in the way until then
  bool is_writeback_ = false;           // as of this turn
  bool is_in_turn_ = false;  // between take() and deliver(): finished work needs no wake-up
  bool is_malformed_ = false;
  bool is_abandoned_ = false;

  std::vector<Slot> slots_;
  SlotList free_;
  SlotList memory_waiters_;  // hold no memory, oldest first
  SlotList refetch_;         // have the memory for the next piece of their data
  SlotList fetched_;         // header or data were asked for in this turn
  SlotList to_submit_;       // have all they need, oldest first
  SlotList done_;            // the disk has done its part
  std::size_t at_disk_ = 0;

  std::unique_ptr<DiskQueue> disk_;  // last: it names slots of this
};

}  // namespace vmsg::blk
