// The driver side that a script of daemon_fuzz plays: what the guest has in its memory, writes to
// its nodes, sends over its rings and publishes in its queues, in good order and out of it. Takes
// every choice from the input.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/fuzz/any_frame.hpp"
#include "tests/fuzz/daemon_world.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "transport/device_status.hpp"
#include "transport/grant_address.hpp"
#include "transport/message.hpp"
#include "transport/queue_layout.hpp"
#include "transport/ring.hpp"
#include "xenbus-glue/bus_nodes.hpp"

namespace vmsg::fuzz {

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

class DriverSide {
 protected:
  DriverSide(Daemon& daemon, GuestDomain& guest, FuzzInput& input)
      : daemon_(daemon), guest_(guest), input_(input) {}

  [[nodiscard]] std::uint32_t order_in_ring(std::uint32_t bus) const {
    return guest_.bytes(kRings + bus % kBuses * 3).load<Le32>(VMSG_XEN_IF_RING_PAGE_ORDER).get();
  }

  [[nodiscard]] bool is_connected(std::uint32_t bus) {
    const Snapshot all = daemon_.backend().snapshot();
    return std::ranges::any_of(all.buses, [bus](const BusSnapshot& known) {
      return known.bus == bus && (known.state == "connected" || known.state == "closing");
    });
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
    put(bus, any_frame(input_, std::byte{3}));
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

  Daemon& daemon_;
  GuestDomain& guest_;
  FuzzInput& input_;
  std::array<DriverBus, kBuses> buses_{};
  bool is_deaf_ = false;  // the guest leaves answers in its rings
};

}  // namespace vmsg::fuzz
