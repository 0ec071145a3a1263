#include "tests/mock-xen/event_reader.hpp"

#include <sys/uio.h>

#include <cerrno>

namespace vmsg::mock {
namespace {

/// Takes the bell's ring away. With RWF_NOWAIT it never waits, whatever the program has set.
bool take_ring(int bell, int flags) {
  std::uint64_t rings = 0;
  const iovec part{.iov_base = &rings, .iov_len = sizeof(rings)};
  return ::preadv2(bell, &part, 1, -1, flags) == sizeof(rings);
}

}  // namespace

bool EventReader::next(std::uint32_t& port) {
  while (at_ == count_ && !(has_rung() && fill())) {
    if (!take_ring(bell_.get(), 0)) return false;
    if (fill()) {
      ring(bell_.get());  // unread still, so readable still
      break;
    }
    // A ring whose number had been read before it rang.
    listen();
  }
  port = read_[at_++];
  // Who wrote the last number may have still to ring. Then its ring is taken later.
  if (at_ == count_ && !fill() && take_ring(bell_.get(), RWF_NOWAIT)) listen();
  return true;
}

bool EventReader::has_rung() const {
  return state_->load(std::memory_order_acquire) == rung_bell(owner_);
}

/// The pipe never blocks on this side.
bool EventReader::fill() {
  const iovec part{.iov_base = read_.data(), .iov_len = sizeof(read_)};
  const ssize_t bytes = ::readv(numbers_.get(), &part, 1);
  at_ = 0;
  count_ = bytes > 0 ? static_cast<std::size_t>(bytes) / sizeof(read_[0]) : 0;
  return count_ > 0;
}

/// Everything is read, and the ring is taken: the next number has to ring.
void EventReader::listen() {
  state_->store(quiet_bell(owner_), std::memory_order_seq_cst);
  // ORDER: after the store. Who found the bell rung had written its number before it looked.
  if (fill()) ring_if_quiet(queue());
}

}  // namespace vmsg::mock
