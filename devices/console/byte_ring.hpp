// A bounded queue of bytes in memory that is allocated once. Writers fill reserved places and
// commit them, readers look at the front and consume it; or the oldest bytes are dropped.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <span>
#include <vector>

namespace vmsg::console {

class ByteRing {
 public:
  explicit ByteRing(std::size_t capacity) : bytes_(capacity) {}

  [[nodiscard]] std::size_t capacity() const { return bytes_.size(); }
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] std::size_t free() const { return bytes_.size() - size_; }
  [[nodiscard]] bool is_empty() const { return size_ == 0; }

  /// The places of `count` bytes that begin `offset` bytes behind the last one; the second part is
  /// empty unless they wrap. `offset` + `count` is at most free().
  [[nodiscard]] std::array<std::span<std::byte>, 2> reserve(std::size_t offset, std::size_t count) {
    const std::size_t at = (begin_ + size_ + offset) % bytes_.size();
    const std::size_t first = std::min(count, bytes_.size() - at);
    return {std::span(bytes_).subspan(at, first), std::span(bytes_).first(count - first)};
  }
  /// The next `count` reserved bytes are filled.
  void commit(std::size_t count) { size_ += count; }

  /// The oldest bytes, as far as they lie side by side.
  [[nodiscard]] std::span<const std::byte> front() const {
    return std::span(bytes_).subspan(begin_, std::min(size_, bytes_.size() - begin_));
  }
  void consume(std::size_t count) {
    begin_ = (begin_ + count) % bytes_.size();
    size_ -= count;
  }

 private:
  std::vector<std::byte> bytes_;
  std::size_t begin_ = 0;
  std::size_t size_ = 0;
};

}  // namespace vmsg::console
