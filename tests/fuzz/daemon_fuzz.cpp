// The daemon's own core under a guest and a toolstack that do anything: backend/ as it is, with
// real workers, endpoints, queues and devices of every type, over the mock Xen. What is not the
// daemon's is replaced so that all of it is one thread, without a clock and without a host:
// one_thread_xen, memory_hosts, manual_clock. The input is a script of what guest, toolstack, host
// and Xen do.
//
// What must hold: nothing crashes or leaks; the daemon comes to rest whenever the others do; when a
// reset was answered, or a bus is closed, nothing of it is mapped; what was detached by force has
// left when nothing holds it; what is not granted for writing never changes; the log stays short;
// at the end everything was given back.
#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tests/fuzz/daemon_driver_side.hpp"
#include "tests/fuzz/daemon_world.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tests/fuzz/memory_hosts.hpp"
#include "tests/fuzz/one_thread_xen.hpp"
#include "transport/device_status.hpp"
#include "transport/message.hpp"
#include "transport/queue_layout.hpp"
#include "transport/ring.hpp"
#include "xenbus-glue/bus_nodes.hpp"
#include "xenbus-glue/device_nodes.hpp"

namespace vmsg::fuzz {
namespace {

using mock::Call;

constexpr std::uint16_t kDriverDomain = 5;
constexpr std::size_t kMostActions = 200;  // so that one input cannot take long

// ---- the script ---------------------------------------------------------------------------------

class Script final : public TraceListener, private DriverSide {
 public:
  Script(Daemon& daemon, GuestDomain& guest, xen::Store& toolstack, FuzzInput& input)
      : DriverSide(daemon, guest, input), toolstack_(toolstack) {
    guest_.be_new();
    daemon_.backend().trace().add(guest_.domain(), *this);
    OneThreadXen::world().before_call = [this](std::uint32_t domid, Call call) {
      return domid == daemon_.domain() && daemon_.is_at_work() ? before_call(call) : 0;
    };
    lines_before_ = daemon_.lines();
  }

  ~Script() override {
    armed_write_ = 0;
    armed_failure_ = 0;
    MemoryHosts& hosts = MemoryHosts::all();
    hosts.end_all();
    daemon_.settle();
    // What Xen's failures kept it from is made up for.
    if (has_failed_) daemon_.pass_time(std::chrono::minutes(2));
    check_detached();
    check_states();
    for (std::uint32_t bus = 0; bus < kBuses; ++bus) {
      must(xen::remove_bus(toolstack_, id_of(bus)).has_value(), "a bus cannot be removed");
    }
    daemon_.settle();
    daemon_.must_be_empty();
    guest_.must_be_untouched();
    // What a guest causes is limited for each bus; the rest is the toolstack's and Xen's doing.
    must(daemon_.lines() - lines_before_ <= 30 + 30 * causes_, "the log is long");
    OneThreadXen::world().before_call = {};
    daemon_.backend().trace().remove(*this);
    hosts.is_out_of_entropy = false;
    hosts.refuses_next = false;
  }

  void run() {
    // Most inputs are worth more with a bus that is connected; those that are not say so first.
    const auto how = input_.take<std::uint8_t>();
    as_toolstack([&](xen::Transaction& store) {
      auto done = xen::create_bus(store, id_of(0));
      for (std::uint16_t number = 0; number < kDevices && done; ++number) {
        if ((how >> number & 1U) != 0) done = create_device(store, 0, number, number, 0);
      }
      return done;
    });
    daemon_.settle();
    if ((how & 0x10U) == 0) connect(0);
    for (std::size_t i = 0; i < kMostActions && !input_.is_empty(); ++i) {
      act();
      check();
    }
  }

 private:
  // ---- what must hold

