// One bus: the handshake with one driver side, its ring, its devices, and the end of all of it.
//
// It follows the xenbus table of xenbus-glue, owns what the handshake made (ring, port, endpoint),
// and keeps the devices, which outlive a connection: what concerns those is in
// bus_session_devices.cpp. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backend/attached_device.hpp"
#include "backend/bus_link.hpp"
#include "backend/device_maker.hpp"
#include "backend/limits.hpp"
#include "backend/log.hpp"
#include "backend/retry_timer.hpp"
#include "backend/worker_pool.hpp"
#include "xenbus-glue/asio_event_channels.hpp"
#include "xenbus-glue/asio_watches.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/device_nodes.hpp"
#include "xenbus-glue/store.hpp"

namespace vmsg {

/// What every bus of the daemon shares.
struct BusServices {
  boost::asio::io_context& context;
  xen::Store& store;
  xen::AsioWatches& watches;
  xen::AsioEventChannels& events;
  xen::GrantMapper& mapper;
  RegionBudget& regions;
  WorkerPool& workers;
  DeviceMaker& maker;
  const Limits& limits;
  const TraceHub& trace;
};

class BusSession final : public BusLinkListener {
 public:
  /// `on_over` is called from the loop once nothing is left of the bus, on either side of which we
  /// own; the session may be destroyed then.
  BusSession(const xen::BusId& id, BusServices& services, std::shared_ptr<GuestBudget> budget,
             Log log, std::function<void(const xen::BusId&)> on_over);
  ~BusSession() override;

  [[nodiscard]] const std::shared_ptr<GuestBudget>& budget() const { return budget_; }

  /// Takes up the bus as the store has it, perhaps from a predecessor.
  void start();

  /// Something changed in our directory of the bus, or in its list of devices.
  void nodes_changed();
  void devices_changed();

  /// The driver domain was destroyed: everything goes, nothing is asked.
  void driver_gone();

  /// The daemon stops: close the bus in order. The bus stays in the store for a successor.
  void shut_down();

  [[nodiscard]] const xen::BusId& id() const { return id_; }
  [[nodiscard]] BusSnapshot snapshot() const;

 private:
  struct Alive {};
  /// A device in the store that is judged, and not served.
  struct Refusal {
    std::string why;
    bool is_told = false;
  };

  // BusLinkListener
  void link_failed(const std::string& why) override;
  void link_gone() override;
  void device_gone(std::uint16_t number) override;
  void device_ejected(std::uint16_t number, bool is_done) override;

  void step();
  /// False when the bus or its guest is gone.
  bool take_steps();
  void act(xen::DeviceSideAction action);
  void advertise();
  void connect();
  /// The daemon stops: the bus is closed, after the farewell if there is one.
  void take_leave();
  /// Tells the driver side that the bus closes, and serves it until it has answered: step() comes
  /// when it has, or when the time for that is over. Some drivers wait for an answer from their
  /// device without a pause, and would never hear that there is none to come.
  void say_farewell();
  /// Whether all devices are there, or have been waited for long enough; step() comes when they
  /// are.
  bool are_devices_there();
  void close();
  void release();
  void remove();
  void remove_again();
  /// Tells that it is over, once.
  void end();
  void enter(xen::XenbusState state);
  void tell_state();
  void refuse(const std::string& why);
  /// Says what failed, and comes back to it later.
  bool check(const Result<void, xen::XenError>& result, const char* what);
  /// Tells what could not be told, and looks at everything as if it had changed: an event that we
  /// could not follow does not come a second time.
  void look_again();

  void sync_devices();
  void drop_vanished(const std::vector<std::uint16_t>& numbers);
  void add_device(std::uint16_t number, const xen::DeviceNode& node);
  void device_made(const std::weak_ptr<AttachedDevice>& reserved, DeviceMaker::Made made);
  /// A device says that bytes of its configuration space change by themselves.
  void config_changed(std::uint16_t number);
  void refresh_device(AttachedDevice& device);
  void start_detach(AttachedDevice& device, xen::DetachRequest how);
  void take_back(AttachedDevice& device);
  /// Closes what stands behind a device that is on no bus any more, then forgets it.
  void close_device(AttachedDevice& device);
  void device_closed(std::uint16_t number);
  void refuse_device(std::uint16_t number, const std::string& why);
  void set_status(std::uint16_t number, xen::AttachStatus status, const std::string& error = {});
  void tell_device(AttachedDevice& device);
  void tell_refusal(std::uint16_t number, Refusal& refusal);
  bool tell_status(std::uint16_t number, xen::AttachStatus status, const std::string& error,
                   const PublishedFacts& published);

  const xen::BusId id_;
  BusServices& services_;
  const std::shared_ptr<GuestBudget> budget_;  // one for all buses of a guest
  Log log_;
  std::function<void(const xen::BusId&)> on_over_;

  xen::XenbusState own_ = xen::XenbusState::kUnknown;
  bool is_state_told_ = true;
  xen::Watch driver_watch_;
  bool is_driver_gone_ = false;
  bool is_shutting_down_ = false;
  bool is_stepping_ = false;
  bool is_over_ = false;
  bool is_removing_ = false;

  std::optional<boost::asio::steady_timer> device_wait_;  // of this handshake
  bool is_device_wait_over_ = false;

  std::optional<boost::asio::steady_timer> farewell_;  // while the driver side has yet to answer

  RetryTimer retry_;  // of what xenstore could not be told or asked

  std::string error_;  // why the bus was closed last, until it is offered again
  std::map<std::uint16_t, Refusal> refused_;
  // The link uses the devices, so it is declared after them and goes first.
  std::map<std::uint16_t, std::shared_ptr<AttachedDevice>> devices_;
  std::unique_ptr<BusLink> link_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
