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
#include <bit>
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

  /// Whether offset 0 lies on a multiple of `alignment`. The fields below need their own; whoever
  /// accepts an area from outside asks this first.
  [[nodiscard]] bool is_aligned(std::size_t alignment) const {
    return std::bit_cast<std::uintptr_t>(base_) % alignment == 0;
  }

  // Ring indices, flags and descriptor words, naturally aligned, little-endian in memory. At most
  // 64 bits wide, which both of our architectures read and write in one piece. Inline: virtqueues
  // read every descriptor by these.
  [[nodiscard]] std::uint16_t load_acquire16(std::size_t offset) const {
    return field<std::uint16_t>(offset).load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint32_t load_acquire32(std::size_t offset) const {
    return field<std::uint32_t>(offset).load(std::memory_order_acquire);
  }
  [[nodiscard]] std::uint16_t load_relaxed16(std::size_t offset) const {
    return field<std::uint16_t>(offset).load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint32_t load_relaxed32(std::size_t offset) const {
    return field<std::uint32_t>(offset).load(std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t load_relaxed64(std::size_t offset) const {
    return field<std::uint64_t>(offset).load(std::memory_order_relaxed);
  }
  void store_release16(std::size_t offset, std::uint16_t value) const {
    field<std::uint16_t>(offset).store(value, std::memory_order_release);
  }
  void store_release32(std::size_t offset, std::uint32_t value) const {
    field<std::uint32_t>(offset).store(value, std::memory_order_release);
  }
  void store_relaxed16(std::size_t offset, std::uint16_t value) const {
    field<std::uint16_t>(offset).store(value, std::memory_order_relaxed);
  }
  void store_relaxed32(std::size_t offset, std::uint32_t value) const {
    field<std::uint32_t>(offset).store(value, std::memory_order_relaxed);
  }
  void store_relaxed64(std::size_t offset, std::uint64_t value) const {
    field<std::uint64_t>(offset).store(value, std::memory_order_relaxed);
  }

 private:
  SharedBytes(std::byte* base, std::size_t size) : base_(base), size_(size) {}

  // The fields are little-endian and so are the hosts that we build for.
  static_assert(std::endian::native == std::endian::little);

  template <typename T>
  [[nodiscard]] std::atomic_ref<T> field(std::size_t offset) const {
    check(offset, sizeof(T));
    VMSG_INVARIANT(std::bit_cast<std::uintptr_t>(base_ + offset) % alignof(T) == 0);
    // SAFETY: inside the view and aligned, both checked above; another domain only ever changes
    // the value, and any value is a valid integer.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast): the one place that must.
    return std::atomic_ref<T>(*reinterpret_cast<T*>(base_ + offset));
  }

  void check(std::size_t offset, std::size_t size) const {
    VMSG_INVARIANT(offset <= size_ && size <= size_ - offset);
  }

  std::byte* base_ = nullptr;
  std::size_t size_ = 0;
};

/// The barrier between "I store the index that I want to be woken at" and "I look once more".
inline void full_barrier() {
#ifdef __SANITIZE_THREAD__
  // ThreadSanitizer does not know fences; an exchange is one for the processors that it runs on.
  std::atomic<int> fence{0};
  fence.exchange(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace vmsg