  void on_traced(const TracedFrame& traced) override {
    const auto frame = parse_frame(traced.bytes, kRecommendedMaxMessageSize);
    if (!traced.is_in) {
      if (!frame || frame->header.is_bus()) return;
      if (frame->header.msg_id == VIRTIO_MSG_SET_VQUEUE) {
        set_up_.insert({traced.bus, frame->header.dev_num});
      }
      return;
    }
    must(frame.has_value(), "a bad frame was sent");
    DriverBus& bus = buses_[traced.bus % kBuses];
    if (frame->header.is_bus()) {
      if (!frame->header.is_response() || frame->payload.size() < 8) return;
      const bool is_ok = std::ranges::all_of(frame->payload.subspan(4, 4),
                                             [](std::byte byte) { return byte == std::byte{0}; });
      if (frame->header.msg_id == VMSG_XEN_SHARE_REGION && is_ok) ++bus.regions;
      if (frame->header.msg_id == VMSG_XEN_UNSHARE_REGION && is_ok) --bus.regions;
      return;
    }
    if (frame->header.msg_id != VIRTIO_MSG_SET_DEVICE_STATUS) return;
    const bool is_reset =
        std::ranges::all_of(frame->payload, [](std::byte byte) { return byte == std::byte{0}; });
    if (is_reset) reset_was_answered(traced.bus, frame->header.dev_num);
  }

  void reset_was_answered(std::uint32_t bus, std::uint16_t number) {
    const Snapshot all = daemon_.backend().snapshot();
    for (const BusSnapshot& known : all.buses) {
      if (known.bus != bus) continue;
      for (const DeviceSnapshot& device : known.devices) {
        must(device.number != number || device.queues.empty(), "a queue is left after a reset");
      }
    }
    set_up_.erase({bus, number});
    must(!set_up_.empty() || queues_of_workers(all) == 0, "a worker has a queue after its reset");
    // Another device that is just taken away may have queues that no worker has any more, and whose
    // areas go in a moment. When all is at rest, check() looks at them too.
    if (!is_any_detaching(all)) check_pages(all);
  }

  [[nodiscard]] static bool is_any_detaching(const Snapshot& all) {
    return std::ranges::any_of(all.buses, [](const BusSnapshot& bus) {
      return std::ranges::any_of(bus.devices, [](const DeviceSnapshot& device) {
        return device.status == xen::to_string(xen::AttachStatus::kDetaching);
      });
    });
  }

  [[nodiscard]] static std::size_t queues_of_workers(const Snapshot& all) {
    std::size_t queues = 0;
    for (const WorkerSnapshot& worker : all.workers) queues += worker.queues;
    return queues;
  }

  /// What is mapped is what rings, queues and regions need.
  void check_pages(const Snapshot& all) {
    // Areas may lie across pages as the script wills, and a queue that is on its way back has them.
    if (queues_of_workers(all) != 0) return;
    std::uint32_t pages = 0;
    for (const BusSnapshot& known : all.buses) {
      const DriverBus& bus = buses_[known.bus % kBuses];
      // One that is closing is between the two.
      if (known.state == "closing" || bus.regions != 0) return;
      if (known.state == "connected") {
        if (!bus.order) return;
        pages += 1 + (1U << *bus.order);
      }
    }
    must(all.mapped_pages == pages, "pages are mapped that nothing needs");
  }

  void check() {
    const Snapshot all = daemon_.backend().snapshot();
    for (const BusSnapshot& known : all.buses) {
      DriverBus& bus = buses_[known.bus % kBuses];
      if (known.state != "connected") {
        bus.regions = 0;
        bus.order.reset();
      } else if (!bus.order) {
        bus.order = order_in_ring(known.bus);
      }
    }
    check_pages(all);
  }

  /// Nothing keeps a device any more that the toolstack has asked back by force, and none is
  /// refused because xenstore failed once. Of a bus that was removed before, or never made, nobody
  /// has taken any.
  void check_detached() {
    for (std::uint32_t bus = 0; bus < kBuses; ++bus) {
      const auto is_there = toolstack_.exists(id_of(bus).device_directory() / "frontend");
      must(is_there.has_value(), "a bus cannot be looked for");
      if (!*is_there) continue;
      const auto numbers = xen::list_devices(toolstack_, id_of(bus));
      must(numbers.has_value(), "the devices cannot be listed");
      for (const std::uint16_t number : *numbers) {
        const auto node = xen::read_device(toolstack_, {id_of(bus), number});
        if (!node || !*node) continue;
        must((*node)->detach != xen::DetachRequest::kForce,
             "a device is left that was detached by force");
        must(!(*node)->error.contains("xenstore"), "a device is refused for what is not its fault");
        must(!(*node)->error.contains("cannot be put on a bus"), "a device is not what it must be");
      }
    }
  }

