// Memory that another domain can write at any moment.
//
// A SharedBytes is a view, not an owner. It never hands out a pointer or a reference: bytes are
// copied out once, the copy is checked, the copy is used. A function that takes a std::span works
// on our own memory and never touches this.
//
// Offsets given here are always computed by us (masked ring indices, fixed layouts), so an offset
// outside the view is our bug and ends the process; it is not an error a guest could cause.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <type_traits>

#include "transport/result.hpp"

namespace vmsg {

class SharedBytes {
 public:
  SharedBytes() = default;

  /// `base` must stay mapped while the view or a copy of it lives.
  static SharedBytes unchecked_wrap(std::byte* base, std::size_t size) {
    return SharedBytes(base, size);
  }

  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool is_empty() const { return size_ == 0; }

  [[nodiscard]] SharedBytes sub(std::size_t offset, std::size_t size) const {
    check(offset, size);
    return SharedBytes(base_ + offset, size);
  }

  /// One copy of a wire struct. The barrier keeps the compiler from reading the source again.
  template <typename T>
    requires std::is_trivially_copyable_v<T>
  [[nodiscard]] T load(std::size_t offset) const {
    check(offset, sizeof(T));
    T value;
    std::memcpy(&value, base_ + offset, sizeof(T));
    std::atomic_signal_fence(std::memory_order_seq_cst);
    return value;
  }

  template <typename T>
    requires std::is_trivially_copyable_v<T>
  void store(std::size_t offset, const T& value) const {
    check(offset, sizeof(T));
    std::memcpy(base_ + offset, &value, sizeof(T));
  }

  void copy_out(std::size_t offset, std::span<std::byte> to) const {
    check(offset, to.size());
    if (to.empty()) return;
    std::memcpy(to.data(), base_ + offset, to.size());
    std::atomic_signal_fence(std::memory_order_seq_cst);
  }

  void copy_in(std::size_t offset, std::span<const std::byte> from) const {
    check(offset, from.size());
    if (from.empty()) return;
    std::memcpy(base_ + offset, from.data(), from.size());
  }

  // Ring indices and flags, naturally aligned, little-endian in memory. Only 16 and 32 bits wide,
  // which both of our architectures read and write in one piece.
  [[nodiscard]] std::uint16_t load_acquire16(std::size_t offset) const;
  [[nodiscard]] std::uint32_t load_acquire32(std::size_t offset) const;
  [[nodiscard]] std::uint16_t load_relaxed16(std::size_t offset) const;
  [[nodiscard]] std::uint32_t load_relaxed32(std::size_t offset) const;
  void store_release16(std::size_t offset, std::uint16_t value) const;
  void store_release32(std::size_t offset, std::uint32_t value) const;
  void store_relaxed16(std::size_t offset, std::uint16_t value) const;
  void store_relaxed32(std::size_t offset, std::uint32_t value) const;

 private:
  SharedBytes(std::byte* base, std::size_t size) : base_(base), size_(size) {}

  void check(std::size_t offset, std::size_t size) const {
    VMSG_INVARIANT(offset <= size_ && size <= size_ - offset);
  }

  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// The barrier between "I store the index that I want to be woken at" and "I look once more".
inline void full_barrier() { std::atomic_thread_fence(std::memory_order_seq_cst); }

}  // namespace vmsg
