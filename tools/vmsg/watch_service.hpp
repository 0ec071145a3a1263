// `vmsg watch`: gives guests that others create the devices of their configurations, and tidies up
// after guests that vanish. One loop; nothing in it waits for a guest or a device side, but for the
// ordered end of a bus.
//
// What it takes for true is in xenstore, so it can be restarted at any time. A failed call of
// xenstore is tried again by looking again.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "tools/vmsg/created_guests.hpp"
#include "tools/vmsg/guest_configs.hpp"
#include "tools/vmsg/guest_mark.hpp"
#include "tools/vmsg/guest_plan.hpp"
#include "tools/vmsg/toolstack.hpp"

namespace vmsg::tool {

struct WatchOptions {
  std::vector<std::string> folders{"/etc/xen", "/etc/xen/auto"};
  std::string devices;
  std::string run_folder;
};

class WatchService {
 public:
  WatchService(Toolstack& toolstack, const WatchOptions& options);

  /// Until `stop_fd` becomes readable, or xenstore fails: the error says how.
  [[nodiscard]] Result<void, Failure> run(int stop_fd);

 private:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kFirstPace{1000};
  static constexpr std::chrono::milliseconds kLastPace{60'000};

  enum class PartState : std::uint8_t {
    kWaiting,    // for its backend domain
    kAttaching,  // written, and not all taken yet
    kAttached,
    kFailed,
  };
  /// The devices of a guest that one backend domain serves.
  struct Part {
    std::string backend;
    std::vector<PlannedDevice> devices;
    PartState state = PartState::kWaiting;
    bool is_wait_told = false;
    std::vector<xen::DeviceNodeId> ids;  // written; while kAttaching in the order of `devices`
    xen::Watch watch;
  };
  struct Guest {
    std::string name;
    bool is_judged = false;   // its configuration was looked for
    bool is_claimed = false;  // `vmsg create` is at work on it
    bool has_config = false;
    std::vector<Part> parts;
    std::string config;             // what the parts are from; empty: entries of xl's virtio list
    std::optional<GuestMark> mark;  // as it is in xenstore
    std::set<std::uint32_t> virtio_seen;  // entries of xl's own virtio list
    xen::Watch name_watch;
    xen::Watch virtio_watch;
  };

  Result<void, Failure> look();
  Result<void, Failure> look_at(xen::DomainId id, Guest& guest);
  Result<xen::Watch, Failure> watch(const xen::Path& path);
  Result<void, Failure> judge(xen::DomainId id, Guest& guest);
  void plan_from_config(xen::DomainId id, Guest& guest);
  void plan(Guest& guest, const DomainConfig& config, std::vector<Problem>& problems);
  /// Another of us, or `vmsg create`, has planned this guest: its parts are found again.
  Result<void, Failure> take_over(xen::DomainId id, Guest& guest);
  Result<void, Failure> find_again(xen::DomainId id, const GuestMark& mark, Part& part);
  void remove_buses_to(xen::DomainId id, xen::DomainId backend);
  void update_mark(xen::DomainId id, Guest& guest);
  void look_at_virtio(xen::DomainId id, Guest& guest);
  void add_device(Guest& guest, PlannedDevice device);
  Result<void, Failure> attach_waiting(xen::DomainId id, Guest& guest);
  void look_at_attaching(xen::DomainId id, Guest& guest);
  Result<void, Failure> look_for_lost_backends(xen::DomainId id, Guest& guest);
  void give_up(xen::DomainId id, Guest& guest, const std::string& why);
  void guest_gone(xen::DomainId id, const Guest& guest);
  void tidy_up();
  void look_later(const Failure& why);
  [[nodiscard]] int patience() const;
  void finish_tidying(xen::DomainId id);

  Toolstack& toolstack_;
  GuestConfigs configs_;
  CreatedGuests created_;
  std::string devices_file_;

  bool must_look_ = true;
  std::optional<Clock::time_point> look_again_;  // what failed is tried again
  std::chrono::milliseconds pace_ = kFirstPace;
  std::map<xen::DomainId, Guest> guests_;
  std::map<xen::DomainId, Clock::time_point> leaving_;  // until when their device sides have time
};

}  // namespace vmsg::tool
