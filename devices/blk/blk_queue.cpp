#include "devices/blk/blk_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmsg::blk {
namespace {

// The most that one request has of the pool at a time. Large enough that longer pieces would gain
// nothing, small enough that a few large requests do not starve the others.
constexpr std::uint32_t kMaxPiece = 512U << 10;

OperationCounters& counters_of(BlkCounters& counters, Operation operation) {
  return counters[static_cast<std::size_t>(operation)];
}

std::uint32_t readable_data(const Chain& chain) {
  return chain.readable_length() - static_cast<std::uint32_t>(sizeof(wire::RequestHeader));
}

std::uint32_t max_piece_of(const DataPool& pool) {
  const std::size_t half = pool.size() / DataPool::kPageSize / 2 * DataPool::kPageSize;
  return static_cast<std::uint32_t>(std::min<std::size_t>(kMaxPiece, half));
}

/// What the status byte, the last byte, leaves.
std::uint32_t writable_data(const Chain& chain) { return chain.writable_length() - 1; }

bool is_range_operation(Operation operation) {
  return operation == Operation::kDiscard || operation == Operation::kWriteZeroes ||
         operation == Operation::kSecureErase;
}

}  // namespace

std::unique_ptr<BlkQueue> BlkQueue::create(const BlkQueueOptions& options, Disk& disk, IoRing& io,
                                           QueueWaker& waker, BlkCounters& counters) {
  std::unique_ptr<BlkQueue> queue(new BlkQueue(options, waker, counters));
  if (!queue->pool_.is_valid()) return nullptr;
  queue->disk_ = disk.open_queue(
      {.io = io, .owner = *queue, .slots = options.slots, .memory = queue->pool_.memory()});
  if (queue->disk_ == nullptr) return nullptr;
  return queue;
}

BlkQueue::BlkQueue(const BlkQueueOptions& options, QueueWaker& waker, BlkCounters& counters)
    : options_(options),
      waker_(waker),
      counters_(counters),
      pool_(options.memory),
      max_piece_(max_piece_of(pool_)),
      rules_(options.rules),
      slots_(options.slots) {
  for (SlotList* list : {&free_, &memory_waiters_, &refetch_, &fetched_, &to_submit_, &done_}) {
    list->reserve(options.slots);
  }
  for (SlotNumber number = options.slots; number > 0; --number) free_.push_back(number - 1);
}

BlkQueue::~BlkQueue() { VMSG_INVARIANT(at_disk_ == 0); }

std::size_t BlkQueue::room() const {
  // Backpressure: who came first is served first, and the ring keeps the others for nothing.
  return memory_waiters_.empty() && to_submit_.empty() ? free_.size() : 0;
}

void BlkQueue::take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
                    Nanoseconds now) {
  is_in_turn_ = true;
  serve_waiting(guest, fetch);
  for (Chain& chain : chains) take_one(std::move(chain), guest, fetch, now);
}

void BlkQueue::take_one(Chain&& chain, const GuestRef& guest, CopyBatch& fetch, Nanoseconds now) {
  const SlotNumber number = free_.back();
  free_.pop_back();
  Slot& slot = slots_[number];
  slot.chain = std::move(chain);
  slot.taken_at = now;
  slot.outcome = CopyOutcome::kOk;
  slot.status = Status::kOk;
  slot.is_parsed = false;
  slot.is_admitted = false;
  slot.done = 0;
  slot.piece = 0;
  slot.delivered = 0;
  fetched_.push_back(number);

  if (slot.chain.readable_length() < sizeof(wire::RequestHeader) ||
      slot.chain.writable_length() == 0) {
    is_malformed_ = true;  // nowhere to say so: no header, or no room for a status
    return;
  }
  add_copies(fetch, guest, slot.chain.readable(), 0,
             std::as_writable_bytes(std::span(&slot.header, 1)), slot.outcome);
  // Readable bytes behind the header are data of a write, almost always: fetched with the header,
  // the request costs one copy call. If the pool has no room now, the request waits once the header
  // has said what it is.
  const std::uint32_t bytes = std::min(readable_data(slot.chain), max_piece_);
  if (bytes != 0 && memory_waiters_.empty() && find_memory(slot, bytes)) {
    slot.piece = bytes;
    fetch_piece(slot, guest, fetch);
  }
}