  /// The store has the states that the daemon goes by.
  void check_states() {
    for (const BusSnapshot& known : daemon_.backend().snapshot().buses) {
      const auto told = xen::read_state(toolstack_, id_of(known.bus).device_directory());
      must(told.has_value(), "the state of a bus cannot be read");
      must(known.state == to_lower(xen::to_string(*told)), "a bus has another state in the store");
    }
  }

  static std::string to_lower(std::string_view text) {
    std::string lower(text);
    std::ranges::transform(lower, lower.begin(), [](unsigned char c) { return std::tolower(c); });
    return lower;
  }

  // ---- what can come next

  void act() {
    const std::uint32_t bus = input_.flag() ? 0 : input_.below(kBuses);
    switch (input_.take<std::uint8_t>() % 32) {
      case 0:
        return send_anything(bus);
      case 1:
      case 2:
        return write_anywhere();
      case 3:
      case 4:
        return bring_up(bus);
      case 5:
        return set_up(bus);
      case 6:
      case 7:
      case 8:
      case 9:
        return publish(bus);
      case 10:
      case 11:
        return kick(bus);
      case 12:
        return send_message(bus);
      case 13:
        return change_grant();
      case 14:
        return write_node(bus);
      case 15:
        return write_state(bus);
      case 16:
        return connect(bus);
      case 17:
        return toolstack_acts(bus);
      case 18:
        return attach(bus);
      case 19:
        return detach(bus);
      case 20:
      case 21:
        return host_acts();
      case 22:
        return pass_time();
      case 23:
        return arm_failure();
      case 24:
        return arm_write();
      case 25:
        return share_region(bus);
      case 26:
        return bind_queue_port(bus);
      case 27:
        return set_status(bus, device_number(), input_.take<std::uint8_t>());
      case 28:
        is_deaf_ = input_.flag();
        return take_answers(bus);
      case 29:
        // A bus whose interface page changes under the daemon: it must have read that only once.
        return write_interface(bus);
      case 30:
        return destroy_guest();
      default:
        return reset(bus);
    }
  }

  // ---- the toolstack

  void caused() { ++causes_; }

  template <typename Work>
  void as_toolstack(Work work) {
    // That something is there already, or not, is no failure of the toolstack's.
    if (toolstack_.transact(work)) caused();
  }

  void create_bus(std::uint32_t bus) {
    if (!guest_.is_alive()) return;
    as_toolstack([&](xen::Transaction& store) { return xen::create_bus(store, id_of(bus)); });
  }

  Result<void, xen::XenError> create_device(xen::Transaction& store, std::uint32_t bus,
                                            std::uint16_t number, std::uint32_t type,
                                            std::uint32_t variant) {
    using Parameters = std::map<std::string, std::string, std::less<>>;
    static const std::array<std::pair<const char*, std::array<Parameters, 4>>, 5> types{{
        {"rng", {{{}, {{"rate", "1000"}}, {{"rate", "x"}}, {}}}},
        {"blk",
         {{{{"target", "/d"}, {"queues", "2"}, {"queue-size", "8"}, {"queue-memory", "64K"}},
           {{"target", "/d"}, {"access", "ro"}, {"queue-size", "8"}, {"queue-memory", "64K"}},
           {{"target", "/d"},
            {"iops", "10"},
            {"cache", "writethrough"},
            {"queue-size", "8"},
            {"queue-memory", "64K"}},
           {{"target", "d"}}}}},
        {"net",
         {{{{"queues", "2"}}, {{"rate", "1Mb/s"}}, {{"mac", "00:16:3e:00:00:02"}}, {{"x", "y"}}}}},
        {"console",
         {{{},
           {{"ports", "2"}, {"port1-name", "org.example.agent"}},
           {{"size", "100x40"}, {"backlog", "4096"}},
           {{"ports", "99"}}}}},
        {"other", {}},
    }};
    const auto& [name, variants] = types[type];
    return xen::create_device(store, {id_of(bus), number}, name, variants[variant]);
  }

