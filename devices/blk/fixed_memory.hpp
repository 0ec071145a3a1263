// Which part of a queue's data pool the kernel keeps at hand (devices/io_buffers.hpp).
//
// Pinning takes memory, so it is what a busy queue uses anyway: after some operations the pages
// from the first to the last that were used; when use has outgrown that, again. A queue with little
// traffic pins nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/io_buffers.hpp"

namespace vmsg::blk {

class FixedMemory {
 public:
  /// `pool` is where the data of all operations is; both outlive this.
  FixedMemory(IoBuffers& buffers, std::span<std::byte> pool) : buffers_(buffers), pool_(pool) {}
  ~FixedMemory() { release(); }
  FixedMemory(const FixedMemory&) = delete;
  FixedMemory& operator=(const FixedMemory&) = delete;

  /// The number for an operation on `data`; nothing: a plain one, please.
  [[nodiscard]] std::optional<unsigned> number_for(std::span<const std::byte> data) {
    const std::size_t end = static_cast<std::size_t>(data.data() - pool_.data()) + data.size();
    if (end > used_) used_ = end;
    if (++operations_ >= kLookEvery) look();
    return end <= fixed_ ? number_ : std::nullopt;
  }

  /// The pages may go. On the ring's thread; nothing is fixed any more.
  void release();

  [[nodiscard]] std::size_t size() const { return fixed_; }

  static constexpr std::uint32_t kLookEvery = 1024;  // operations

 private:
  void look();

  IoBuffers& buffers_;
  const std::span<std::byte> pool_;
  std::optional<unsigned> number_;
  std::size_t fixed_ = 0;  // bytes from the pool's beginning
  std::size_t used_ = 0;   // up to where there was an operation
  std::size_t tried_ = 0;
  std::uint32_t operations_ = 0;  // since the last look
};

}  // namespace vmsg::blk
