// A first-in, first-out queue in memory that is allocated once: what services keep their chains in.
#pragma once

#include <cstddef>
#include <utility>
#include <vector>

#include "transport/result.hpp"

namespace vmsg {

/// Elements never move while they are in the queue, so they may be pointed to.
template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : slots_(capacity) {}

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  [[nodiscard]] std::size_t capacity() const { return slots_.size(); }
  [[nodiscard]] std::size_t room() const { return slots_.size() - size_; }

  T& push(T&& value) {
    VMSG_INVARIANT(size_ < slots_.size());
    T& slot = slots_[place(size_)];
    slot = std::move(value);
    ++size_;
    return slot;
  }

  /// The `index`-th oldest.
  [[nodiscard]] T& operator[](std::size_t index) {
    VMSG_INVARIANT(index < size_);
    return slots_[place(index)];
  }
  [[nodiscard]] T& front() { return (*this)[0]; }

  /// Where the `index`-th oldest lies in memory, below capacity(): its number while it is here.
  [[nodiscard]] std::size_t place(std::size_t index) const {
    const std::size_t at = first_ + index;
    return at < slots_.size() ? at : at - slots_.size();
  }
  [[nodiscard]] T& at_place(std::size_t place) { return slots_[place]; }

  void pop() {
    VMSG_INVARIANT(size_ > 0);
    slots_[first_] = T{};
    first_ = place(1);
    --size_;
  }
  void clear() {
    while (!empty()) pop();
  }

 private:
  std::vector<T> slots_;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
};

}  // namespace vmsg
