// virtio-console: one or more streams of bytes between a guest and the host, of which some are
// terminals. The virtio side is here and in console_queues.hpp; what a port is made of on the host
// is host_stream.hpp. docs/console.md says what an administrator can do with it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "devices/console/console_counters.hpp"
#include "devices/console/console_hub.hpp"
#include "devices/console/console_options.hpp"
#include "devices/queue_service.hpp"
#include "transport/result.hpp"

namespace vmsg::console {

class ConsoleDevice final : public ServedDevice {
 public:
  /// Opens what stands behind the ports. The error names the port and says what is wrong.
  static Result<std::unique_ptr<ConsoleDevice>, std::string> create(const ConsoleOptions& options);
  ~ConsoleDevice() override;

  const DeviceIdentity& identity() const override { return identity_; }
  FeatureSet device_features() const override;
  bool accepts(const FeatureSet&) const override { return true; }
  void features_negotiated(const FeatureSet& selection) override;
  std::uint32_t max_queue_size(std::uint32_t index) const override;
  bool has_queue(std::uint32_t index, const FeatureSet& selection) const override;
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  ConfigWrite write_config(std::uint32_t offset, std::span<const std::byte> bytes) override;
  bool is_always_writable(std::uint32_t offset, std::uint32_t length) const override;
  void reset() override { hub_->reset(); }

  PublishedFacts published() const override;
  void report(CounterSink& sink) const override;
  void update_config() override { window_ = hub_->window(); }

  std::uint32_t queue_group(std::uint32_t) const override { return 0; }
  QueueLimits queue_limits(std::uint32_t index) const override;
  std::unique_ptr<QueueService> open_queue(const QueueContext& context) override;

 private:
  ConsoleDevice(const ConsoleOptions& options, std::vector<std::unique_ptr<HostStream>> streams,
                FileDescriptor emergency);

  ConsoleOptions options_;
  DeviceIdentity identity_;
  WindowSize window_;  // as the configuration space has it
  ConsoleCounters counters_;
  std::unique_ptr<ConsoleHub> hub_;
};

}  // namespace vmsg::console
