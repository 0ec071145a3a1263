// A device-side bus with a few devices, fed a sequence of frames and of happenings on its own side.
// What is checked is what the protocol promises, whatever the sequence:
//
//  - every good request that was taken is answered exactly once, and nothing else is;
//  - every frame out is well-formed, fits, and is one that may be sent in the state of its device;
//  - a queue that is not enabled is not held by the queue host, but for one that is being given
//  back;
//  - no frame is sent without room; what waits is gone once there is room.
//
// The input is a list of operations, so that every byte string is a sequence of something.
#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <vector>

#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/fake_device.hpp"
#include "transport/bus_endpoint.hpp"
#include "transport/message.hpp"

namespace vmsg::test {
namespace {

void check(bool condition) {
  if (!condition) std::abort();
}

using fuzz::FuzzInput;

std::uint8_t byte(FuzzInput& input) { return input.take<std::uint8_t>(); }

/// Mostly small, now and then anything.
std::uint32_t mostly_small(FuzzInput& input) {
  const std::uint8_t value = byte(input);
  return value < 0xf0 ? value % 16 : input.take<std::uint32_t>();
}

std::vector<std::byte> bytes(FuzzInput& input, std::size_t count) {
  std::vector<std::byte> out(count);
  std::ranges::generate(out, [&] { return std::byte{byte(input)}; });
  return out;
}

class CheckingQueueHost final : public QueueHost {
 public:
  [[nodiscard]] bool enable(const QueueSetup& setup) override {
    check(!pending && setup.size > 0 && !held.contains(setup.index));
    if (refuses) return false;
    held.insert(setup.index);
    return true;
  }
  void go_live() override {
    check(!is_live);
    is_live = true;
  }
  void kick(std::uint32_t index, std::uint32_t) override { check(is_live && held.contains(index)); }
  void stop() override { is_live = false; }
  [[nodiscard]] Release release(std::uint32_t index) override { return begin({index}); }
  [[nodiscard]] Release release_all() override {
    is_live = false;
    return begin(held);
  }

  void complete() {
    for (const std::uint32_t index : *pending) held.erase(index);
    pending.reset();
  }

  bool refuses = false;
  bool is_slow = false;
  bool is_live = false;
  std::set<std::uint32_t> held;
  std::optional<std::set<std::uint32_t>> pending;

 private:
  Release begin(const std::set<std::uint32_t>& queues) {
    check(!pending);
    pending = queues;
    if (is_slow) return Release::kPending;
    complete();
    return Release::kDone;
  }
};

struct Served {
  FakeDevice device;
  CheckingQueueHost queues;
};

/// A request that is not answered yet. Requests of one device with one token look alike, so this
/// is a bag.
struct Request {
  bool is_bus;
  std::uint8_t id;
  std::uint16_t number;  // of the device
  std::uint16_t token;
  friend auto operator<=>(const Request&, const Request&) = default;
};

class World final : public FrameSink, public BusHost {
 public:
  static constexpr std::uint32_t kMaxSize = 104;
  static constexpr std::array<std::uint16_t, 3> kDeviceNumbers{0, 5, 0xffff};

  World() {
    BusOptions options;
    options.max_message_size = kMaxSize;
    options.queue_event_channels = true;
    options.shared_regions = true;
    options.max_regions = 2;
    options.max_region_pages = 64;
    options.max_waiting_frames = 3;
    bus_ = BusEndpoint::create(*this, *this, options);
    check(bus_ != nullptr);
    attach(0);
    attach(5);
  }

  void run(FuzzInput& input) {
    for (int steps = 0; steps < 2000 && !input.is_empty(); ++steps) {
      step(input);
      check_devices();
    }
    finish();
  }

