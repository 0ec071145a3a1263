// The device side of the split format. Made by DeviceQueue::create().
#pragma once

#include <cstdint>

#include "transport/device_queue.hpp"

namespace vmsg {

class SplitDeviceQueue final : public DeviceQueue {
 public:
  explicit SplitDeviceQueue(const QueueOptions& options)
      : DeviceQueue(options), mask_(options.size - 1) {}

 private:
  std::optional<QueueError> read_heads(std::size_t max) override;
  std::optional<QueueError> read_table(ChainBuilder& chain,
                                       std::span<const std::uint64_t> words) override;
  bool write_used(std::span<ChainRecord* const> done) override;
  void suppress_notifications() override;
  bool look_for_next() const override;
  bool ask_for_notification() override;

  [[nodiscard]] std::optional<QueueError> read_chain(std::uint32_t head);
  /// A descriptor with other flags than NEXT and WRITE.
  [[nodiscard]] std::optional<QueueError> read_special(const ChainBuilder& chain,
                                                       const Descriptor& descriptor);

  std::uint32_t mask_;
  std::uint16_t next_avail_ = 0;  // free-running, as the indices in the rings
  std::uint16_t next_used_ = 0;
  std::uint16_t event_ = 0;      // avail_event, as we wrote it; a new ring has 0 there
  std::uint16_t next_head_ = 0;  // in_order: where the next chain begins
};

}  // namespace vmsg
