// A network device as vmsg-guest drives it: frames go out by add() and flush(), and come in by
// receive(). Buffers may be divided among descriptors in any way, to try what a device makes of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <vector>

#include "devices/net/mac_address.hpp"
#include "devices/net/net_protocol.hpp"
#include "tools/vmsg-guest/guest_buffers.hpp"
#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::guest {

struct NicOptions {
  std::uint32_t queue_size = 256;
  std::uint32_t receive_buffers = 128;
  std::uint32_t receive_buffer_size = 2048;  // at most a page
  std::uint32_t send_buffers = 128;
  std::uint32_t send_buffer_size = 4096;  // a multiple of a page
  std::uint32_t most_descriptors = 1;     // of a buffer; how many is drawn for each
  std::uint64_t seed = 1;
};

class GuestNic {
 public:
  /// Told about a frame that came, with its header.
  using FrameHandler =
      std::function<void(const net::NetHeader& header, std::span<const std::byte> frame)>;

  /// `device` is a network device that was brought up.
  static Result<std::unique_ptr<GuestNic>, Failure> open(GuestLink& link,
                                                         std::unique_ptr<GuestDevice> device,
                                                         const NicOptions& options);

  [[nodiscard]] const net::MacAddress& mac() const { return mac_; }
  [[nodiscard]] std::uint16_t mtu() const { return mtu_; }
  [[nodiscard]] const FeatureSet& features() const { return device_->state().selection(); }

  /// How many frames can be added now.
  Result<std::size_t, Failure> room();
  /// Adds a frame to be sent at the next flush(); there is room.
  Result<void, Failure> add(const net::NetHeader& header, std::span<const std::byte> frame);
  void flush() { device_->publish(*send_); }
  /// Waits until everything that was sent has left.
  Result<void, Failure> drain();

  /// Hands all frames that have come to `handler` and gives their buffers back to the device.
  /// Returns how many there were.
  Result<std::size_t, Failure> receive(const FrameHandler& handler);

  /// Waits until something came, or was sent, or `patience` is over: false then.
  Result<bool, Failure> wait(std::chrono::nanoseconds patience);

  Result<void, Failure> stop() { return device_->stop(); }

 private:
  GuestNic(std::unique_ptr<GuestDevice> device, const NicOptions& options);
  Result<void, Failure> set_up(GuestLink& link);
  /// `length` bytes from `address` on in a number of pieces.
  std::span<const Segment> divide(GrantAddress address, std::uint32_t length);
  Result<void, Failure> offer(std::uint32_t buffer);
  Result<void, Failure> collect_sent();

  const NicOptions options_;
  std::mt19937_64 random_;
  net::MacAddress mac_;
  std::uint16_t mtu_ = 1500;
  std::vector<Segment> pieces_;
  std::vector<std::uint32_t> cuts_;
  std::vector<std::uint32_t> free_to_send_;
  std::vector<std::byte> frame_;  // the one that is being put together, its header included
  std::uint32_t parts_missing_ = 0;
  // The device stops using the pages before they go.
  std::optional<GuestBuffers> receive_pages_;
  std::optional<GuestBuffers> send_pages_;
  std::unique_ptr<GuestDevice> device_;
  GuestQueue* receive_ = nullptr;
  GuestQueue* send_ = nullptr;
};

}  // namespace vmsg::guest
