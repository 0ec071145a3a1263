// The receive queue of virtio-net: frames that the host has into buffers that the driver made
// available. A frame may take several buffers when they are mergeable.
//
// The host is asked for frames only while the driver has buffers here, so one that posts none costs
// nothing: its frames wait, and are dropped, in the host's own bounded queue.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "devices/bounded_queue.hpp"
#include "devices/net/frame_io.hpp"
#include "devices/net/net_state.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::net {

class NetReceiveQueue final : public QueueService, private FrameListener {
 public:
  /// Most buffers that are held.
  static constexpr std::uint32_t kMaxInFlight = 256;

  struct Options {
    std::uint32_t queue_size = 0;
    bool mergeable = false;
    /// This queue's life is the carrier's.
    bool leads = false;
  };

  /// `host`, `state` and `counters` outlive it.
  NetReceiveQueue(const QueueContext& context, std::uint32_t pair, NetHost& host, NetState& state,
                  PairCounters& counters);

  std::size_t room() const override;
  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds now) override;
  std::optional<ServiceFault> start(Nanoseconds now) override;
  void deliver(const GuestRef& guest, CopyBatch& give) override;
  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override;
  bool has_work_in_flight() const override { return receiver_->has_work_in_flight(); }
  void abandon() override;
  std::optional<Nanoseconds> wants_turn_at() const override { return wake_at_; }

 private:
  struct Buffer {
    Chain chain;
    std::uint32_t written = 0;
    CopyOutcome outcome = CopyOutcome::kOk;
  };
  enum class Placing : std::uint8_t { kPlaced, kMustWait, kNeverFits };

  void host_progressed() override;
  /// Which of the frames that came the guest is to have.
  bool is_wanted(std::span<std::byte> frame);
  Placing place(std::span<std::byte> frame, const GuestRef& guest, CopyBatch& give);

  QueueWaker& waker_;
  ServiceFault fault(ServiceFault why);
  void lose_carrier();

  NetState& state_;
  PairCounters& counters_;
  const bool mergeable_;
  const bool leads_;
  std::unique_ptr<FrameReceiver> receiver_;

  BoundedQueue<Buffer> buffers_;
  NetState::ReceiveView view_;
  std::size_t buffers_used_ = 0;  // of this turn: the oldest ones
  std::size_t frames_used_ = 0;
  bool is_in_turn_ = false;
  bool is_live_ = false;
  bool has_bad_buffer_ = false;
  /// The oldest frame waits for more buffers than there are.
  bool is_short_ = false;
  std::optional<Nanoseconds> short_since_;
  Nanoseconds now_ = 0;
  std::optional<Nanoseconds> wake_at_;
};

}  // namespace vmsg::net