  // FrameSink.
  bool has_room(std::size_t bytes) override { return bytes <= room_; }
  void send(std::span<const std::byte> frame) override {
    check(frame.size() <= room_ && frame.size() <= kMaxSize);
    if (room_ != kEndless) room_ -= frame.size();
    const auto parsed = parse_frame(frame, kMaxSize);
    check(parsed.has_value() && parsed->header.msg_size == frame.size());
    check((std::to_integer<unsigned>(frame[0]) & ~3U) == 0);
    const FrameHeader& header = parsed->header;
    if (header.is_response()) {
      const auto found = outstanding_.find({.is_bus = header.is_bus(),
                                            .id = header.msg_id,
                                            .number = header.dev_num,
                                            .token = header.token});
      check(found != outstanding_.end());
      outstanding_.erase(found);
    }
    if (header.is_bus()) {
      check(receive_at_driver_bus(*parsed).has_value());
    } else {
      check_transport_frame(*parsed);
    }
  }

  // BusHost.
  [[nodiscard]] PortAnswer bind_queue_port(std::uint16_t device, std::uint32_t queue,
                                           std::uint32_t port) override {
    const DeviceEndpoint* endpoint = bus_->find(device);
    check(endpoint != nullptr && port != 0);
    const QueueState state = endpoint->queue_state(queue);
    check(state == QueueState::kConfigured || state == QueueState::kEnabled);
    return PortAnswer::kBound;
  }
  void unbind_queue_port(std::uint16_t device, std::uint32_t) override {
    check(bus_->find(device) != nullptr);
  }
  [[nodiscard]] RegionAnswer share_region(std::uint32_t region, GrantAddress address,
                                          std::uint32_t pages) override {
    check(address.holds(std::uint64_t{pages} * kGrantPageSize));
    check(pages <= 64 && regions_.insert({region, false}).second && regions_.size() <= 2);
    if (!is_slow_) return RegionAnswer::kShared;
    regions_[region] = true;
    return RegionAnswer::kPending;
  }
  [[nodiscard]] Release unshare_region(std::uint32_t region) override {
    check(regions_.contains(region) && !regions_[region]);
    if (!is_slow_) {
      regions_.erase(region);
      return Release::kDone;
    }
    regions_[region] = true;
    leaving_.insert(region);
    return Release::kPending;
  }
  void ejected(std::uint16_t device, bool is_done) override {
    check(bus_->find(device) != nullptr);
    if (is_done) detach(device);
  }

 private:
  static constexpr std::size_t kEndless = std::numeric_limits<std::size_t>::max();

  enum class Operation : std::uint8_t {
    kRaw,
    kMessage,
    kRightMessage,
    kRelease,
    kConfigChanged,
    kNeedsReset,
    kUsed,
    kAnswerReset,
    kFlush,
    kAttach,
    kDetach,
    kEject,
    kRegion,
    kRoom,
    kSlow,
    kTime,
    kCount,
  };

  void step(FuzzInput& input) {
    const auto count = static_cast<std::uint8_t>(Operation::kCount);
    const auto operation = static_cast<Operation>(byte(input) % count);
    const std::uint16_t number = kDeviceNumbers[byte(input) % kDeviceNumbers.size()];
    switch (operation) {
      case Operation::kRaw:
        return deliver(bytes(input, byte(input) % 64));
      case Operation::kMessage:
        return deliver_message(input, number);
      case Operation::kRightMessage:
        return deliver_right_message(input, number);
      case Operation::kRelease:
        return complete_release(number);
      case Operation::kConfigChanged:
        return bus_->config_changed(number);
      case Operation::kNeedsReset:
        return bus_->needs_reset(number);
      case Operation::kUsed:
        return bus_->used(number, mostly_small(input));
      case Operation::kAnswerReset:
        return bus_->answer_pending_reset(number);
      case Operation::kFlush:
        static_cast<void>(bus_->flush());
        return;
      case Operation::kAttach:
        return attach(number);
      case Operation::kDetach:
        return detach(number);
      case Operation::kEject:
        check(bus_->eject(number, byte(input)) == served_.contains(number));
        return;
      case Operation::kRegion:
        return complete_region();
      case Operation::kRoom:
        room_ = byte(input) % 4 == 0 ? kEndless : byte(input);
        return;
      case Operation::kSlow:
        is_slow_ = (byte(input) & 1U) != 0;
        for (auto& [unused, served] : served_) served->queues.is_slow = is_slow_;
        return;
      case Operation::kTime:
        now_ += std::chrono::seconds(byte(input));
        return;
      case Operation::kCount:
        return;
    }
  }