/// Gives memory to those that wait for it, and asks for the data that writes bring.
void BlkQueue::serve_waiting(const GuestRef& guest, CopyBatch& fetch) {
  std::size_t served = 0;
  for (const SlotNumber number : memory_waiters_) {
    Slot& slot = slots_[number];
    const std::uint32_t bytes = std::min(slot.request.length, max_piece_);
    if (!find_memory(slot, bytes)) break;
    ++served;
    slot.piece = bytes;
    if (slot.request.operation == Operation::kRead) {
      to_submit_.push_back(number);
    } else {
      fetch_piece(slot, guest, fetch);
      fetched_.push_back(number);
    }
  }
  memory_waiters_.erase(memory_waiters_.begin(),
                        memory_waiters_.begin() + static_cast<std::ptrdiff_t>(served));

  for (const SlotNumber number : refetch_) {
    fetch_piece(slots_[number], guest, fetch);
    fetched_.push_back(number);
  }
  refetch_.clear();
}

bool BlkQueue::find_memory(Slot& slot, std::uint32_t bytes) {
  const auto memory = pool_.take(bytes);
  if (!memory) return false;
  slot.memory = *memory;
  return true;
}

void BlkQueue::fetch_piece(Slot& slot, const GuestRef& guest, CopyBatch& fetch) {
  add_copies(fetch, guest, slot.chain.readable(),
             static_cast<std::uint32_t>(sizeof(wire::RequestHeader)) + slot.done,
             slot.memory.first(slot.piece), slot.outcome);
}

