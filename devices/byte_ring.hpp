// Pieces of one block of memory, taken and given back in the same order: the bytes of what a queue
// has in flight, whatever their sizes, in memory that is allocated once.
#pragma once

#include <cstddef>
#include <memory>
#include <span>

#include "transport/result.hpp"

namespace vmsg {

class ByteRing {
 public:
  /// The memory is not touched, and takes no room, before it is used.
  explicit ByteRing(std::size_t capacity)
      : capacity_(capacity), bytes_(std::make_unique_for_overwrite<std::byte[]>(capacity)) {}

  [[nodiscard]] std::size_t capacity() const { return capacity_; }

  /// `size` bytes in one piece, at least 1; empty when they are not free now.
  [[nodiscard]] std::span<std::byte> take(std::size_t size) {
    if (used_ == 0) first_ = next_ = 0;  // the beginning is what the cache has
    std::size_t at = next_;
    std::size_t skipped = 0;
    if (capacity_ - at < size) {
      skipped = capacity_ - at;
      at = 0;
    }
    if (size + skipped > capacity_ - used_) return {};
    used_ += size + skipped;
    next_ = at + size;
    return {bytes_.get() + at, size};
  }

  /// The oldest piece, which is exactly this one, is not needed any more.
  void give_back(std::span<const std::byte> piece) {
    const auto at = static_cast<std::size_t>(piece.data() - bytes_.get());
    const std::size_t skipped = at >= first_ ? at - first_ : capacity_ - first_ + at;
    VMSG_INVARIANT(used_ >= piece.size() + skipped);
    used_ -= piece.size() + skipped;
    first_ = at + piece.size();
  }

 private:
  std::size_t capacity_;
  std::size_t first_ = 0;  // where the oldest piece begins, or what was skipped before it
  std::size_t next_ = 0;
  std::size_t used_ = 0;  // what was skipped at the end included
  std::unique_ptr<std::byte[]> bytes_;
};

}  // namespace vmsg
