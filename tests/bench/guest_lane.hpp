// A guest of the mock Xen with one block device and its lane: what vmsg-guest does to bring a
// device up, and then nothing but the queue and its event channel.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "tests/bench/block_lane.hpp"
#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::bench {

struct GuestLaneOptions {
  LaneOptions lane;
  guest::DeviceChoice device;
  bool shared_regions = false;
  std::uint32_t queue_size = 0;  // 0: what the lane needs
  std::uint32_t queue = 0;       // its index
};

class GuestLane {
 public:
  /// In the domain that handles of this thread belong to now.
  static Result<std::unique_ptr<GuestLane>, std::string> create(const GuestLaneOptions& options);
  ~GuestLane();
  GuestLane(const GuestLane&) = delete;
  GuestLane& operator=(const GuestLane&) = delete;

  [[nodiscard]] BlockLane& lane() { return *lane_; }
  /// Readable when the device side has notified.
  [[nodiscard]] int fd() const { return events_->fd(); }
  void kick() const { static_cast<void>(port_.notify()); }
  void clear();

 private:
  GuestLane() = default;
  Result<void, std::string> start(const GuestLaneOptions& options);
  Result<void, std::string> bind_port(std::uint32_t queue);

  guest::GuestLoop loop_;
  std::unique_ptr<guest::GuestLink> link_;
  std::unique_ptr<guest::GuestDevice> device_;
  std::optional<guest::GuestBuffers> buffers_;
  std::optional<xen::EventChannels> events_;
  xen::Port port_;
  std::unique_ptr<BlockLane> lane_;
};

}  // namespace vmsg::bench
