// The control queue of virtio-net: what the driver wants to receive, its address, how many pairs of
// queues it uses, which offloads frames to it may rely on.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "devices/bounded_queue.hpp"
#include "devices/net/net_state.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::net {

class NetControlQueue final : public QueueService {
 public:
  static constexpr std::uint32_t kMaxInFlight = 8;
  /// Bytes of a command that are looked at; a longer one is refused. Enough for 680 addresses.
  static constexpr std::size_t kMaxCommand = 4096;

  /// `state` outlives it.
  NetControlQueue(const QueueContext& context, std::uint16_t max_pairs, NetState& state)
      : features_(context.setup.features),
        max_pairs_(max_pairs),
        state_(state),
        waker_(context.waker),
        commands_(kMaxInFlight),
        bytes_(kMaxInFlight * kMaxCommand) {}

  std::size_t room() const override { return commands_.room(); }
  void take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
            Nanoseconds now) override;
  std::optional<ServiceFault> start(Nanoseconds now) override;
  void deliver(const GuestRef& guest, CopyBatch& give) override;
  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override;
  bool has_work_in_flight() const override { return false; }
  void abandon() override;
  std::optional<Nanoseconds> wants_turn_at() const override { return wake_at_; }

 private:
  struct Command {
    Chain chain;
    std::size_t size = 0;
    std::byte ack{};
    CopyOutcome outcome = CopyOutcome::kOk;
  };

  [[nodiscard]] std::span<std::byte> bytes_of(std::size_t index, std::size_t size);
  /// Whether the command did what it says. One that the host must follow first sets awaited_.
  [[nodiscard]] bool execute(std::span<const std::byte> command);
  [[nodiscard]] bool set_receive_mode(std::uint8_t command, std::span<const std::byte> data);
  [[nodiscard]] bool set_addresses(std::uint8_t command, std::span<const std::byte> data);
  [[nodiscard]] bool set_vlan(std::uint8_t command, std::span<const std::byte> data);
  [[nodiscard]] bool set_pairs(std::uint8_t command, std::span<const std::byte> data);
  [[nodiscard]] bool set_offloads(std::uint8_t command, std::span<const std::byte> data);

  const FeatureSet features_;
  const std::uint16_t max_pairs_;
  NetState& state_;
  QueueWaker& waker_;
  BoundedQueue<Command> commands_;
  std::vector<std::byte> bytes_;
  bool is_done_ = false;  // the oldest command: its answer can be given
  bool has_bad_buffer_ = false;
  std::optional<std::uint64_t> awaited_;  // settings that the host has yet to follow
  std::optional<Nanoseconds> wake_at_;
};

}  // namespace vmsg::net
