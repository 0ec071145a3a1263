#include "devices/net/net_receive_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

#include "devices/net/net_header.hpp"

namespace vmsg::net {
namespace {

// With so many buffers at hand no more are taken from the ring, and the driver need not notify.
constexpr std::size_t kEnough = 64;
// How long a frame waits for buffers that its driver owes it. A driver that offers less than one
// frame's worth in all would otherwise never get any.
constexpr Nanoseconds kPatience = 1'000'000'000;
constexpr Nanoseconds kRetryAfter = 100'000'000;

}  // namespace

NetReceiveQueue::NetReceiveQueue(const QueueContext& context, std::uint32_t pair, NetHost& host,
                                 NetState& state, PairCounters& counters)
    : waker_(context.waker),
      state_(state),
      counters_(counters),
      mergeable_(has(context.setup.features, NetFeature::kMrgRxbuf)),
      leads_(pair == 0),
      receiver_(host.open_receiver(pair, context.io, *this)),
      buffers_(std::min(kMaxInFlight, context.setup.size)) {}

std::size_t NetReceiveQueue::room() const {
  if (buffers_.size() >= kEnough && !is_short_) return 0;
  return buffers_.room();
}

void NetReceiveQueue::take(std::span<Chain> chains, const GuestRef&, CopyBatch&, Nanoseconds now) {
  now_ = now;
  is_in_turn_ = true;
  if (!is_live_) {
    is_live_ = true;
    if (leads_) state_.set_carrier(true);
  }
  for (Chain& chain : chains) {
    has_bad_buffer_ |= chain.writable_length() < kHeaderSize || chain.readable_length() != 0;
    buffers_.push({.chain = std::move(chain)});
  }
}

std::optional<ServiceFault> NetReceiveQueue::start(Nanoseconds) {
  if (has_bad_buffer_) return fault(ServiceFault::kBadRequest);
  if (buffers_.size() > receiver_->received()) {
    receiver_->request(buffers_.size() - receiver_->received());
  }
  return std::nullopt;
}

void NetReceiveQueue::deliver(const GuestRef& guest, CopyBatch& give) {
  is_in_turn_ = false;
  is_short_ = false;
  buffers_used_ = 0;
  frames_used_ = 0;
  state_.refresh(view_);
  while (frames_used_ < receiver_->received()) {
    const auto frame = receiver_->frame(frames_used_);
    if (is_wanted(frame)) {
      const Placing placing = place(frame, guest, give);
      if (placing == Placing::kMustWait) {
        is_short_ = true;
        break;
      }
      if (placing == Placing::kNeverFits) counters_.receive_dropped.add();
    }
    ++frames_used_;
  }
}

bool NetReceiveQueue::is_wanted(std::span<std::byte> frame) {
  if (frame.size() < kHeaderSize + kEthernetHeader) {
    counters_.receive_dropped.add();
    return false;
  }
  if (!view_.filter.accepts(frame.subspan(kHeaderSize))) {
    counters_.receive_filtered.add();
    return false;
  }
  NetHeader header;
  std::memcpy(&header, frame.data(), sizeof(header));
  const auto checked = check_for_guest(header, view_.offloads);
  if (!checked) {
    counters_.receive_dropped.add();
    return false;
  }
  std::memcpy(frame.data(), &*checked, sizeof(*checked));
  return true;
}

NetReceiveQueue::Placing NetReceiveQueue::place(std::span<std::byte> frame, const GuestRef& guest,
                                                CopyBatch& give) {
  std::size_t count = 0;
  std::size_t bytes = 0;
  const std::size_t most = mergeable_ ? buffers_.size() - buffers_used_
                                      : std::min<std::size_t>(1, buffers_.size() - buffers_used_);
  while (bytes < frame.size() && count < most) {
    bytes += buffers_[buffers_used_ + count].chain.writable_length();
    ++count;
  }
  if (bytes < frame.size()) {
    if (!mergeable_ && count == 1) return Placing::kNeverFits;
    // With every buffer that the queue can have there is no point in waiting for more, nor after
    // all patience.
    if (buffers_used_ == 0 && count > 0) {
      if (buffers_.room() == 0 || (short_since_ && now_ - *short_since_ >= kPatience)) {
        short_since_.reset();
        return Placing::kNeverFits;
      }
      if (!short_since_) short_since_ = now_;
    }
    return Placing::kMustWait;
  }
  short_since_.reset();
  NetHeader header;
  std::memcpy(&header, frame.data(), sizeof(header));
  header.num_buffers = static_cast<std::uint16_t>(count);
  std::memcpy(frame.data(), &header, sizeof(header));
  counters_.receive.operations.add();
  counters_.receive.bytes.add(frame.size() - kHeaderSize);

  for (std::size_t i = 0; i < count; ++i, ++buffers_used_) {
    Buffer& buffer = buffers_[buffers_used_];
    const auto part =
        frame.first(std::min<std::size_t>(frame.size(), buffer.chain.writable_length()));
    frame = frame.subspan(part.size());
    buffer.written = static_cast<std::uint32_t>(part.size());
    add_copies(give, guest, buffer.chain.writable(), 0, part, buffer.outcome);
  }
  return Placing::kPlaced;
}

std::optional<ServiceFault> NetReceiveQueue::retire(DeviceQueue& queue, Nanoseconds) {
  for (; buffers_used_ > 0; --buffers_used_) {
    Buffer& buffer = buffers_.front();
    if (buffer.outcome != CopyOutcome::kOk) return fault(ServiceFault::kNotGranted);
    queue.complete(std::move(buffer.chain), buffer.written);
    buffers_.pop();
  }
  receiver_->release(frames_used_);
  frames_used_ = 0;

  wake_at_.reset();
  if (is_short_) {
    if (short_since_) wake_at_ = *short_since_ + kPatience;
  } else if (!buffers_.empty()) {
    if (receiver_->has_failed()) {
      wake_at_ = now_ + kRetryAfter;
    } else if (receiver_->is_idle()) {
      waker_.wake();
    }
  }
  return std::nullopt;
}

ServiceFault NetReceiveQueue::fault(ServiceFault why) {
  lose_carrier();  // nobody takes frames until the reset
  return why;
}

void NetReceiveQueue::lose_carrier() {
  if (leads_ && std::exchange(is_live_, false)) state_.set_carrier(false);
}

void NetReceiveQueue::abandon() {
  lose_carrier();
  receiver_->stop();
  buffers_.clear();
  buffers_used_ = 0;
  wake_at_.reset();
}

void NetReceiveQueue::host_progressed() {
  // In a turn it is seen anyway: what came is delivered right after.
  if (!is_in_turn_) waker_.wake();
}

}  // namespace vmsg::net