  void attach(std::uint32_t bus) {
    const auto number = static_cast<std::uint16_t>(input_.below(kDevices + 2));
    const std::uint32_t type = input_.below(5);
    const std::uint32_t variant = input_.below(4);
    as_toolstack(
        [&](xen::Transaction& store) { return create_device(store, bus, number, type, variant); });
    if (input_.flag()) daemon_.settle();
  }

  void detach(std::uint32_t bus) {
    const xen::DeviceNodeId device{id_of(bus), device_number()};
    const std::uint32_t how = input_.below(4);
    as_toolstack([&](xen::Transaction& store) -> Result<void, xen::XenError> {
      const auto is_there = store.exists(device.directory() / "type");
      if (!is_there || !*is_there) return {};
      switch (how) {
        case 0:
          return xen::request_detach(store, device, xen::DetachRequest::kGraceful);
        case 1:
          return xen::request_detach(store, device, xen::DetachRequest::kForce);
        case 2:
          return xen::remove_device(store, device);
        default:
          return xen::request_refresh(store, device);
      }
    });
    if (!input_.flag()) return;
    daemon_.settle();
    // The guest lets go, or refuses to.
    ask(bus, 0, EjectedRequest{device.number, static_cast<std::uint16_t>(input_.below(2))});
  }

  void toolstack_acts(std::uint32_t bus) {
    const xen::BusId id = id_of(bus);
    switch (input_.below(4)) {
      case 0:
        create_bus(bus);
        break;
      case 1:
        must(xen::remove_bus(toolstack_, id).has_value(), "a bus cannot be removed");
        caused();
        break;
      default: {
        const bool is_online = input_.flag();
        as_toolstack([&](xen::Transaction& store) -> Result<void, xen::XenError> {
          const auto is_there = store.exists(id.device_directory() / "frontend");
          if (!is_there || !*is_there) return {};
          return xen::set_online(store, id, is_online);
        });
      }
    }
    if (input_.flag()) daemon_.settle();
  }

  void destroy_guest() {
    if (input_.below(4) != 0 || !guest_.is_alive()) return;
    caused();
    OneThreadXen::world().destroy_domain(guest_.domain());
    daemon_.settle();
  }

  // ---- the host, time, and what goes wrong

  template <typename T>
  T* one_of(const std::vector<T*>& all) {
    if (all.empty()) return nullptr;
    return all[input_.below(static_cast<std::uint32_t>(all.size()))];
  }

  void host_acts() {
    MemoryHosts& hosts = MemoryHosts::all();
    switch (input_.below(4)) {
      case 0:
        if (auto* disk = one_of(hosts.disks)) disk_acts(*disk);
        break;
      case 1:
        if (auto* network = one_of(hosts.networks)) network_acts(*network);
        break;
      case 2:
        if (auto* stream = one_of(hosts.streams)) stream_acts(*stream);
        break;
      default:
        hosts.is_out_of_entropy = input_.flag();
        hosts.refuses_next = input_.flag();
    }
    daemon_.settle();
  }
  void disk_acts(test::MemoryDisk& disk) {
    switch (input_.below(5)) {
      case 0:
        return disk.hold();
      case 1:
        return disk.fail_next(input_.take<std::uint8_t>());
      case 2:
        return disk.refuse(input_.below(4));
      case 3:
        return disk.resize(std::size_t{input_.below(128)} << 10);
      default:
        return disk.release();
    }
  }
  void network_acts(net::FakeNetHost& network) {
    switch (input_.below(5)) {
      case 0:
        network.takes_frames = input_.flag();
        return;
      case 1:
        network.send_error = input_.flag() ? EIO : 0;
        return;
      case 2:
        network.follows = input_.flag();
        return;
      case 3:
        network.link = input_.flag();
        if (network.on_link) network.on_link(network.link);
        return;
      default:
        if (network.incoming.size() > 16) return;
        std::vector<std::byte> frame(14 + input_.below(2000));
        for (std::size_t i = 0; i < 6; ++i)
          frame[i] = input_.flag() ? std::byte{0xff} : std::byte{0x01};
        network.arrive(std::move(frame));
    }
  }
  void stream_acts(MemoryStream& stream) {
    switch (input_.below(4)) {
      case 0:
        return MemoryHosts::hang_up(stream);
      case 1:
        return MemoryHosts::hear(stream);
      default:
        return MemoryHosts::say(stream, 1 + input_.below(300));
    }
  }

