#include "devices/io_ring.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <utility>

#include "devices/io_ring_limits.hpp"

namespace vmsg {
namespace {

constexpr std::uint64_t kSecond = 1'000'000'000;

}  // namespace

Result<std::unique_ptr<IoRing>, int> IoRing::create(unsigned entries) {
  std::unique_ptr<IoRing> ring(new IoRing);
  // What the kernel has to do for a completion is done when the thread asks for completions, in a
  // batch, and interrupts it never (Linux 6.1). The second choice is for a kernel that refuses
  // that.
  constexpr unsigned kOneThread = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER |
                                  IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG;
  int error = 0;
  for (const unsigned flags : {kOneThread, unsigned{IORING_SETUP_R_DISABLED}}) {
    io_uring_params params{};
    // Completions may be four times as many as submissions: polls and receives stay armed for long.
    params.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP | flags;
    params.cq_entries = entries * 4;
    error = io_uring_queue_init_params(entries, &ring->ring_, &params);
    if (error != -EINVAL) break;
  }
  if (error < 0) {
    ring->ring_.ring_fd = -1;
    return std::unexpected(-error);
  }
  // What is registered from now on needs no permission yet.
  ring->buffers_.emplace(ring->ring_);
  if (const int limited = limit_operations(ring->ring_); limited < 0) {
    return std::unexpected(-limited);
  }
  // It is enabled by the thread that submits first.
  ring->is_disabled_ = true;
  return ring;
}

IoRing::~IoRing() {
  if (ring_.ring_fd >= 0) io_uring_queue_exit(&ring_);
}

io_uring_sqe* IoRing::free_entry() {
  io_uring_sqe* entry = io_uring_get_sqe(&ring_);
  if (entry != nullptr) return entry;
  enable();
  io_uring_submit(&ring_);
  return io_uring_get_sqe(&ring_);
}

io_uring_sqe* IoRing::prepare(IoCompletion& completion) {
  io_uring_sqe* entry = free_entry();
  if (entry == nullptr) return nullptr;
  // The prepare functions of liburing clear the entry but leave user_data alone.
  io_uring_sqe_set_data(entry, &completion);
  return entry;
}

bool IoRing::try_cancel(IoCompletion& completion) {
  io_uring_sqe* entry = free_entry();
  if (entry == nullptr) return false;
  io_uring_prep_cancel(entry, &completion, 0);
  io_uring_sqe_set_data(entry, nullptr);  // nobody needs to know how many it found
  return true;
}

void IoRing::cancel(IoCompletion& completion) {
  if (!try_cancel(completion)) to_cancel_.push_back(&completion);
}

void IoRing::enable() {
  if (!std::exchange(is_disabled_, false)) return;
  // liburing 2.3 declares a function for this and does not export it.
  syscall(SYS_io_uring_register, ring_.ring_fd, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
}

bool IoRing::has_completions() const {
  if (io_uring_cq_ready(&ring_) != 0) return true;
  // The kernel has something that it does when asked.
  const unsigned flags =
      std::atomic_ref<unsigned>(*ring_.sq.kflags).load(std::memory_order_relaxed);
  return (flags & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW)) != 0;
}

void IoRing::submit_and_wait(std::optional<std::uint64_t> timeout_ns) {
  enable();
  buffers_->sweep();
  if (!to_cancel_.empty()) {
    std::erase_if(to_cancel_, [this](IoCompletion* completion) { return try_cancel(*completion); });
    // What still found no room does so once completions were taken.
    if (!to_cancel_.empty()) timeout_ns = 0;
  }
  if (timeout_ns == 0) {
    // One call for both directions, and none when there is nothing in either.
    if (io_uring_sq_ready(&ring_) != 0) io_uring_submit_and_get_events(&ring_);
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
    // Once it has ended its owner may go, and somebody else's may get its address.
    if (is_last && !to_cancel_.empty()) std::erase(to_cancel_, completion);
    // What liburing itself queued (a timeout) has no one to tell, nor has a cancellation.
    if (completion != nullptr) completion->on_complete(result, is_last);
    ++count;
  }
  return count;
}

}  // namespace vmsg
