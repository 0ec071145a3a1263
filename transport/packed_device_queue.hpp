// The device side of the packed format. Made by DeviceQueue::create().
#pragma once

#include "transport/device_queue.hpp"
#include "transport/event_index.hpp"

namespace vmsg {

class PackedDeviceQueue final : public DeviceQueue {
 public:
  explicit PackedDeviceQueue(const QueueOptions& options) : DeviceQueue(options) {}

 private:
  std::optional<QueueError> read_heads(std::size_t max) override;
  std::optional<QueueError> read_table(ChainBuilder& chain,
                                       std::span<const std::uint64_t> words) override;
  bool write_used(std::span<ChainRecord* const> done) override;
  void suppress_notifications() override;
  bool look_for_next() const override { return has_next(); }
  bool ask_for_notification() override;

  [[nodiscard]] bool has_next() const;
  [[nodiscard]] std::optional<QueueError> read_chain();
  /// A descriptor with other flags than NEXT, WRITE and those of the lap.
  [[nodiscard]] std::optional<QueueError> read_special(const ChainBuilder& chain,
                                                       const Descriptor& descriptor);

  RingPosition next_avail_;
  RingPosition next_used_;
};

}  // namespace vmsg
