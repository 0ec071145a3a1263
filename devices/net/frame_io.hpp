// Where the frames of a network device go to and come from: what the virtio side knows of the host
// side. Frames travel with a NetHeader before them, in one piece.
//
// Receivers and transmitters live on the worker of their queue, keep to its io_uring, never block
// and never allocate after they were made.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/io_ring.hpp"
#include "transport/features.hpp"

namespace vmsg::net {

/// Told, on the worker's thread, that something of what was asked for is done.
class FrameListener {
 public:
  FrameListener() = default;
  FrameListener(const FrameListener&) = delete;
  FrameListener& operator=(const FrameListener&) = delete;
  virtual ~FrameListener() = default;

  virtual void host_progressed() = 0;
};

class FrameReceiver {
 public:
  FrameReceiver() = default;
  FrameReceiver(const FrameReceiver&) = delete;
  FrameReceiver& operator=(const FrameReceiver&) = delete;
  virtual ~FrameReceiver() = default;

  /// There is room for `frames` more at the guest: asks the host for some, as many as make sense.
  /// To be called every turn while there is room.
  virtual void request(std::size_t frames) = 0;
  /// Nothing is being waited for: unless request() is called again, nothing will come.
  [[nodiscard]] virtual bool is_idle() const = 0;
  /// The host refuses to give frames now; trying again after a while is all that can be done.
  [[nodiscard]] virtual bool has_failed() const = 0;

  [[nodiscard]] virtual std::size_t received() const = 0;
  /// The `index`-th oldest, header included: ours to change until it is released.
  [[nodiscard]] virtual std::span<std::byte> frame(std::size_t index) = 0;
  /// The oldest `count` are not needed any more.
  virtual void release(std::size_t count) = 0;

  [[nodiscard]] virtual bool has_work_in_flight() const = 0;
  /// Ends what is under way.
  virtual void stop() = 0;
};

class FrameTransmitter {
 public:
  FrameTransmitter() = default;
  FrameTransmitter(const FrameTransmitter&) = delete;
  FrameTransmitter& operator=(const FrameTransmitter&) = delete;
  virtual ~FrameTransmitter() = default;

  /// Hands a frame with its (checked) header to the host. `bytes` stay as they are until
  /// take_result() named `slot`, a number below the capacity that the transmitter was made for.
  /// False: not now, try again on a later turn.
  [[nodiscard]] virtual bool send(std::size_t slot, std::span<std::byte> bytes) = 0;
  /// The turn's frames were all handed over.
  virtual void flush() = 0;

  /// The frame in `slot` has left (0) or could not (an errno); nullopt: not done yet.
  [[nodiscard]] virtual std::optional<int> result(std::size_t slot) const = 0;

  [[nodiscard]] virtual bool has_work_in_flight() const = 0;
  virtual void stop() = 0;
};

/// What a guest has chosen and what follows from it for the host.
struct HostSettings {
  FeatureSet guest_offloads;       // GUEST_CSUM, GUEST_TSO4, ...: what frames to it may rely on
  std::uint32_t active_pairs = 1;  // frames may come by these queues
  bool has_carrier = false;        // somebody takes frames at all

  friend bool operator==(const HostSettings&, const HostSettings&) = default;
};

/// The host side of one network device.
class NetHost {
 public:
  NetHost() = default;
  NetHost(const NetHost&) = delete;
  NetHost& operator=(const NetHost&) = delete;
  virtual ~NetHost() = default;

  /// Offload features that can be offered to the guest. Constant.
  [[nodiscard]] virtual FeatureSet offloads() const = 0;
  [[nodiscard]] virtual std::uint16_t mtu() const = 0;
  [[nodiscard]] virtual std::vector<std::pair<std::string, std::string>> published() const = 0;
  /// Receiving and transmitting share state, so they must share a worker.
  [[nodiscard]] virtual bool has_one_worker() const = 0;

  /// On any thread; returns at once. The latest settings win, and take effect a little later: when
  /// followed() has come to the number that this returns.
  virtual std::uint64_t apply(const HostSettings& settings) = 0;
  [[nodiscard]] virtual std::uint64_t followed() const = 0;

  /// Whether frames can leave the host at all now; looks again where that costs something.
  [[nodiscard]] virtual bool is_link_up() = 0;
  /// `on_change` is called, on any thread, when the link comes or goes by itself.
  virtual void set_link_listener(std::function<void(bool is_up)> on_change) = 0;

  /// For the queues of pair `pair`. `capacity`: the most frames that are sent at once.
  [[nodiscard]] virtual std::unique_ptr<FrameReceiver> open_receiver(std::uint32_t pair, IoRing& io,
                                                                     FrameListener& listener) = 0;
  [[nodiscard]] virtual std::unique_ptr<FrameTransmitter> open_transmitter(
      std::uint32_t pair, IoRing& io, FrameListener& listener, std::size_t capacity) = 0;
};

}  // namespace vmsg::net
