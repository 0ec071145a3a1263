// virtio-net: a network card. Pairs of a receive and a transmit queue, and a control queue after
// them. The virtio side is here and in the files of its queues; where frames go to is a NetHost's
// business.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "devices/net/frame_io.hpp"
#include "devices/net/net_options.hpp"
#include "devices/net/net_state.hpp"
#include "devices/queue_service.hpp"
#include "devices/token_bucket.hpp"

namespace vmsg::net {

class NetDevice final : public ServedDevice {
 public:
  /// `mac` is the address that the device has after a reset.
  NetDevice(const NetOptions& options, const MacAddress& mac, std::unique_ptr<NetHost> host);

  const DeviceIdentity& identity() const override { return identity_; }
  FeatureSet device_features() const override;
  bool accepts(const FeatureSet& selection) const override;
  void features_negotiated(const FeatureSet& selection) override;
  std::uint32_t max_queue_size(std::uint32_t index) const override;
  bool has_queue(std::uint32_t index, const FeatureSet& selection) const override;
  void read_config(std::uint32_t offset, std::span<std::byte> out) const override;
  ConfigWrite write_config(std::uint32_t, std::span<const std::byte>) override {
    return ConfigWrite::kRefused;
  }
  void reset() override;
  Result<void, std::string> refresh() override;

  PublishedFacts published() const override;
  void report(CounterSink& sink) const override;
  std::uint32_t queue_group(std::uint32_t index) const override;
  QueueLimits queue_limits(std::uint32_t index) const override;
  std::unique_ptr<QueueService> open_queue(const QueueContext& context) override;

 private:
  enum class QueueKind : std::uint8_t { kNone, kReceive, kTransmit, kControl };
  /// What the queue is under this selection.
  [[nodiscard]] QueueKind kind_of(std::uint32_t index, const FeatureSet& selection) const;

  const NetOptions options_;
  DeviceIdentity identity_;
  std::unique_ptr<NetHost> host_;  // outlives the state, which speaks to it
  NetState state_;
  FeatureSet selection_;
  TokenBucket limit_;                   // used by one worker, see queue_group()
  std::vector<PairCounters> counters_;  // by pair
};

}  // namespace vmsg::net
