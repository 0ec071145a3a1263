// A host on a network: a network device with an address, which answers ARP and pings while it does
// what it is there for.
#pragma once

#include <functional>
#include <memory>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/guest_nic.hpp"
#include "tools/vmsg-guest/ip_frames.hpp"

namespace vmsg::guest {

class NetHost {
 public:
  /// `on_frame` hears of every right frame for us that is not answered here.
  using FrameHandler = std::function<void(const net::NetHeader& header, const ParsedFrame& frame)>;

  static Result<std::unique_ptr<NetHost>, Failure> open(GuestLink& link, NicOptions nic_options,
                                                        CommandOptions options,
                                                        const NetCommandOptions& net);

  [[nodiscard]] GuestNic& nic() { return *nic_; }
  [[nodiscard]] const Endpoint& self() const { return self_; }
  void set_handler(FrameHandler handler) { handler_ = std::move(handler); }

  /// Takes what came and answers what must be answered; waits at most `patience` if there is
  /// nothing. False when there was nothing.
  Result<bool, Failure> turn(std::chrono::nanoseconds patience);

  /// Turns until `is_done` says so; false when `patience` is over.
  Result<bool, Failure> turn_until(const std::function<bool()>& is_done,
                                   std::chrono::nanoseconds patience);

  /// Finds out who has the address, asking again every so often.
  Result<Endpoint, Failure> resolve(IpAddress address, std::chrono::nanoseconds patience);

  /// Sends one frame of ours at once.
  Result<void, Failure> send(std::span<const std::byte> frame, const net::NetHeader& header = {});

  /// Frames whose checksum was wrong.
  [[nodiscard]] std::uint64_t wrong_checksums() const { return wrong_checksums_; }

 private:
  NetHost(std::unique_ptr<GuestNic> nic, const Endpoint& self)
      : nic_(std::move(nic)), self_(self) {}
  void on_frame(const net::NetHeader& header, std::span<const std::byte> frame);
  Result<void, Failure> send_answers();

  std::unique_ptr<GuestNic> nic_;
  Endpoint self_;
  FrameHandler handler_;
  std::optional<Endpoint> answered_;  // by an ARP reply
  std::vector<std::vector<std::byte>> answers_;
  std::uint64_t wrong_checksums_ = 0;
};

}  // namespace vmsg::guest
