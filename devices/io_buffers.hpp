// Memory that the kernel keeps at hand for the operations of one ring: it looks up and pins the
// pages once instead of at every read and write.
#pragma once

#include <liburing.h>

#include <cstddef>
#include <optional>
#include <span>
#include <vector>

namespace vmsg {

class IoBuffers {
 public:
  /// Before `ring` is enabled; it outlives this. A kernel that cannot do it gives no room for any.
  explicit IoBuffers(io_uring& ring);

  IoBuffers(const IoBuffers&) = delete;
  IoBuffers& operator=(const IoBuffers&) = delete;

  /// Pins all of `memory`. The number is for io_uring_prep_read_fixed() and _write_fixed(). Nothing
  /// when there is no room, or when no more memory may be locked: plain operations always work. On
  /// the ring's thread, once that is enabled.
  [[nodiscard]] std::optional<unsigned> add(std::span<std::byte> memory);

  /// Operations that were prepared with the number are submitted with it yet, and keep the pages
  /// until they end.
  void remove(unsigned number);

  /// Before the ring's thread sleeps: submits what is prepared if something removed waits for that.
  void sweep() {
    if (!leaving_.empty()) empty_leaving();
  }

  [[nodiscard]] std::size_t count() const { return size_ - free_.size(); }

 private:
  bool update(unsigned number, iovec memory);
  void empty(unsigned number);
  void empty_leaving();

  io_uring& ring_;
  std::vector<unsigned> free_;
  std::vector<unsigned> leaving_;
  std::size_t size_ = 0;
};

}  // namespace vmsg
