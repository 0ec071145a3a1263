#include "transport/shared_bytes.hpp"

#include <bit>

namespace vmsg {
namespace {

// The index fields are little-endian and so are the hosts that we build for.
static_assert(std::endian::native == std::endian::little);

template <typename T>
std::atomic_ref<T> index_at(std::byte* at) {
  // SAFETY: the offset was bounds-checked by the caller; areas are mapped page-aligned and fields
  // lie on their natural alignment, which this checks; another domain only ever changes the value.
  // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast)
  VMSG_INVARIANT(reinterpret_cast<std::uintptr_t>(at) % alignof(T) == 0);
  return std::atomic_ref<T>(*reinterpret_cast<T*>(at));
  // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
}

}  // namespace

std::uint16_t SharedBytes::load_acquire16(std::size_t offset) const {
  check(offset, sizeof(std::uint16_t));
  return index_at<std::uint16_t>(base_ + offset).load(std::memory_order_acquire);
}

std::uint32_t SharedBytes::load_acquire32(std::size_t offset) const {
  check(offset, sizeof(std::uint32_t));
  return index_at<std::uint32_t>(base_ + offset).load(std::memory_order_acquire);
}

std::uint16_t SharedBytes::load_relaxed16(std::size_t offset) const {
  check(offset, sizeof(std::uint16_t));
  return index_at<std::uint16_t>(base_ + offset).load(std::memory_order_relaxed);
}

std::uint32_t SharedBytes::load_relaxed32(std::size_t offset) const {
  check(offset, sizeof(std::uint32_t));
  return index_at<std::uint32_t>(base_ + offset).load(std::memory_order_relaxed);
}

void SharedBytes::store_release16(std::size_t offset, std::uint16_t value) const {
  check(offset, sizeof(value));
  index_at<std::uint16_t>(base_ + offset).store(value, std::memory_order_release);
}

void SharedBytes::store_release32(std::size_t offset, std::uint32_t value) const {
  check(offset, sizeof(value));
  index_at<std::uint32_t>(base_ + offset).store(value, std::memory_order_release);
}

void SharedBytes::store_relaxed16(std::size_t offset, std::uint16_t value) const {
  check(offset, sizeof(value));
  index_at<std::uint16_t>(base_ + offset).store(value, std::memory_order_relaxed);
}

void SharedBytes::store_relaxed32(std::size_t offset, std::uint32_t value) const {
  check(offset, sizeof(value));
  index_at<std::uint32_t>(base_ + offset).store(value, std::memory_order_relaxed);
}

}  // namespace vmsg
