#include "devices/io_buffers.hpp"

#include <sys/uio.h>

namespace vmsg {
namespace {

// For the queues of one worker; further ones do without.
constexpr unsigned kMost = 1024;

}  // namespace

IoBuffers::IoBuffers(io_uring& ring) : ring_(ring) {
  if (io_uring_register_buffers_sparse(&ring, kMost) != 0) return;
  size_ = kMost;
  free_.reserve(kMost);
  for (unsigned number = kMost; number > 0; --number) free_.push_back(number - 1);
}

bool IoBuffers::update(unsigned number, iovec memory) {
  return io_uring_register_buffers_update_tag(&ring_, number, &memory, nullptr, 1) == 1;
}

std::optional<unsigned> IoBuffers::add(std::span<std::byte> memory) {
  if (free_.empty()) return std::nullopt;
  const unsigned number = free_.back();
  if (!update(number, {.iov_base = memory.data(), .iov_len = memory.size()})) return std::nullopt;
  free_.pop_back();
  return number;
}

void IoBuffers::remove(unsigned number) {
  // The kernel looks a number up when the operation is submitted, not when it is prepared.
  if (io_uring_sq_ready(&ring_) != 0) return leaving_.push_back(number);
  empty(number);
}

void IoBuffers::empty_leaving() {
  io_uring_submit(&ring_);
  if (io_uring_sq_ready(&ring_) != 0) return;  // no room for more completions; next time
  for (const unsigned number : leaving_) empty(number);
  leaving_.clear();
}

void IoBuffers::empty(unsigned number) {
  // An entry that cannot be emptied is not used again; it goes with the ring.
  if (update(number, {})) free_.push_back(number);
}

}  // namespace vmsg