std::optional<ServiceFault> BlkQueue::start(Nanoseconds now) {
  now_ = now;
  wake_at_.reset();
  rules_.capacity = options_.live.capacity.load(std::memory_order_relaxed);
  is_writeback_ = options_.live.is_writeback.load(std::memory_order_relaxed);
  if (is_malformed_) return ServiceFault::kBadRequest;

  disk_->carry_on();
  std::size_t submitted = 0;
  while (submitted < to_submit_.size() && submit(to_submit_[submitted])) ++submitted;
  to_submit_.erase(to_submit_.begin(), to_submit_.begin() + static_cast<std::ptrdiff_t>(submitted));

  for (const SlotNumber number : fetched_) {
    if (slots_[number].outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
    if (slots_[number].is_parsed) {
      go_on(number);
    } else {
      begin(number);
    }
  }
  fetched_.clear();
  if (!to_submit_.empty() && !wake_at_) wake();
  return std::nullopt;
}

/// The header of a request is here: judges it.
void BlkQueue::begin(SlotNumber number) {
  Slot& slot = slots_[number];
  slot.is_parsed = true;
  const auto request =
      parse_request(slot.header, readable_data(slot.chain), writable_data(slot.chain), rules_);
  if (!request) {
    slot.request = {.operation = operation_of(slot.header)};
    return answer(number, request.error());
  }
  slot.request = *request;
  switch (request->operation) {
    case Operation::kGetId:
      slot.id = options_.serial;
      slot.piece = request->length;
      return answer(number, Status::kOk);
    case Operation::kFlush:
      slot.piece = 0;
      return go_on(number);
    default:
      break;
  }
  if (request->operation == Operation::kRead) {
    // Readable bytes behind the header of a read mean nothing, even if nothing is read.
    if (!slot.memory.empty()) pool_.give_back(std::exchange(slot.memory, {}));
    slot.piece = std::min(request->length, max_piece_);
  }
  if (request->length == 0) return answer(number, Status::kOk);
  if (slot.memory.empty() && (!memory_waiters_.empty() || !find_memory(slot, slot.piece))) {
    memory_waiters_.push_back(number);
    return;
  }
  go_on(number);
}

/// The request has all it needs for its next step at the disk.
void BlkQueue::go_on(SlotNumber number) {
  if (to_submit_.empty() && submit(number)) return;
  to_submit_.push_back(number);
}

bool BlkQueue::submit(SlotNumber number) {
  Slot& slot = slots_[number];
  if (is_range_operation(slot.request.operation)) return submit_range(number);
  const DiskIo io{.operation = slot.request.operation,
                  .offset = slot.request.offset + slot.done,
                  .length = slot.piece,
                  .data = slot.memory.first(slot.piece),
                  .is_durable = !is_writeback_,
                  .may_unmap = false};
  return hand_over(number, io);
}

bool BlkQueue::hand_over(SlotNumber number, const DiskIo& io) {
  Slot& slot = slots_[number];
  if (options_.throttle != nullptr && !slot.is_admitted) {
    if (!options_.throttle->admit(slot.request.length, now_)) {
      wake_at_ = options_.throttle->next_at();
      return false;
    }
    slot.is_admitted = true;
  }
  // Before the call: a disk may be done within it.
  ++at_disk_;
  if (disk_->submit(number, io)) return true;
  --at_disk_;
  return false;
}

/// The next range of a request: they are done one by one.
bool BlkQueue::submit_range(SlotNumber number) {
  Slot& slot = slots_[number];
  wire::Range wire;
  std::memcpy(&wire, slot.memory.data() + slot.done, sizeof(wire));
  slot.piece = sizeof(wire);
  const auto range = parse_range(wire, slot.request.operation, rules_);
  if (!range || range->length == 0) {
    answer(number, range ? Status::kOk : range.error());
    return true;
  }
  const DiskIo io{.operation = slot.request.operation,
                  .offset = range->offset,
                  .length = range->length,
                  .data = {},
                  .is_durable = !is_writeback_,
                  .may_unmap = range->may_unmap};
  return hand_over(number, io);
}

void BlkQueue::finished(std::uint32_t number, int error) {
  --at_disk_;
  if (is_abandoned_) return free(number);
  answer(number, error == 0 ? Status::kOk : Status::kIoError);
}

/// The request, or this piece of it, is done.
void BlkQueue::answer(SlotNumber number, Status status) {
  slots_[number].status = status;
  done_.push_back(number);
  if (!is_in_turn_) wake();
}

void BlkQueue::wants_turn() { wake(); }

void BlkQueue::wake() { waker_.wake(); }

void BlkQueue::deliver(const GuestRef& guest, CopyBatch& give) {
  is_in_turn_ = false;
  for (const SlotNumber number : done_) {
    Slot& slot = slots_[number];
    const bool is_ok = slot.status == Status::kOk;
    if (is_ok && slot.request.operation == Operation::kRead && slot.piece != 0) {
      add_copies(give, guest, slot.chain.writable(), slot.done, slot.memory.first(slot.piece),
                 slot.outcome);
      slot.delivered += slot.piece;
    } else if (is_ok && slot.request.operation == Operation::kGetId) {
      add_copies(give, guest, slot.chain.writable(), 0, std::span(slot.id).first(slot.piece),
                 slot.outcome);
      slot.delivered = slot.piece;
    }
    slot.done += slot.piece;
    if (is_ok && slot.done < slot.request.length) continue;
    slot.status_byte = static_cast<std::byte>(slot.status);
    add_copies(give, guest, slot.chain.writable(), writable_data(slot.chain),
               std::span(&slot.status_byte, 1), slot.outcome);
  }
}

std::optional<ServiceFault> BlkQueue::retire(DeviceQueue& queue, Nanoseconds now) {
  std::optional<ServiceFault> fault;
  for (const SlotNumber number : done_) {
    Slot& slot = slots_[number];
    if (slot.outcome != CopyOutcome::kOk) {
      fault = ServiceFault::kNotGranted;  // the queue ends here; the others are still answered
      continue;
    }
    const Request& request = slot.request;
    if (slot.status == Status::kOk && slot.done < request.length) {
      // The next piece.
      if (request.operation == Operation::kWrite) {
        slot.piece = std::min(request.length - slot.done, max_piece_);
        refetch_.push_back(number);
      } else {
        if (request.operation == Operation::kRead) {
          slot.piece = std::min(request.length - slot.done, max_piece_);
        }
        to_submit_.push_back(number);
      }
      wake();
      continue;
    }
    OperationCounters& counters = counters_of(counters_, request.operation);
    counters.operations.add();
    if (slot.status == Status::kOk) {
      counters.bytes.add(request.length);
    } else {
      counters.errors.add();
    }
    counters.latency.add(now - slot.taken_at);
    // "Written" counts from the beginning: a status behind data that is not there does not.
    const bool is_whole = slot.delivered == writable_data(slot.chain);
    queue.complete(std::move(slot.chain), is_whole ? slot.delivered + 1 : slot.delivered);
    free(number);
  }
  done_.clear();
  if (!memory_waiters_.empty()) wake();
  return fault;
}

void BlkQueue::free(SlotNumber number) {
  Slot& slot = slots_[number];
  if (!slot.memory.empty()) pool_.give_back(std::exchange(slot.memory, {}));
  free_.push_back(number);
}

bool BlkQueue::has_work_in_flight() const { return at_disk_ != 0 || !disk_->is_idle(); }

void BlkQueue::abandon() {
  is_abandoned_ = true;
  wake_at_.reset();
  for (Slot& slot : slots_) slot.chain = Chain();
  for (SlotList* list : {&memory_waiters_, &refetch_, &fetched_, &to_submit_, &done_}) {
    list->clear();
  }
  // What is at the disk still writes to its memory: it is freed when it ends.
  disk_->abandon();
}

}  // namespace vmsg::blk
