// A worker's io_uring: the one place where its thread enters the kernel for host I/O and for
// waiting. Host sides of devices prepare operations on it; the worker submits them once a turn and
// hands back the completions.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "devices/io_buffers.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Who is told about a finished operation. Lives at least until it was told.
class IoCompletion {
 public:
  IoCompletion() = default;
  IoCompletion(const IoCompletion&) = delete;
  IoCompletion& operator=(const IoCompletion&) = delete;
  virtual ~IoCompletion() = default;

  /// `result` is what the system call would have returned: negative errno on failure. `is_last` is
  /// false for a multishot operation that goes on.
  virtual void on_complete(std::int32_t result, bool is_last) = 0;
};

class IoRing {
 public:
  /// The error is an errno value. From the first submission on the ring belongs to the thread that
  /// made it.
  static Result<std::unique_ptr<IoRing>, int> create(unsigned entries);

  IoRing(const IoRing&) = delete;
  IoRing& operator=(const IoRing&) = delete;
  ~IoRing();

  /// A free submission entry whose completion goes to `completion`. Null when the ring is full even
  /// after what is prepared was submitted: try again on a later turn.
  [[nodiscard]] io_uring_sqe* prepare(IoCompletion& completion);

  /// Asks the kernel to end the operation of `completion`, which is told as usual how it ended; at
  /// once or, if the ring has no room now, before the next submission.
  void cancel(IoCompletion& completion);

  /// Submits what is prepared and waits until something completes or `deadline_ns` (monotonic)
  /// passes; without a deadline it waits for ever, with 0 not at all.
  void submit_and_wait(std::optional<std::uint64_t> timeout_ns);

  /// Whether reap() would find something, without a system call.
  [[nodiscard]] bool has_completions() const;

  /// Hands out at most `limit` completions; says how many.
  std::size_t reap(std::size_t limit);

  [[nodiscard]] IoBuffers& buffers() { return *buffers_; }

 private:
  IoRing() = default;
  [[nodiscard]] io_uring_sqe* free_entry();
  [[nodiscard]] bool try_cancel(IoCompletion& completion);

  /// A ring for one submitting thread starts disabled, and is bound to the thread that enables it.
  void enable();

  io_uring ring_{};
  std::optional<IoBuffers> buffers_;
  std::vector<IoCompletion*> to_cancel_;
  bool is_disabled_ = false;
};

}  // namespace vmsg
