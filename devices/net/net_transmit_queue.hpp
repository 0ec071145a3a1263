// The transmit queue of virtio-net: frames of the driver, copied once, checked, and handed to the
// host. A frame that cannot be is dropped and counted: on a network that is no error.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>

#include "devices/bounded_queue.hpp"
#include "devices/byte_ring.hpp"
#include "devices/net/frame_io.hpp"
#include "devices/net/net_state.hpp"
#include "devices/queue_service.hpp"
#include "devices/token_bucket.hpp"

namespace vmsg::net {

class NetTransmitQueue final : public QueueService, private FrameListener {
 public:
  static constexpr std::uint32_t kMaxInFlight = 128;

  /// `limit` is shared by the queues of a device, which run on one worker if it limits anything.
  /// `host`, `limit` and `counters` outlive it.
  NetTransmitQueue(const QueueContext& context, std::uint32_t pair, NetHost& host,
                   TokenBucket& limit, PairCounters& counters);

  std::size_t room() const override { return frames_.room(); }
  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds now) override;
  std::optional<ServiceFault> start(Nanoseconds now) override;
  void deliver(const GuestRef&, CopyBatch&) override { is_in_turn_ = false; }
  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override;
  bool has_work_in_flight() const override { return transmitter_->has_work_in_flight(); }
  void abandon() override;
  std::optional<Nanoseconds> wants_turn_at() const override { return wake_at_; }

 private:
  enum class State : std::uint8_t { kWaiting, kFetched, kSent, kDropped };
  struct Frame {
    Chain chain;
    Nanoseconds taken_at = 0;
    std::span<std::byte> bytes;  // header and frame, in bytes_
    State state = State::kWaiting;
    CopyOutcome outcome = CopyOutcome::kOk;
  };

  void host_progressed() override;
  void fetch_waiting(const GuestRef& guest, CopyBatch& fetch);
  /// False when it must be tried again later.
  bool start_frame(std::size_t index, Nanoseconds now);

  QueueWaker& waker_;
  const FeatureSet features_;
  TokenBucket& limit_;
  PairCounters& counters_;
  std::unique_ptr<FrameTransmitter> transmitter_;

  // In the order of the queue: first those that were started, then those whose bytes are here,
  // then those that wait for room in bytes_.
  BoundedQueue<Frame> frames_;
  std::size_t started_ = 0;
  std::size_t fetched_ = 0;
  ByteRing bytes_;
  std::uint32_t segments_left_ = 0;  // that this turn may still make
  bool is_in_turn_ = false;
  bool has_bad_buffer_ = false;
  std::optional<Nanoseconds> wake_at_;
};

}  // namespace vmsg::net
