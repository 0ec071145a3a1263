// Who is looking at which guest's messages. Buses hand every frame to it; without anybody looking
// that costs a comparison. Control thread only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace vmsg {

struct TracedFrame {
  std::uint16_t guest = 0;
  std::uint32_t bus = 0;
  bool is_in = false;  // from the device side to the driver side, as in docs/virtio-msg-xen.md
  std::span<const std::byte> bytes;
};

class TraceListener {
 public:
  TraceListener() = default;
  TraceListener(const TraceListener&) = delete;
  TraceListener& operator=(const TraceListener&) = delete;
  virtual ~TraceListener() = default;

  /// May not add or remove a listener.
  virtual void on_traced(const TracedFrame& frame) = 0;
};

class TraceHub {
 public:
  /// `listener` is removed before it goes.
  void add(std::uint16_t guest, TraceListener& listener) { entries_.push_back({guest, &listener}); }
  void remove(TraceListener& listener) {
    std::erase_if(entries_, [&](const Entry& entry) { return entry.listener == &listener; });
  }

  [[nodiscard]] std::size_t listener_count() const { return entries_.size(); }

  void frame(const TracedFrame& frame) const {
    for (const Entry& entry : entries_) {
      if (entry.guest == frame.guest) entry.listener->on_traced(frame);
    }
  }

 private:
  struct Entry {
    std::uint16_t guest = 0;
    TraceListener* listener = nullptr;
  };
  std::vector<Entry> entries_;
};

}  // namespace vmsg
