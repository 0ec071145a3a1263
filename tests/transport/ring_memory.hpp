// A ring in plain memory with both of its sides, for tests: what the guest would grant.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "transport/ring.hpp"

namespace vmsg::test {

class TestRing {
 public:
  explicit TestRing(std::uint32_t page_order = 0, std::uint32_t max_message_size = 264)
      : layout_(RingLayout::create(page_order, max_message_size).value()),
        pages_(1 + layout_.page_count()) {
    write_interface_page(page(), layout_, std::vector<std::uint32_t>(layout_.page_count(), 1));
  }

  [[nodiscard]] const RingLayout& layout() const { return layout_; }
  [[nodiscard]] SharedBytes page() const {
    return SharedBytes::unchecked_wrap(pages_[0].bytes, kRingPageSize);
  }
  [[nodiscard]] SharedBytes data() const {
    return SharedBytes::unchecked_wrap(pages_[1].bytes, layout_.span_bytes());
  }
  [[nodiscard]] RingMemory memory() const { return {page(), data()}; }

  /// Both indices of both directions, as if that much had gone through already.
  void start_at(std::uint32_t index) const {
    page().store_relaxed32(VMSG_XEN_IF_OUT_PROD, index);
    page().store_relaxed32(VMSG_XEN_IF_IN_CONS, index);
    page().store_relaxed32(VMSG_XEN_IF_IN_PROD, index);
    page().store_relaxed32(VMSG_XEN_IF_OUT_CONS, index);
  }

  [[nodiscard]] RingProducer producer(RingSide side) const {
    return RingProducer::attach(side, memory(), layout_).value();
  }
  [[nodiscard]] RingConsumer consumer(RingSide side) const {
    return RingConsumer::attach(side, memory(), layout_).value();
  }

 private:
  struct alignas(kRingPageSize) Page {
    std::byte bytes[kRingPageSize] = {};
  };

  RingLayout layout_;
  mutable std::vector<Page> pages_;
};

/// A frame of `size` bytes whose payload follows from `seed`.
inline std::vector<std::byte> test_frame(std::uint32_t size, std::uint32_t seed) {
  std::vector<std::byte> frame(size);
  for (std::uint32_t i = 0; i < size; ++i) frame[i] = static_cast<std::byte>(seed + i * 7 + 1);
  frame[VIRTIO_MSG_HDR_MSG_SIZE] = static_cast<std::byte>(size);
  frame[VIRTIO_MSG_HDR_MSG_SIZE + 1] = static_cast<std::byte>(size >> 8U);
  return frame;
}

}  // namespace vmsg::test