  // ---- frames in -------------------------------------------------------------------------------

  void deliver(std::span<const std::byte> frame) {
    const auto request = good_request(frame);
    // It may be answered at once, so it is outstanding before.
    const auto entry = request ? outstanding_.insert(*request) : outstanding_.end();
    const std::uint64_t refused = bus_->counters().frames_refused;
    if (bus_->on_frame(frame) == Taken::kTaken) return;
    check(bus_->counters().frames_refused == refused + 1);
    if (request) outstanding_.erase(entry);
  }

  template <typename Message>
  void deliver(std::uint16_t number, std::uint16_t token, const Message& message) {
    std::array<std::byte, 2 * kMaxSize> buffer{};
    const auto frame =
        encode(std::span<std::byte>(buffer), {.dev_num = number, .token = token}, message);
    if (frame) deliver(*frame);
  }

  /// What has a claim to an answer: a request of a known kind to somebody who is there.
  std::optional<Request> good_request(std::span<const std::byte> delivered) const {
    const auto frame = parse_frame(delivered, kMaxSize);
    if (!frame || !frame->header.is_request()) return std::nullopt;
    const FrameHeader& header = frame->header;
    if (header.is_bus()) {
      if (!receive_at_device_bus(*frame)) return std::nullopt;
    } else {
      if (!served_.contains(header.dev_num)) return std::nullopt;
      if (!receive_at_device(*frame, header.dev_num)) return std::nullopt;
    }
    return Request{.is_bus = header.is_bus(),
                   .id = header.msg_id,
                   .number = header.dev_num,
                   .token = header.token};
  }

  SetVqueueRequest queue_request(FuzzInput& input) {
    const std::uint32_t reference = byte(input);
    SetVqueueRequest request{.index = mostly_small(input) % 8,
                             .flags = byte(input) % 3U,
                             .size = std::uint32_t{1} << (byte(input) % 10U),
                             .descriptor_addr = GrantAddress::of(reference).raw(),
                             .driver_addr = GrantAddress::of(reference + 8).raw(),
                             .device_addr = GrantAddress::of(reference + 9).raw()};
    const std::uint8_t twist = byte(input);
    if (twist == 1) request.size = input.take<std::uint32_t>();
    if (twist == 2) request.descriptor_addr ^= std::uint64_t{1} << (byte(input) % 64U);
    if (twist == 3) request.driver_addr += byte(input);
    if (twist == 4) request.device_addr = 0;
    return request;
  }

