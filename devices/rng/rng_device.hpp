// virtio-rng: an entropy source. One queue; the driver makes writable buffers available and the
// device fills each with at least one random byte.
//
// This is the smallest device of the project and the one to copy when you add another:
// docs/adding-a-device.md walks through it. The virtio side is here; where the bytes come from is
// entropy_source.hpp.
#pragma once

#include <memory>

#include "devices/queue_service.hpp"
#include "devices/rng/entropy_source.hpp"
#include "devices/rng/rng_options.hpp"

namespace vmsg::rng {

class RngDevice final : public ServedDevice {
 public:
  /// `source` must outlive the device and its services.
  RngDevice(const RngOptions& options, EntropySource& source);

  const DeviceIdentity& identity() const override { return identity_; }
  FeatureSet device_features() const override { return {}; }
  bool accepts(const FeatureSet&) const override { return true; }
  void features_negotiated(const FeatureSet&) override {}
  std::uint32_t max_queue_size(std::uint32_t index) const override;
  bool has_queue(std::uint32_t index, const FeatureSet&) const override { return index == 0; }
  void read_config(std::uint32_t, std::span<std::byte>) const override {}
  ConfigWrite write_config(std::uint32_t, std::span<const std::byte>) override {
    return ConfigWrite::kRefused;
  }
  void reset() override {}

  void report(CounterSink& sink) const override { sink.operations("read", counters_); }

  QueueLimits queue_limits(std::uint32_t index) const override;
  std::unique_ptr<QueueService> open_queue(const QueueContext& context) override;

 private:
  RngOptions options_;
  EntropySource& source_;
  DeviceIdentity identity_;
  OperationCounters counters_;  // written by the worker that serves the queue
};

}  // namespace vmsg::rng