  void pass_time() {
    const std::uint32_t seconds = input_.below(64);
    const std::uint32_t milliseconds = input_.below(1000);
    causes_ += 1 + seconds / 10;
    daemon_.pass_time(std::chrono::seconds(seconds) + std::chrono::milliseconds(milliseconds));
  }

  void arm_failure() { armed_failure_ = 1 + input_.below(64); }
  void arm_write() { armed_write_ = 1 + input_.below(64); }

  /// Calls whose failure is somebody's to bear. Where a release fails, or the handle on which the
  /// whole daemon waits, there is nothing to be done, and the daemon ends or says what is left. A
  /// transaction that did not end well has ended, which the mock does not know of one that it lets
  /// fail.
  static bool may_fail(Call call) {
    switch (call) {
      case Call::kXenevtchnNotify:
      case Call::kXenevtchnBindInterdomain:
      case Call::kXengnttabMapGrantRef:
      case Call::kXengnttabMapGrantRefs:
      case Call::kXengnttabMapDomainGrantRefs:
      case Call::kXengnttabGrantCopy:
      case Call::kXengnttabGrantCopySegment:
      case Call::kXsDirectory:
      case Call::kXsRead:
      case Call::kXsWrite:
      case Call::kXsRm:
      case Call::kXsWatch:
      case Call::kXsTransactionStart:
      case Call::kXsIsDomainIntroduced:
        return true;
      default:
        return false;
    }
  }

  int before_call(Call call) {
    // Between two steps of the daemon's, as a processor of the guest's would.
    if (comes_now(armed_write_)) {
      if (input_.flag()) {
        write_anywhere();
      } else {
        guest_.grant(kAreas + input_.below(kReadOnly - kAreas), Granted::kNo);
      }
    }
    if (!may_fail(call) || !comes_now(armed_failure_)) return 0;
    caused();
    has_failed_ = true;
    return call == Call::kXengnttabGrantCopySegment ? 3 : EIO;
  }
  /// Counts down to 1 and says when it was there; 0 is never.
  static bool comes_now(std::uint32_t& count) {
    if (count == 0) return false;
    --count;
    return count == 0;
  }

  xen::Store& toolstack_;
  std::set<std::pair<std::uint32_t, std::uint16_t>> set_up_;  // devices whose queues may be served
  std::uint32_t armed_failure_ = 0;
  std::uint32_t armed_write_ = 0;
  bool has_failed_ = false;
  std::size_t causes_ = 1;
  std::size_t lines_before_ = 0;
};

/// The daemon in domain 0, or in a driver domain and with narrow limits, with the guest that it
/// serves.
struct World {
  explicit World(bool is_driver_domain)
      : daemon(is_driver_domain ? kDriverDomain : std::uint16_t{0}, is_driver_domain),
        guest(is_driver_domain ? std::uint16_t{4} : std::uint16_t{3}, daemon.domain()) {}

  Daemon daemon;
  GuestDomain guest;
};

std::unique_ptr<xen::Store> open_toolstack() {
  const InDomain in_control(0);
  auto store = xen::Store::open();
  must(store.has_value(), "no store");
  return std::move(*store);
}

/// What is there for as long as inputs come. Never destroyed: a daemon ends with its process.
struct Worlds {
  std::unique_ptr<xen::Store> toolstack = open_toolstack();
  std::array<std::unique_ptr<World>, 2> all;

  World& one(bool is_driver_domain) {
    std::unique_ptr<World>& world = all[is_driver_domain ? 1 : 0];
    if (world == nullptr) world = std::make_unique<World>(is_driver_domain);
    return *world;
  }
};

}  // namespace
}  // namespace vmsg::fuzz

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer gave it its name
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmsg::fuzz;  // NOLINT(google-build-using-namespace): the entry point is outside
  static auto& worlds = *new Worlds;
  FuzzInput input(data, size);
  World& world = worlds.one(input.flag());
  Script script(world.daemon, world.guest, *worlds.toolstack, input);
  script.run();
  return 0;
}