  void deliver_message(FuzzInput& input, std::uint16_t number) {
    const std::uint16_t token = byte(input);
    std::array<Le32, 3> words{};
    std::vector<std::byte> data;
    switch (byte(input) % 18) {
      case 0:
        return deliver(number, token, GetDeviceInfoRequest{});
      case 1:
        return deliver(number, token,
                       GetDeviceFeaturesRequest{.block_index = mostly_small(input),
                                                .num_blocks = mostly_small(input)});
      case 2:
        for (Le32& word : words) word = input.take<std::uint32_t>();
        return deliver(
            number, token,
            SetDriverFeaturesRequest{
                .block_index = mostly_small(input),
                .words = FeatureWords(std::span<const Le32>(words).first(byte(input) % 4U))});
      case 3:
        return deliver(number, token,
                       GetConfigRequest{.offset = mostly_small(input), .length = byte(input)});
      case 4:
        data = bytes(input, byte(input) % 8U);
        return deliver(number, token,
                       SetConfigRequest{.generation = mostly_small(input),
                                        .offset = FakeDevice::kWritable + mostly_small(input),
                                        .data = data});
      case 5:
        return deliver(number, token, GetDeviceStatusRequest{});
      case 6:
        return deliver(number, token, SetDeviceStatusRequest{.status = byte(input)});
      case 7:
        return deliver(number, token, GetVqueueRequest{.index = mostly_small(input)});
      case 8:
        return deliver(number, token, queue_request(input));
      case 9:
        return deliver(number, token, ResetVqueueRequest{.index = mostly_small(input)});
      case 10:
        return deliver(number, token, GetShmRequest{.shmid = mostly_small(input)});
      case 11:
        return deliver(number, token,
                       EventAvail{.vq_index = mostly_small(input),
                                  .next_offset = input.take<std::uint32_t>()});
      case 12: {
        const std::uint32_t window = input.take<std::uint32_t>();
        return deliver(0, token,
                       GetDevicesRequest{.offset = static_cast<std::uint16_t>(window >> 16),
                                         .count = static_cast<std::uint16_t>(window)});
      }
      case 13:
        return deliver(0, token, PingRequest{.data = input.take<std::uint32_t>()});
      case 14:
        return deliver(
            0, token,
            QueueEventChannelRequest{
                .dev_num = number, .vq_index = mostly_small(input), .port = byte(input) % 4U});
      case 15:
        return deliver(
            0, token,
            ShareRegionRequest{.region = byte(input) % 4U,
                               .pages = mostly_small(input),
                               .address = GrantAddress::of(input.take<std::uint32_t>()).raw()});
      case 16:
        return deliver(0, token, UnshareRegionRequest{.region = byte(input) % 4U});
      default:
        return deliver(0, token, EjectedRequest{.dev_num = number, .status = byte(input)});
    }
  }

  /// What a driver would do next to bring the device up.
  void deliver_right_message(FuzzInput& input, std::uint16_t number) {
    const DeviceEndpoint* endpoint = bus_->find(number);
    if (endpoint == nullptr) return;
    const std::uint32_t status = endpoint->status();
    if ((status & (kStatusNeedsReset | kStatusFailed)) != 0) {
      return deliver(number, 0, SetDeviceStatusRequest{.status = 0});
    }
    if (status == kStatusAcknowledge + kStatusDriver &&
        !endpoint->selection().has(RingFeature::kVersion1)) {
      const std::array<Le32, 2> words{Le32(input.take<std::uint32_t>() & 0x30001244U),
                                      Le32(3U | (byte(input) & 4U) | 0x100U)};
      return deliver(number, 0,
                     SetDriverFeaturesRequest{.block_index = 0,
                                              .words = FeatureWords(std::span<const Le32>(words))});
    }
    if ((status & kStatusFeaturesOk) != 0 && byte(input) % 2 == 0) {
      SetVqueueRequest request = queue_request(input);
      request.index %= 2;
      return deliver(number, 0, request);
    }
    constexpr std::array<std::uint32_t, 4> kLadder{0x01, 0x03, 0x0b, 0x0f};
    const auto next = std::ranges::upper_bound(kLadder, status);
    deliver(number, 0, SetDeviceStatusRequest{.status = next == kLadder.end() ? 0x0f : *next});
  }

  // ---- what happens on this side ---------------------------------------------------------------

  void attach(std::uint16_t number) {
    auto served = std::make_unique<Served>();
    served->queues.is_slow = is_slow_;
    AttachOptions options;
    options.ring_features = {28, 29, 34, 40};
    const auto attached = bus_->attach(number, served->device, served->queues, options, now_);
    if (attached) served_[number] = std::move(served);
  }

  void detach(std::uint16_t number) {
    const auto found = served_.find(number);
    if (found == served_.end()) return check(!bus_->detach(number, now_));
    // The requests of its driver fail with it.
    const std::unique_ptr<Served> gone = std::move(found->second);
    served_.erase(found);
    std::erase_if(outstanding_, [&](const Request& request) {
      return !request.is_bus && request.number == number;
    });
    check(bus_->detach(number, now_));
    check(!gone->queues.is_live && bus_->find(number) == nullptr);
  }

