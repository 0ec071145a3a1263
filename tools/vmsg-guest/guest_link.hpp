// The driver side of one bus in userspace: finds it in xenstore, offers a ring and a port, follows
// the handshake, and carries the frames of its DriverBus.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg-guest/guest_loop.hpp"
#include "transport/driver_bus.hpp"
#include "transport/ring.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/grant_share.hpp"
#include "xenbus-glue/ring_pages.hpp"
#include "xenbus-glue/store.hpp"
#include "xenbus-glue/watches.hpp"

namespace vmsg::guest {

/// One line for the person who runs the tool.
using Failure = std::string;

struct LinkOptions {
  std::uint32_t bus = 0;
  std::uint32_t ring_page_order = 2;
  bool shared_regions = false;  // keep buffers mapped at the device side
  std::chrono::seconds patience{10};
};

class GuestLink final : private FrameSink, private DriverBusListener {
 public:
  /// Connects and finds the devices.
  static Result<std::unique_ptr<GuestLink>, Failure> connect(GuestLoop& loop,
                                                             const LinkOptions& options);
  ~GuestLink() override;

  [[nodiscard]] DriverBus& bus() { return *bus_; }
  [[nodiscard]] const std::set<std::uint16_t>& devices() const { return devices_; }
  [[nodiscard]] xen::DomainId device_domain() const { return id_.device_domain; }
  [[nodiscard]] xen::GrantSharer& sharer() { return sharer_; }
  [[nodiscard]] GuestLoop& loop() { return loop_; }
  [[nodiscard]] const LinkOptions& options() const { return options_; }
  [[nodiscard]] bool has_queue_channels() const { return answers_.queue_event_channels; }

  [[nodiscard]] bool has_shared_regions() const { return answers_.shared_regions; }

  /// Lets the device side keep pages mapped that were granted to it for reading and writing; waits
  /// for its answer. The result is the region's number.
  Result<std::uint32_t, Failure> share_region(GrantAddress address, std::uint32_t pages);
  /// Waits until the device side has really given them back.
  Result<void, Failure> unshare_region(std::uint32_t region);

  /// A port of its own for a queue; `on_kick` runs on the loop.
  Result<xen::Port, Failure> make_port(std::function<void()> on_kick);
  void drop_port(xen::LocalPort port) { handlers_.erase(port); }

  /// For a tester: frames go to `tap` and not to the bus; an empty one ends that.
  void set_tap(std::function<void(std::span<const std::byte>)> tap) { tap_ = std::move(tap); }
  /// For a tester: a frame as it is, at least a header whose msg_size is its length.
  Result<void, Failure> send_raw(std::span<const std::byte> frame);
  [[nodiscard]] std::uint32_t max_message_size() const { return answers_.max_message_size; }

  /// Sends what was queued: after any call to the bus or a device that is made from outside of the
  /// loop's handlers.
  void pump();

  /// Why the link cannot go on; empty while it can.
  [[nodiscard]] const Failure& failure() const { return failure_; }

  /// Closes the bus in order and waits for the device side to let go.
  void close();

 private:
  GuestLink(GuestLoop& loop, const LinkOptions& options, std::unique_ptr<xen::Store> store,
            xen::EventChannels events, xen::GrantSharer sharer);

  Result<void, Failure> find_bus();
  Result<void, Failure> shake_hands();
  Result<void, Failure> leave_predecessor();
  Result<void, Failure> answer();
  Result<void, Failure> start_bus();
  Result<void, Failure> enter(xen::XenbusState state);
  bool wait_for_state(const std::function<bool(xen::XenbusState)>& is_right);

  // FrameSink
  bool has_room(std::size_t bytes) override;
  void send(std::span<const std::byte> frame) override;

  // DriverBusListener
  void device_appeared(std::uint16_t number) override { devices_.insert(number); }
  void device_gone(std::uint16_t number) override { devices_.erase(number); }
  void enumerated(const Result<void, EnumerationError>& result) override;
  void eject_requested(std::uint16_t number, std::uint16_t seconds) override;

  /// Waits for the answer to a request about a region.
  Result<std::uint32_t, Failure> await_region(const std::optional<std::uint32_t>& status,
                                              std::string_view what);

  void on_events();
  void on_watches();
  void take_frames();
  void fail(Failure why);

  GuestLoop& loop_;
  const LinkOptions options_;
  xen::BusId id_;
  xen::Answers answers_;
  Failure failure_;
  bool is_enumerated_ = false;
  bool must_notify_ = false;
  xen::XenbusState own_ = xen::XenbusState::kUnknown;
  std::set<std::uint16_t> devices_;
  std::uint32_t next_region_ = 0;

  // Teardown is bottom up: what is offered goes after nobody uses it any more.
  std::unique_ptr<xen::Store> store_;
  xen::Watches watches_;
  xen::Watch state_watch_;
  xen::EventChannels events_;
  xen::GrantSharer sharer_;
  std::optional<xen::OfferedRing> ring_;
  xen::Port port_;
  std::map<xen::LocalPort, std::function<void()>> handlers_;
  std::optional<RingProducer> out_;
  std::optional<RingConsumer> in_;
  std::vector<std::byte> frame_;
  std::function<void(std::span<const std::byte>)> tap_;
  std::unique_ptr<DriverBus> bus_;
};

}  // namespace vmsg::guest
