// The driver side of the packed format. Made by DriverQueue::create().
#pragma once

#include <cstdint>
#include <vector>

#include "transport/driver_queue.hpp"
#include "transport/event_index.hpp"

namespace vmsg {

class PackedDriverQueue final : public DriverQueue {
 public:
  explicit PackedDriverQueue(const DriverQueueOptions& options);

  [[nodiscard]] bool publish() override;
  void disable_callbacks() override;
  [[nodiscard]] std::uint32_t notification_data() const override;

 private:
  std::uint16_t write_buffer(std::span<const Segment> readable, std::span<const Segment> writable,
                             const IndirectTable* table) override;
  Result<std::optional<UsedEntry>, QueueError> peek_used() override;
  void collect(std::uint16_t id, const Buffer& buffer) override;
  bool ask_for_callback() override;

  void write_descriptor(const Segment& segment, std::uint16_t flags, std::uint16_t id);
  [[nodiscard]] bool has_used() const;

  std::vector<std::uint16_t> free_ids_;  // has room for all
  RingPosition next_avail_;
  RingPosition published_;  // where the next publish() begins
  RingPosition next_used_;
  std::uint32_t unpublished_ = 0;     // descriptors between published_ and next_avail_
  std::uint16_t withheld_flags_ = 0;  // of the first of them, written last
};

}  // namespace vmsg