  void complete_release(std::uint16_t number) {
    const auto found = served_.find(number);
    if (found == served_.end() || !found->second->queues.pending) return bus_->released(0xabc);
    found->second->queues.complete();
    bus_->released(number);
  }

  void complete_region() {
    for (auto& [region, is_pending] : regions_) {
      if (!is_pending) continue;
      const std::uint32_t id = region;
      is_pending = false;
      if (leaving_.erase(id) > 0) {
        regions_.erase(id);
        return bus_->region_unshared(id);
      }
      return bus_->region_shared(id, RegionAnswer::kShared);
    }
  }

  // ---- what must hold --------------------------------------------------------------------------

  void check_transport_frame(const Frame& frame) const {
    const std::uint16_t number = frame.header.dev_num;
    const DeviceEndpoint* endpoint = bus_->find(number);
    check(endpoint != nullptr);
    const auto message = receive_at_driver(frame, number);
    check(message.has_value());
    if (const auto* used = std::get_if<EventUsed>(&*message)) {
      check(endpoint->is_live() && endpoint->queue_state(used->vq_index) == QueueState::kEnabled);
      check(frame.header.token == 0 && frame.payload.size() == 4);
    }
    if (const auto* config = std::get_if<EventConfig>(&*message)) {
      check(config->device_status == endpoint->status());
      check(config->generation == endpoint->config_generation());
      check((endpoint->status() & kStatusDriverOk) != 0 && !endpoint->is_resetting());
      check(frame.header.token == 0 && config->length == 0);
    }
    if (const auto* queue = std::get_if<GetVqueueResponse>(&*message)) check_record(*queue);
  }

  static void check_record(const GetVqueueResponse& record) {
    check(record.cur_size <= record.max_size && record.max_size <= 32768 && record.flags <= 1);
    const bool has_addresses =
        record.descriptor_addr != 0 && record.driver_addr != 0 && record.device_addr != 0;
    const bool has_none = record.flags == 0 && record.descriptor_addr == 0 &&
                          record.driver_addr == 0 && record.device_addr == 0;
    check(record.cur_size == 0 ? has_none : has_addresses);
  }

  void check_devices() const {
    for (const auto& [number, served] : served_) {
      const DeviceEndpoint* endpoint = bus_->find(number);
      check(endpoint != nullptr);
      const EndpointCounters& counters = endpoint->counters();
      check(counters.requests - counters.responses == (endpoint->is_busy() ? 1 : 0));
      check(served->queues.is_live == endpoint->is_live());
      for (std::uint32_t i = 0; i < 5; ++i) {
        const bool is_enabled = endpoint->queue_state(i) == QueueState::kEnabled;
        const bool is_leaving = served->queues.pending && served->queues.pending->contains(i);
        check(is_leaving || is_enabled == served->queues.held.contains(i));
      }
    }
  }

  /// Everything that was promised comes once there is room and nothing is pending.
  void finish() {
    room_ = kEndless;
    is_slow_ = false;
    for (auto& [number, served] : served_) served->queues.is_slow = false;
    static_cast<void>(bus_->flush());
    for (const std::uint16_t number : kDeviceNumbers) complete_release(number);
    while (std::ranges::any_of(regions_, [](const auto& region) { return region.second; })) {
      complete_region();
    }
    static_cast<void>(bus_->flush());
    check(outstanding_.empty());
    check(bus_->counters().bus_requests == bus_->counters().bus_responses);
    check_devices();
  }

  std::size_t room_ = kEndless;
  Instant now_{};
  bool is_slow_ = false;
  std::map<std::uint16_t, std::unique_ptr<Served>> served_;
  std::multiset<Request> outstanding_;
  std::map<std::uint32_t, bool> regions_;  // and whether the host still works on it
  std::set<std::uint32_t> leaving_;
  std::unique_ptr<BusEndpoint> bus_;  // gone before the devices
};

}  // namespace
}  // namespace vmsg::test

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmsg::fuzz::FuzzInput input(data, size);
  vmsg::test::World().run(input);
  return 0;
}
