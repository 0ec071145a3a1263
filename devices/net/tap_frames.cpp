#include "devices/net/tap_frames.hpp"

#include <algorithm>
#include <cerrno>

namespace vmsg::net {
namespace {

constexpr std::size_t kReads = 32;
constexpr std::size_t kSlotSize = (kHeaderSize + kMaxFrame + 63) / 64 * 64;

}  // namespace

TapReceiver::TapReceiver(int fd, IoRing& io, FrameListener& listener)
    : fd_(fd),
      io_(io),
      listener_(listener),
      bytes_(std::make_unique_for_overwrite<std::byte[]>(kReads * kSlotSize)),
      slots_(kReads),
      received_(kReads) {
  free_.reserve(kReads);
  for (std::uint32_t i = kReads; i-- > 0;) {
    slots_[i].owner = this;
    slots_[i].number = i;
    free_.push_back(i);
  }
}

std::span<std::byte> TapReceiver::memory(std::uint32_t slot) {
  return {bytes_.get() + slot * kSlotSize, kSlotSize};
}

void TapReceiver::request(std::size_t frames) {
  has_failed_ = false;
  const std::size_t ended = std::exchange(ended_since_request_, 0);
  // Reads that still wait say that there is nothing more to be had.
  if (outstanding_ != 0) return;
  const std::size_t wanted = std::clamp<std::size_t>(2 * ended, 1, kReads);
  for (std::size_t left = std::min({wanted, frames, free_.size()}); left > 0; --left) {
    Slot& slot = slots_[free_.back()];
    io_uring_sqe* entry = io_.prepare(slot);
    if (entry == nullptr) return;
    const auto bytes = memory(slot.number);
    io_uring_prep_read(entry, fd_, bytes.data(), static_cast<unsigned>(bytes.size()), 0);
    slot.is_reading = true;
    free_.pop_back();
    ++outstanding_;
  }
}

void TapReceiver::Slot::on_complete(std::int32_t result, bool) { owner->read_ended(*this, result); }

void TapReceiver::read_ended(Slot& slot, std::int32_t result) {
  slot.is_reading = false;
  --outstanding_;
  if (result > 0) {
    received_.push({.slot = slot.number, .size = static_cast<std::uint32_t>(result)});
    ++ended_since_request_;
  } else {
    free_.push_back(slot.number);
    // A queue that is detached, an interface that was removed: not the end of the device.
    if (result != -EAGAIN && result != -EINTR) has_failed_ = true;
  }
  listener_.host_progressed();
}

std::span<std::byte> TapReceiver::frame(std::size_t index) {
  const Received& frame = received_[index];
  return memory(frame.slot).first(frame.size);
}

void TapReceiver::release(std::size_t count) {
  for (; count > 0; --count) {
    free_.push_back(received_.front().slot);
    received_.pop();
  }
}

void TapReceiver::stop() {
  for (Slot& slot : slots_) {
    if (slot.is_reading) io_.cancel(slot);
  }
}

TapTransmitter::TapTransmitter(int fd, IoRing& io, FrameListener& listener, std::size_t capacity)
    : fd_(fd), io_(io), listener_(listener), writes_(capacity) {
  for (Write& write : writes_) write.owner = this;
}

bool TapTransmitter::send(std::size_t slot, std::span<std::byte> bytes) {
  Write& write = writes_[slot];
  io_uring_sqe* entry = io_.prepare(write);
  if (entry == nullptr) return false;
  write.result.reset();
  io_uring_prep_write(entry, fd_, bytes.data(), static_cast<unsigned>(bytes.size()), 0);
  ++outstanding_;
  return true;
}

void TapTransmitter::Write::on_complete(std::int32_t end, bool) {
  result = end < 0 ? -end : 0;
  --owner->outstanding_;
  owner->listener_.host_progressed();
}

}  // namespace vmsg::net
