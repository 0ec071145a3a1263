// The daemon's own core under a guest and a toolstack that do anything: backend/ as it is, with
// real workers, endpoints, queues and devices of every type, over the mock Xen. What is not the
// daemon's is replaced so that all of it is one thread, without a clock and without a host:
// one_thread_xen, memory_hosts, manual_clock. The input is a script of what guest, toolstack, host
// and Xen do.
//
// What must hold: nothing crashes or leaks; the daemon comes to rest whenever the others do; when a
// reset was answered, or a bus is closed, nothing of it is mapped; what is not granted for writing
// never changes; the log stays short; at the end everything was given back.
#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

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

/// What the guest remembers of a queue that it has set up.
struct DriverQueue {
  bool is_packed = false;
  bool is_lap_even = true;  // packed: the wrap counter
  std::uint16_t next = 0;   // descriptor
  std::uint16_t available = 0;
  std::uint32_t port = 0;
};

struct DriverBus {
  std::uint32_t port = 0;
  std::uint32_t out_produced = 0;
  std::uint16_t token = 0;
  /// Of the ring that the daemon has mapped, once it is seen to be connected.
  std::optional<std::uint32_t> order;
  std::uint32_t regions = 0;  // that the daemon has answered for
  std::array<std::array<DriverQueue, kQueues>, kDevices> queues{};
};

// ---- the script ---------------------------------------------------------------------------------

