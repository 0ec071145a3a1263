#include "devices/net/net_transmit_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/net/net_header.hpp"

namespace vmsg::net {
namespace {

// A turn's worth of full-sized frames, and a handful of the largest that are to be segmented.
constexpr std::size_t kBytes = std::size_t{512} * 1024;
// Frames that the host's kernel is made to produce in one turn: a large frame with a small segment
// size is thousands, and others wait meanwhile.
constexpr std::uint32_t kSegmentsPerTurn = 2048;

}  // namespace

NetTransmitQueue::NetTransmitQueue(const QueueContext& context, std::uint32_t pair, NetHost& host,
                                   TokenBucket& limit, PairCounters& counters)
    : waker_(context.waker),
      features_(context.setup.features),
      limit_(limit),
      counters_(counters),
      transmitter_(host.open_transmitter(pair, context.io, *this, kMaxInFlight)),
      frames_(kMaxInFlight),
      bytes_(kBytes) {}

void NetTransmitQueue::take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
                            Nanoseconds now) {
  is_in_turn_ = true;
  for (Chain& chain : chains) {
    has_bad_buffer_ |= chain.readable_length() < kHeaderSize || chain.writable_length() != 0;
    frames_.push({.chain = std::move(chain), .taken_at = now, .bytes = {}});
  }
  if (!has_bad_buffer_) fetch_waiting(guest, fetch);
}

void NetTransmitQueue::fetch_waiting(const GuestRef& guest, CopyBatch& fetch) {
  for (; fetched_ < frames_.size(); ++fetched_) {
    Frame& frame = frames_[fetched_];
    const std::uint32_t size = frame.chain.readable_length();
    if (size < kHeaderSize + kEthernetHeader || size > kHeaderSize + kMaxFrame) {
      frame.state = State::kDropped;
      continue;
    }
    frame.bytes = bytes_.take(size);
    if (frame.bytes.empty()) return;
    frame.state = State::kFetched;
    add_copies(fetch, guest, frame.chain.readable(), 0, frame.bytes, frame.outcome);
  }
}

std::optional<ServiceFault> NetTransmitQueue::start(Nanoseconds now) {
  if (has_bad_buffer_) return ServiceFault::kBadRequest;
  wake_at_.reset();
  segments_left_ = kSegmentsPerTurn;
  for (; started_ < fetched_; ++started_) {
    Frame& frame = frames_[started_];
    if (frame.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
    if (frame.state == State::kFetched && !start_frame(started_, now)) break;
  }
  transmitter_->flush();
  return std::nullopt;
}

bool NetTransmitQueue::start_frame(std::size_t index, Nanoseconds now) {
  Frame& frame = frames_[index];
  NetHeader header;
  std::memcpy(&header, frame.bytes.data(), sizeof(header));
  const auto checked = check_from_guest(header, frame.bytes.subspan(kHeaderSize), features_);
  if (!checked) {
    frame.state = State::kDropped;
    return true;
  }
  if (segments_left_ == 0) {
    waker_.wake();
    return false;
  }
  // More than a second's worth is never there: a frame that is larger leaves for that.
  const std::uint64_t size = frame.bytes.size() - kHeaderSize;
  const std::uint64_t price = limit_.is_limited() ? std::min(size, limit_.per_second()) : 0;
  if (limit_.available(price, now) < price) {
    wake_at_ = limit_.available_at(price);
    return false;
  }
  std::memcpy(frame.bytes.data(), &checked->header, sizeof(checked->header));
  if (!transmitter_->send(frames_.place(index), frame.bytes)) {
    // Without anything under way nobody would say when to try again.
    if (!transmitter_->has_work_in_flight()) waker_.wake();
    return false;
  }
  frame.state = State::kSent;
  limit_.spend(size);
  segments_left_ -= std::min(segments_left_, checked->segments);
  return true;
}

std::optional<ServiceFault> NetTransmitQueue::retire(DeviceQueue& queue, Nanoseconds now) {
  bool has_room_again = false;
  while (started_ > 0) {
    Frame& frame = frames_.front();
    if (frame.state == State::kSent) {
      const auto result = transmitter_->result(frames_.place(0));
      if (!result) break;
      if (*result == 0) {
        counters_.transmit.operations.add();
        counters_.transmit.bytes.add(frame.bytes.size() - kHeaderSize);
        counters_.transmit.latency.add(now - frame.taken_at);
      } else {
        counters_.transmit_refused.add();
      }
    } else {
      counters_.transmit.errors.add();
    }
    if (!frame.bytes.empty()) bytes_.give_back(frame.bytes);
    queue.complete(std::move(frame.chain), 0);
    frames_.pop();
    --started_;
    --fetched_;
    has_room_again = true;
  }
  // Frames that waited for room are fetched on a turn of their own.
  if (has_room_again && fetched_ < frames_.size()) waker_.wake();
  return std::nullopt;
}

void NetTransmitQueue::abandon() {
  transmitter_->stop();
  // The bytes of what is under way stay where they are; only the chains go.
  for (std::size_t i = 0; i < frames_.size(); ++i) frames_[i].chain = {};
  frames_.clear();
  started_ = fetched_ = 0;
  wake_at_.reset();
}

void NetTransmitQueue::host_progressed() {
  if (!is_in_turn_) waker_.wake();
}

}  // namespace vmsg::net
