// A console as vmsg-guest drives it: one port of it, its buffers, and the conversation about ports.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::guest {

/// A transmitq or receiveq with a page for each of its buffers.
struct GuestPipe {
  GuestQueue* queue = nullptr;
  std::optional<GuestBuffers> buffers;
  std::vector<std::uint64_t> free;  // pages that no buffer is made of now
};

class GuestConsole {
 public:
  static constexpr std::uint32_t kPiece = 4096;

  /// Sets up the queues of a device that is brought up, and goes live. `say` hears in words what
  /// the device says about ports.
  static Result<std::unique_ptr<GuestConsole>, Failure> open(
      GuestDevice& device, std::uint32_t port, std::function<void(const std::string&)> say);

  /// Whether write() would take something.
  [[nodiscard]] bool can_write() const { return !transmit_.free.empty(); }
  using Taker = std::function<bool(std::span<const std::byte>)>;

  /// At most kPiece bytes.
  Result<void, Failure> write(std::span<const std::byte> bytes);
  /// Whether the device has everything that was written.
  [[nodiscard]] bool is_written() const { return unwritten_ == 0; }
  /// What arrived is handed to `take`, buffers that came back are used again, and what the device
  /// says is answered. True when anything happened; if not, the device wakes the loop.
  Result<bool, Failure> turn(const Taker& take);

  /// Tells the device that nobody uses the port any more.
  Result<void, Failure> close_port();

 private:
  GuestConsole(GuestDevice& device, std::uint32_t port, std::function<void(const std::string&)> say)
      : device_(device), port_(port), say_(std::move(say)) {}

  Result<void, Failure> set_up();
  /// What the device has done with the buffers of one queue: whether there was anything.
  Result<bool, Failure> collect_sent(GuestPipe& pipe);
  Result<bool, Failure> collect_received(GuestPipe& pipe, const Taker& take);
  Result<void, Failure> make_pipe(GuestPipe& pipe, std::uint32_t index, Access access);
  Result<void, Failure> offer_all(GuestPipe& pipe);
  Result<void, Failure> tell(std::uint32_t port, std::uint16_t event, std::uint16_t value);
  Result<void, Failure> hear(std::span<const std::byte> message);
  Result<std::optional<UsedBuffer>, Failure> next_used(GuestPipe& pipe);

  GuestDevice& device_;
  const std::uint32_t port_;
  std::function<void(const std::string&)> say_;
  bool is_multiport_ = false;
  GuestPipe receive_;
  GuestPipe transmit_;
  GuestPipe control_receive_;
  GuestPipe control_transmit_;
  std::size_t unwritten_ = 0;
};

}  // namespace vmsg::guest
