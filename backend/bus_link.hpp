// A connected bus: the ring with its event channel, the endpoint that speaks on it, and the served
// side of each device that is on it. Made when a driver side has given acceptable answers; closed
// once, for whatever reason; gone when no worker uses anything of it any more.
//
// It knows nothing of xenstore. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/device_session.hpp"
#include "backend/limits.hpp"
#include "backend/log.hpp"
#include "backend/snapshot.hpp"
#include "backend/trace_hub.hpp"
#include "backend/worker_pool.hpp"
#include "transport/bus_endpoint.hpp"
#include "transport/ring.hpp"
#include "xenbus-glue/asio_event_channels.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/ring_pages.hpp"
#include "xenbus-glue/shared_regions.hpp"

namespace vmsg {

/// Whom a link tells. Calls come from the loop, never from within a call to the link.
class BusLinkListener {
 public:
  BusLinkListener() = default;
  BusLinkListener(const BusLinkListener&) = delete;
  BusLinkListener& operator=(const BusLinkListener&) = delete;
  virtual ~BusLinkListener() = default;

  /// The link cannot go on (the driver side broke the ring, a Xen call failed): close() it.
  virtual void link_failed(const std::string& why) = 0;
  /// After close(): nothing of the driver side's is mapped, bound or served any more.
  virtual void link_gone() = 0;
  /// After detach(): nothing of the device is in use any more; the Device may be destroyed.
  virtual void device_gone(std::uint16_t number) = 0;
  /// The driver side has let go of a device, asked or unasked, or refuses to.
  virtual void device_ejected(std::uint16_t number, bool is_done) = 0;
};

class BusLink final : public FrameSink, public BusHost, public DeviceSessionListener {
 public:
  struct Environment {
    boost::asio::io_context& context;
    xen::AsioEventChannels& events;
    xen::GrantMapper& mapper;
    RegionBudget& regions;
    WorkerPool& workers;
    const Limits& limits;
    const TraceHub& trace;
    std::shared_ptr<GuestBudget> budget;
  };

  /// Maps the ring and binds the port that the answers name. The error is for the `error` node.
  static Result<std::unique_ptr<BusLink>, std::string> connect(const Environment& environment,
                                                               const xen::BusId& id,
                                                               const xen::Answers& answers,
                                                               BusLinkListener& listener, Log log);
  ~BusLink() override;

  /// Puts a device on the bus; it stays the caller's until device_gone().
  Result<void, std::string> attach(std::uint16_t number, ServedDevice& device, bool is_announced);
  /// Asks the driver side to let go of it. False when it is not on the bus, or not any more.
  bool eject(std::uint16_t number);
  /// Takes it off the bus. False when it was never there: then no device_gone() follows.
  [[nodiscard]] bool detach(std::uint16_t number);

  /// Looks at the ring for the first time: after both sides are connected.
  void open();
  void close();
  /// Also one that has failed is closed, before its listener has heard of it: nothing is to be put
  /// on it any more.
  [[nodiscard]] bool is_closed() const { return is_closed_; }

  /// The device changed bytes of its configuration space.
  void config_changed(std::uint16_t number);

  /// Fills in what the link knows: of the bus, and of a device that is on it.
  void describe_bus(BusSnapshot& bus) const;
  void describe_device(DeviceSnapshot& device) const;

 private:
  struct Alive {};
  struct Served {
    std::unique_ptr<DeviceSession> session;
    std::unique_ptr<boost::asio::steady_timer> reset_timer;
    bool is_leaving = false;
  };

  BusLink(const Environment& environment, const xen::BusId& id, const xen::Answers& answers,
          xen::MappedRing ring, RingProducer in, RingConsumer out, BusLinkListener& listener,
          Log log);

  // FrameSink
  bool has_room(std::size_t bytes) override;
  void send(std::span<const std::byte> frame) override;

  // BusHost
  PortAnswer bind_queue_port(std::uint16_t device, std::uint32_t queue,
                             std::uint32_t port) override;
  void unbind_queue_port(std::uint16_t device, std::uint32_t queue) override;
  RegionAnswer share_region(std::uint32_t region, GrantAddress address,
                            std::uint32_t pages) override;
  Release unshare_region(std::uint32_t region) override;
  void ejected(std::uint16_t device, bool is_done) override;

  // DeviceSessionListener
  void device_released(std::uint16_t number) override;
  void device_used(std::uint16_t number, std::uint32_t queue) override;
  void device_failed(std::uint16_t number) override;
  void device_resetting(std::uint16_t number) override;

  void turn();
  void turn_again();
  /// After anything that may have sent frames: publishes, notifies at most once, asks for room.
  void finish_turn();
  void fail(std::string why);
  void post(std::function<void()> work);
  void take_off(std::uint16_t number, Served& served);
  void finish_leaving();
  void note_frame(bool is_in, std::span<const std::byte> frame) const;
  void note_waiting(bool is_waiting);
  void region_withdrawn(std::uint32_t region);

  Environment environment_;
  const xen::BusId id_;
  BusLinkListener& listener_;
  Log log_;
  bool is_open_ = false;
  bool is_closed_ = false;
  bool is_failure_untold_ = false;
  bool must_notify_ = false;
  bool is_turn_posted_ = false;
  std::uint64_t frames_sent_ = 0;
  std::chrono::nanoseconds ring_full_{0};
  std::optional<Instant> ring_full_since_;
  std::optional<RingError> ring_error_;  // found while sending, acted on at the end of the turn

  // Teardown is bottom up: the endpoint uses the sessions' queues and the ring; the port stops
  // before the ring is unmapped; the sessions map by the guest memory.
  xen::MappedRing ring_;
  xen::GrantGuestMemory memory_;
  SharedRegions regions_;          // workers read it for the queues below
  std::uint32_t withdrawing_ = 0;  // regions that are still mapped until all turns have ended
  RingProducer in_;
  RingConsumer out_;
  std::vector<std::byte> frame_;  // one frame, copied out of the ring
  std::map<std::uint16_t, Served> served_;
  std::unique_ptr<BusEndpoint> endpoint_;
  xen::EventPort port_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