class Script final : public TraceListener {
 public:
  Script(Daemon& daemon, GuestDomain& guest, xen::Store& toolstack, FuzzInput& input)
      : daemon_(daemon), guest_(guest), toolstack_(toolstack), input_(input) {
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
    check_pages(all);
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

  [[nodiscard]] std::uint32_t order_in_ring(std::uint32_t bus) const {
    return guest_.bytes(kRings + bus % kBuses * 3).load<Le32>(VMSG_XEN_IF_RING_PAGE_ORDER).get();
  }

  [[nodiscard]] bool is_connected(std::uint32_t bus) {
    const Snapshot all = daemon_.backend().snapshot();
    return std::ranges::any_of(all.buses, [bus](const BusSnapshot& known) {
      return known.bus == bus && (known.state == "connected" || known.state == "closing");
    });
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

  // ---- numbers

  std::uint16_t device_number() {
    const std::uint32_t number = input_.below(kDevices * 4);
    // Mostly one that is there.
    return static_cast<std::uint16_t>(number == kDevices * 4 - 1 ? 77 : number % kDevices);
  }
  std::uint32_t number() {
    switch (input_.below(4)) {
      case 0:
        return input_.below(16);
      case 1:
        return input_.take<std::uint32_t>();
      case 2:
        return 1U << input_.below(32);
      default:
        return 0xffffffffU - input_.below(4);
    }
  }
  std::uint64_t address() {
    switch (input_.below(4)) {
      case 0:
        return input_.take<std::uint64_t>();
      case 1:
        return GrantAddress::of(number(), input_.below(kGrantPageSize)).raw();
      default:
        return address_of(input_.below(kPages), input_.below(8) * 0x200);
    }
  }
  [[nodiscard]] std::uint64_t address_of(std::uint32_t page, std::uint32_t offset = 0) const {
    return GrantAddress::of(guest_.ref(page), offset).raw();
  }
  [[nodiscard]] static std::uint32_t area_page(std::uint16_t device, std::uint32_t queue) {
    return kAreas + (device % kDevices) * kQueues + queue % kQueues;
  }
  [[nodiscard]] xen::BusId id_of(std::uint32_t bus) const {
    return {.device_domain = daemon_.domain(), .driver_domain = guest_.domain(), .bus = bus};
  }

  // ---- the guest: memory

  /// Not what check_pages() knows of: the order of a ring is write_interface()'s to change.
  void write_anywhere() {
    const std::uint32_t page = input_.below(kReadOnly);
    const std::size_t at = input_.below(input_.flag() ? 160 : 1024) * std::size_t{4};
    const auto value = input_.take<std::uint32_t>();
    const bool is_interface = page < kAreas && page % 3 == 0;
    if (is_interface && at == VMSG_XEN_IF_RING_PAGE_ORDER) return;
    guest_.bytes(page).store(at, Le32(value));
    // As a number that was written may be one that matters.
    if (is_interface && at == VMSG_XEN_IF_OUT_PROD) buses_[page / 3].out_produced = value;
  }

  void write_interface(std::uint32_t bus) {
    const SharedBytes page = guest_.bytes(kRings + bus * 3);
    const std::uint32_t order = input_.below(8);
    if (is_connected(bus)) {
      page.store(VMSG_XEN_IF_MAGIC, Le32(number()));
      page.store(VMSG_XEN_IF_RING_REFS, Le32(number()));
      return;
    }
    page.store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(order));
    write_state_to(bus, 3);
    daemon_.settle();
  }

  void change_grant() {
    const std::uint32_t page = input_.below(kPages);
    guest_.grant(page, static_cast<Granted>(input_.below(3)));
    daemon_.settle();
  }

  // ---- the guest: nodes

  [[nodiscard]] std::string node(std::uint32_t bus, std::string_view name) const {
    return id_of(bus).driver_directory().text() + "/" + std::string(name);
  }
  void write_state_to(std::uint32_t bus, std::uint32_t state) {
    guest_.write(node(bus, "state"), std::to_string(state));
  }
  void write_state(std::uint32_t bus) {
    write_state_to(bus, input_.below(9));
    if (input_.flag()) daemon_.settle();
  }

  void write_node(std::uint32_t bus) {
    static constexpr std::array kNodes{"version",
                                       "ring-ref",
                                       "event-channel",
                                       "max-message-size",
                                       "transport-features",
                                       "request-queue-event-channels",
                                       "request-shared-regions",
                                       "state",
                                       "backend",
                                       "backend-id",
                                       "other"};
    const std::string path = node(bus, kNodes[input_.below(kNodes.size())]);
    switch (input_.below(6)) {
      case 0:
        guest_.remove(path);
        break;
      case 1:
        guest_.hide(path);
        break;
      case 2: {
        std::string text(input_.below(40), '\0');
        for (char& c : text) c = static_cast<char>(input_.take<std::uint8_t>());
        guest_.write(path, text);
        break;
      }
      case 3:
        guest_.write(path, std::string(input_.below(4096), '9'));
        break;
      default:
        guest_.write(path, std::to_string(number()));
    }
    if (input_.flag()) daemon_.settle();
  }

  /// As a driver side does it, whatever it did before.
  void connect(std::uint32_t bus_number) {
    DriverBus& bus = buses_[bus_number];
    if (is_connected(bus_number)) {
      write_state_to(bus_number, 5);
      daemon_.settle();
      write_state_to(bus_number, 6);
      daemon_.settle();
    }
    write_state_to(bus_number, 1);
    daemon_.settle();
    if (is_connected(bus_number)) return;
    const std::uint32_t first = kRings + bus_number * 3;
    guest_.bytes(first).copy_in(0, std::array<std::byte, kGrantPageSize>{});
    const std::uint32_t port = guest_.open_port();
    bus = DriverBus();
    bus.port = port;
    const auto layout = RingLayout::create(bus_number, kRecommendedMaxMessageSize);
    const std::array<std::uint32_t, 2> refs{guest_.ref(first + 1), guest_.ref(first + 2)};
    write_interface_page(guest_.bytes(first), *layout, std::span(refs).first(layout->page_count()));
    guest_.write(node(bus_number, "version"), "1");
    guest_.write(node(bus_number, "ring-ref"), std::to_string(guest_.ref(first)));
    guest_.write(node(bus_number, "event-channel"), std::to_string(port));
    guest_.write(node(bus_number, "max-message-size"), std::to_string(kRecommendedMaxMessageSize));
    guest_.write(node(bus_number, "transport-features"), "0");
    guest_.write(node(bus_number, "request-queue-event-channels"), "1");
    guest_.write(node(bus_number, "request-shared-regions"), "1");
    write_state_to(bus_number, 3);
    daemon_.settle();
    write_state_to(bus_number, 4);
    daemon_.settle();
  }

  // ---- the guest: messages

  void put(std::uint32_t bus_number, std::span<const std::byte> frame) {
    DriverBus& bus = buses_[bus_number];
    const std::uint32_t first = kRings + bus_number * 3;
    // Half a page in each direction, for each data page.
    const std::uint32_t size = (kGrantPageSize / 2) << (order_in_ring(bus_number) & 1U);
    for (std::size_t i = 0; i < frame.size(); ++i) {
      const std::uint32_t at = size + (bus.out_produced + static_cast<std::uint32_t>(i)) % size;
      guest_.bytes(first + 1 + at / kGrantPageSize).store(at % kGrantPageSize, frame[i]);
    }
    bus.out_produced += ring_space(static_cast<std::uint32_t>(frame.size()));
    guest_.bytes(first).store(VMSG_XEN_IF_OUT_PROD, Le32(bus.out_produced));
  }
  void notify_bus(std::uint32_t bus) {
    guest_.notify(buses_[bus].port);
    daemon_.settle();
    if (!is_deaf_) take_answers(bus);
  }
  void take_answers(std::uint32_t bus) {
    const SharedBytes page = guest_.bytes(kRings + bus * 3);
    const auto produced = page.load<Le32>(VMSG_XEN_IF_IN_PROD);
    page.store(VMSG_XEN_IF_IN_CONS, produced);
    page.store(VMSG_XEN_IF_IN_PROD_EVENT, Le32(produced.get() + 1));
  }
  template <typename Message>
  void ask(std::uint32_t bus, std::uint16_t device, const Message& message) {
    std::array<std::byte, kRecommendedMaxMessageSize> bytes{};
    const auto frame = encode(std::span<std::byte>(bytes), {device, ++buses_[bus].token}, message);
    if (!frame) return;
    put(bus, *frame);
    notify_bus(bus);
  }

  void send_anything(std::uint32_t bus) {
    std::vector<std::byte> frame(kHeaderSize + input_.below(64));
    for (std::byte& byte : frame) byte = std::byte{input_.take<std::uint8_t>()};
    if (input_.flag()) {
      frame[0] &= std::byte{3};
      frame[2] &= std::byte{3};
      frame[3] = std::byte{0};
      frame[6] = std::byte(frame.size() & 0xff);
      frame[7] = std::byte(frame.size() >> 8);
    }
    put(bus, frame);
    if (input_.flag()) notify_bus(bus);
  }

  /// A message of the right form with numbers of any kind.
  void send_message(std::uint32_t bus) {
    const std::uint16_t device = device_number();
    const std::array<std::byte, 8> data{std::byte{1}, std::byte{2}, std::byte{3}, std::byte{4}};
    switch (input_.below(16)) {
      case 0:
        return ask(bus, device, GetDeviceInfoRequest{});
      case 1:
        return ask(bus, device, GetDeviceFeaturesRequest{number(), number()});
      case 2: {
        const std::array<Le32, 4> words{Le32(number()), Le32(number()), Le32(number()), Le32(0)};
        return ask(bus, device,
                   SetDriverFeaturesRequest{number(), FeatureWords(std::span<const Le32>(words))});
      }
      case 3:
        return ask(bus, device, GetConfigRequest{number(), number()});
      case 4:
        return ask(
            bus, device,
            SetConfigRequest{number(), number(), std::span(data).first(1 + input_.below(8))});
      case 5:
        return ask(bus, device, GetDeviceStatusRequest{});
      case 6:
        return ask(bus, device, GetVqueueRequest{number()});
      case 7:
        return ask(
            bus, device,
            SetVqueueRequest{number(), input_.below(3), number(), address(), address(), address()});
      case 8:
        return ask(bus, device, ResetVqueueRequest{input_.below(kQueues + 1)});
      case 9:
        return ask(bus, device, GetShmRequest{number()});
      case 10:
        return ask(bus, device, EventAvail{number(), number()});
      case 11:
        return ask(bus, device,
                   GetDevicesRequest{input_.take<std::uint16_t>(), input_.take<std::uint16_t>()});
      case 12:
        return ask(bus, device, PingRequest{number()});
      case 13:
        return ask(bus, device,
                   EjectedRequest{device, static_cast<std::uint16_t>(input_.below(3))});
      case 14:
        return ask(bus, device, QueueEventChannelRequest{device, number(), number()});
      default:
        return ask(bus, device, ShareRegionRequest{number(), number(), address()});
    }
  }

  void set_status(std::uint32_t bus, std::uint16_t device, std::uint32_t status) {
    ask(bus, device, SetDeviceStatusRequest{.status = status});
  }
  void reset(std::uint32_t bus) { set_status(bus, device_number(), 0); }

  [[nodiscard]] FeatureSet offered(std::uint32_t bus, std::uint16_t number) {
    const Snapshot all = daemon_.backend().snapshot();
    for (const BusSnapshot& known : all.buses) {
      if (known.bus != bus) continue;
      for (const DeviceSnapshot& device : known.devices) {
        if (device.number == number) return device.features_offered;
      }
    }
    return {};
  }

  /// Everything that a driver does until its device is live.
  void bring_up(std::uint32_t bus) {
    const std::uint16_t number = device_number();
    const auto how = input_.take<std::uint8_t>();
    FeatureSet chosen = offered(bus, number);
    if ((how & 0x01U) == 0) chosen.clear(RingFeature::kRingPacked);
    if ((how & 0x02U) == 0) chosen.clear(RingFeature::kInOrder);
    if ((how & 0x04U) != 0) chosen.clear(RingFeature::kEventIdx);
    if ((how & 0x08U) != 0) chosen.set_word(0, chosen.word(0) & input_.take<std::uint32_t>());
    set_status(bus, number, 0);
    set_status(bus, number, kStatusAcknowledge);
    set_status(bus, number, kStatusAcknowledge | kStatusDriver);
    const std::array<Le32, 2> words{Le32(chosen.word(0)), Le32(chosen.word(1))};
    ask(bus, number, SetDriverFeaturesRequest{0, FeatureWords(std::span<const Le32>(words))});
    constexpr std::uint32_t kAgreed = kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk;
    set_status(bus, number, kAgreed);
    const std::uint32_t queues = 1 + (how >> 4U & 3U);
    for (std::uint32_t queue = 0; queue < queues; ++queue) {
      enable(bus, number, queue, kQueueSize, chosen.has(RingFeature::kRingPacked));
    }
    if ((how & 0x40U) == 0) set_status(bus, number, kAgreed | kStatusDriverOk);
  }

  void enable(std::uint32_t bus, std::uint16_t device, std::uint32_t queue, std::uint32_t size,
              bool is_packed) {
    const std::uint32_t page = area_page(device, queue);
    DriverQueue& known = buses_[bus].queues[device % kDevices][queue % kQueues];
    known = {.is_packed = is_packed, .port = known.port};
    guest_.bytes(page).copy_in(0, std::array<std::byte, kGrantPageSize>{});
    ask(bus, device,
        SetVqueueRequest{.index = queue,
                         .flags = VIRTIO_MSG_VQUEUE_ENABLE,
                         .size = size,
                         .descriptor_addr = address_of(page),
                         .driver_addr = address_of(page, kDriverArea),
                         .device_addr = address_of(page, kDeviceArea)});
  }
  void set_up(std::uint32_t bus) {
    const std::uint16_t device = device_number();
    const std::uint32_t queue = input_.below(kQueues + 1);
    if (input_.flag()) ask(bus, device, ResetVqueueRequest{queue});
    const bool is_packed = buses_[bus].queues[device % kDevices][queue % kQueues].is_packed;
    enable(bus, device, queue, 1U << input_.below(5), is_packed);
  }

  // ---- the guest: requests

  struct Part {
    bool is_writable = false;
    std::uint32_t length = 0;
    std::array<std::uint32_t, 4> words{};  // what it begins with
  };

  /// What a driver of some device would ask for, or nearly.
  std::vector<Part> request() {
    switch (input_.below(8)) {
      case 0:
        return {{.is_writable = true, .length = 1 + input_.below(4096)}};
      case 1:
        return {{.is_writable = false, .length = 1 + input_.below(4096)}};
      case 2: {  // a disk's: type and sector, data, status
        static constexpr std::array<std::uint32_t, 8> kTypes{0, 1, 4, 8, 11, 13, 14, 16};
        const std::uint32_t type = kTypes[input_.below(kTypes.size())];
        const bool reads = type == 0 || type == 8;
        const std::uint32_t length = input_.flag() ? 512 : input_.below(4097);
        return {{.length = 16, .words = {type, 0, input_.below(140), 0}},
                {.is_writable = reads, .length = length, .words = {input_.below(140), 0, 8, 0}},
                {.is_writable = true, .length = 1}};
      }
      case 3:  // a disk's that flushes
        return {{.length = 16, .words = {4, 0, 0, 0}}, {.is_writable = true, .length = 1}};
      case 4:  // a network's control: class and command, data, status
        return {{.length = 2, .words = {input_.take<std::uint16_t>() & 0x0707U}},
                {.length = 1 + input_.below(64), .words = {number(), number()}},
                {.is_writable = true, .length = 1}};
      case 5:  // a console's control: port, event and value
        return {
            {.length = 8, .words = {input_.below(3), input_.below(9) | input_.below(2) << 16U}}};
      case 6:  // a frame, behind its header
        return {{.length = 12 + 14 + input_.below(1500),
                 .words = {input_.flag() ? 0 : number(), input_.flag() ? 0 : number(), 0, 0}}};
      default: {
        std::vector<Part> parts(1 + input_.below(4));
        for (Part& part : parts) {
          part.is_writable = input_.flag();
          part.length = number();
          part.words = {number(), number(), 0, 0};
        }
        return parts;
      }
    }
  }

  void publish(std::uint32_t bus) {
    const std::uint16_t device = device_number();
    const std::uint32_t queue = input_.below(kQueues);
    DriverQueue& known = buses_[bus].queues[device % kDevices][queue];
    const SharedBytes areas = guest_.bytes(area_page(device, queue));
    const std::vector<Part> parts = request();
    const std::uint16_t head = known.next;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const Part& part = parts[i];
      const std::uint32_t page = kBuffers + input_.below(kPages - kBuffers);
      const std::uint32_t offset = input_.flag() ? 0 : input_.below(kGrantPageSize);
      if (page != kReadOnly && offset + sizeof(part.words) <= kGrantPageSize && !part.is_writable) {
        guest_.bytes(page).store(offset, part.words);
      }
      const bool is_last = i + 1 == parts.size();
      std::uint16_t flags =
          static_cast<std::uint16_t>((is_last ? 0U : 1U) | (part.is_writable ? 2U : 0U));
      const std::size_t at = known.next * std::size_t{vring::kDescriptorSize};
      areas.store(at, Le64(address_of(page, offset)));
      areas.store(at + 8, Le32(part.length));
      known.next = static_cast<std::uint16_t>((known.next + 1) % kQueueSize);
      if (known.is_packed) {
        flags |= known.is_lap_even ? 0x80U : 0x8000U;
        if (known.next == 0) known.is_lap_even = !known.is_lap_even;
        areas.store(at + 12, Le16(head));
        areas.store(at + 14, Le16(flags));
      } else {
        areas.store(at + 12, Le16(flags));
        areas.store(at + 14, Le16(known.next));
      }
    }
    if (!known.is_packed) {
      areas.store(kDriverArea + 4 + 2 * (known.available % kQueueSize), Le16(head));
      areas.store_release16(kDriverArea + 2, ++known.available);
    }
    if (input_.flag()) kick(bus, device, queue);
  }

