// virtio-blk (virtio 1.3, 5.2): its features, its configuration space, its queues. Where the bytes
// are kept is disk.hpp's business.
#pragma once

#include <memory>
#include <vector>

#include "devices/blk/blk_options.hpp"
#include "devices/blk/blk_queue.hpp"
#include "devices/blk/disk.hpp"
#include "devices/open_error.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::blk {

class BlkDevice final : public ServedDevice {
 public:
  /// Opens what the options name, which may block.
  [[nodiscard]] static Result<std::unique_ptr<ServedDevice>, OpenError> open(
      const BlkOptions& options);

  BlkDevice(const BlkOptions& options, std::unique_ptr<Disk> disk);

  const DeviceIdentity& identity() const override { return identity_; }
  FeatureSet device_features() const override { return offered_; }
  bool accepts(const FeatureSet& selection) const override;
  void features_negotiated(const FeatureSet& selection) override;
  std::uint32_t max_queue_size(std::uint32_t index) const override;
  bool has_queue(std::uint32_t index, const FeatureSet& selection) const override;
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  ConfigWrite write_config(std::uint32_t offset, std::span<const std::byte> bytes) override;
  void reset() override;

  Result<void, std::string> refresh() override;
  void report(CounterSink& sink) const override;

  std::uint32_t queue_group(std::uint32_t index) const override;
  QueueLimits queue_limits(std::uint32_t index) const override;
  std::unique_ptr<QueueService> open_queue(const QueueContext& context) override;

 private:
  /// Any thread.
  void look_at_size();
  [[nodiscard]] wire::Config config() const;
  [[nodiscard]] RequestRules rules() const;

  const BlkOptions options_;
  DeviceIdentity identity_;
  FeatureSet offered_;
  FeatureSet selection_;
  LiveState live_;
  // Last: a disk may have a thread that tells of a new size.
  const std::unique_ptr<Disk> disk_;
  const std::uint32_t queues_;
  const std::uint32_t seg_max_;
  Throttle throttle_;                  // of the worker that serves all the queues, if it limits
  std::vector<BlkCounters> counters_;  // by queue, written by the worker that serves it
};

}  // namespace vmsg::blk
