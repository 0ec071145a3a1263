// The way of a port number from whoever fires the port to the handle that owns it, as Linux's
// evtchn driver has it: a queue that is readable while a number is unread, and whose reader is
// woken only by a number that meets an empty queue. Who waits for changes only (EPOLLET) and leaves
// a number unread is therefore never woken again.
//
// The numbers are in a pipe. What the program polls is an eventfd beside it, the bell: a pipe would
// wake who polls it at each number. A word in the shared segment says whether the bell has rung
// since the reader saw that there was nothing left, and so whether the next number has to ring.
#pragma once

#include <poll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>

namespace vmsg::mock {

/// HandleSlot::bell of a handle: these two, or something else once the handle is gone.
constexpr std::uint64_t quiet_bell(std::uint32_t handle) { return std::uint64_t{handle} << 1; }
constexpr std::uint64_t rung_bell(std::uint32_t handle) { return quiet_bell(handle) | 1U; }

/// What a writer needs of the queue of one handle.
struct EventQueue {
  int numbers = -1;
  int bell = -1;
  std::atomic<std::uint64_t>* state = nullptr;  ///< HandleSlot::bell
  std::uint32_t owner = 0;                      ///< id of the handle

  bool is_open() const {
    const std::uint64_t seen = state->load(std::memory_order_relaxed);
    return seen == quiet_bell(owner) || seen == rung_bell(owner);
  }
};

// The bell's own calls are the vectored ones, so that a count of system calls can tell them from
// those that the program would make on Xen.
inline void ring(int bell) {
  std::uint64_t one = 1;
  const iovec part{.iov_base = &one, .iov_len = sizeof(one)};
  [[maybe_unused]] const ssize_t written = ::writev(bell, &part, 1);
}

inline void ring_if_quiet(const EventQueue& queue) {
  std::uint64_t expected = quiet_bell(queue.owner);
  if (queue.state->compare_exchange_strong(expected, rung_bell(queue.owner),
                                           std::memory_order_seq_cst)) {
    ring(queue.bell);
  }
}

/// False: not even the number could be written. The pipe has room for more ports than a handle can
/// have; a full one means that the owner never reads, and then it does not miss this one either.
inline bool post(const EventQueue& queue, std::uint32_t port) {
  const bool written = ::write(queue.numbers, &port, sizeof(port)) == sizeof(port);
  // ORDER: the number first. A reader that is woken finds it.
  ring_if_quiet(queue);
  return written;
}

inline bool is_readable(int fd) {
  pollfd ready{.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0;
}

/// What a writer has left undone that was killed between the state and the ring.
inline void finish_ring(const EventQueue& queue) {
  std::uint64_t expected = rung_bell(queue.owner);
  if (queue.state->load(std::memory_order_seq_cst) != expected) return;
  if (is_readable(queue.bell)) return;
  if (is_readable(queue.numbers)) return ring(queue.bell);
  // The reader found the number before it was called: it has nothing to be called for.
  queue.state->compare_exchange_strong(expected, quiet_bell(queue.owner),
                                       std::memory_order_seq_cst);
  if (is_readable(queue.numbers)) ring_if_quiet(queue);
}

}  // namespace vmsg::mock