  void kick(std::uint32_t bus) { kick(bus, device_number(), input_.below(kQueues)); }
  void kick(std::uint32_t bus, std::uint16_t device, std::uint32_t queue) {
    const DriverQueue& known = buses_[bus].queues[device % kDevices][queue];
    if (known.port != 0 && input_.flag()) {
      guest_.notify(known.port);
      daemon_.settle();
    } else {
      ask(bus, device, EventAvail{queue, 0});
    }
  }

  void bind_queue_port(std::uint32_t bus) {
    const std::uint16_t device = device_number();
    const std::uint32_t queue = input_.below(kQueues);
    DriverQueue& known = buses_[bus].queues[device % kDevices][queue];
    known.port = input_.below(4) == 0 ? 0 : guest_.open_port();
    ask(bus, device, QueueEventChannelRequest{device, queue, known.port});
  }

  void share_region(std::uint32_t bus) {
    const std::uint32_t region = input_.below(3);
    if (input_.flag()) return ask(bus, 0, UnshareRegionRequest{region});
    const std::uint32_t page = kBuffers + input_.below(8);
    ask(bus, 0, ShareRegionRequest{region, 1 + input_.below(4), address_of(page)});
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
    return call == Call::kXengnttabGrantCopySegment ? 3 : EIO;
  }
  /// Counts down to 1 and says when it was there; 0 is never.
  static bool comes_now(std::uint32_t& count) {
    if (count == 0) return false;
    --count;
    return count == 0;
  }

  Daemon& daemon_;
  GuestDomain& guest_;
  xen::Store& toolstack_;
  FuzzInput& input_;
  std::array<DriverBus, kBuses> buses_{};
  std::set<std::pair<std::uint32_t, std::uint16_t>> set_up_;  // devices whose queues may be served
  bool is_deaf_ = false;  // the guest leaves answers in its rings
  std::uint32_t armed_failure_ = 0;
  std::uint32_t armed_write_ = 0;
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
