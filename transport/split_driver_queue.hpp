// The driver side of the split format. Made by DriverQueue::create().
#pragma once

#include <cstdint>
#include <vector>

#include "transport/driver_queue.hpp"

namespace vmsg {

class SplitDriverQueue final : public DriverQueue {
 public:
  explicit SplitDriverQueue(const DriverQueueOptions& options);

  [[nodiscard]] bool publish() override;
  void disable_callbacks() override;
  [[nodiscard]] std::uint32_t notification_data() const override { return published_; }

 private:
  std::uint16_t write_buffer(std::span<const Segment> readable, std::span<const Segment> writable,
                             const IndirectTable* table) override;
  Result<std::optional<UsedEntry>, QueueError> peek_used() override;
  void collect(std::uint16_t id, const Buffer& buffer) override;
  bool ask_for_callback() override;

  std::uint32_t mask_;
  // Free descriptors are linked here, not in the shared table. With in_order every descriptor is
  // followed by its neighbour, for ever.
  std::vector<std::uint16_t> next_;
  std::uint16_t free_head_ = 0;
  std::uint16_t next_avail_ = 0;  // free-running, as the indices in the rings
  std::uint16_t published_ = 0;
  std::uint16_t next_used_ = 0;
};

}  // namespace vmsg
