// Where the device side's frames go: the producer of the in ring, or a list in tests. The sender
// asks for room first, so a frame is never lost and never buffered here.
#pragma once

#include <cstddef>
#include <span>

namespace vmsg {

class FrameSink {
 public:
  FrameSink() = default;
  FrameSink(const FrameSink&) = delete;
  FrameSink& operator=(const FrameSink&) = delete;
  virtual ~FrameSink() = default;

  /// Whether one frame of `bytes` (header included; padding is the sink's business) can be sent
  /// now.
  [[nodiscard]] virtual bool has_room(std::size_t bytes) = 0;

  /// One whole frame. Only called after has_room() said yes for its size; `frame` is not kept.
  virtual void send(std::span<const std::byte> frame) = 0;
};

}  // namespace vmsg
