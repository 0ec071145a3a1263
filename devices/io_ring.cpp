#include "devices/io_ring.hpp"

#include <cerrno>

#include "devices/io_ring_limits.hpp"

namespace vmsg {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

}  // namespace

Result<std::unique_ptr<IoRing>, int> IoRing::create(unsigned entries) {
  std::unique_ptr<IoRing> ring(new IoRing);
  io_uring_params params{};
  // Completions may be four times as many as submissions: polls and receives stay armed for long.
  params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | IORING_SETUP_R_DISABLED;
  params.cq_entries = entries * 4;
  const int error = io_uring_queue_init_params(entries, &ring->ring_, &params);
  if (error < 0) {
    ring->ring_.ring_fd = -1;
    return std::unexpected(-error);
  }
  int limited = limit_operations(ring->ring_);
  if (limited >= 0) limited = io_uring_enable_rings(&ring->ring_);
  if (limited < 0) return std::unexpected(-limited);
  return ring;
}

IoRing::~IoRing() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

io_uring_sqe* IoRing::prepare(IoCompletion& completion) {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry == nullptr) {
    io_uring_submit(&ring_);
    entry = io_uring_get_sqe(&ring_);
    if (entry == nullptr) return nullptr;
  }
  // The prepare functions of liburing clear the entry but leave user_data alone.
  io_uring_sqe_set_data(entry, &completion);
  return entry;
}

void IoRing::submit_and_wait(std::optional<std::uint64_t> timeout_ns) {
  if (timeout_ns == 0) {
    io_uring_submit(&ring_);
    return;
  }
  if (!timeout_ns) {
    io_uring_submit_and_wait(&ring_, 1);
    return;
  }
  __kernel_timespec limit{};
  limit.tv_sec = static_cast<std::int64_t>(*timeout_ns / kSecond);
  limit.tv_nsec = static_cast<std::int64_t>(*timeout_ns % kSecond);
  io_uring_cqe* first = nullptr;
  io_uring_submit_and_wait_timeout(&ring_, &first, 1, &limit, nullptr);
}

std::size_t IoRing::reap(std::size_t limit) {
  std::size_t count = 0;
  while (count < limit) {
    io_uring_cqe* entry = nullptr;
    if (io_uring_peek_cqe(&ring_, &entry) != 0) break;
    auto* completion = static_cast<IoCompletion*>(io_uring_cqe_get_data(entry));
    const std::int32_t result = entry->res;
    const bool is_last = (entry->flags & IORING_CQE_F_MORE) == 0;
    io_uring_cqe_seen(&ring_, entry);
    // What liburing itself queued (a timeout) has no one to tell.
    if (completion != nullptr) completion->on_complete(result, is_last);
    ++count;
  }
  return count;
}

}  // namespace vmsg
