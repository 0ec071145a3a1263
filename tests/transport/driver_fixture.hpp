// The driver side against a device side played by the test: a well-behaved bus with one device that
// answers by itself, whose answers a test can hold back, change, or give in its place.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "transport/driver_bus.hpp"
#include "transport/driver_device.hpp"
#include "transport/message.hpp"
#include "transport/message_text.hpp"

namespace vmsg::test {

using Bytes = std::vector<std::byte>;
using namespace std::chrono_literals;

inline constexpr std::uint16_t kNumber = 5;
inline constexpr std::uint64_t kDescriptorArea = std::uint64_t{1} << 63 | 0x10000;
inline constexpr std::uint64_t kDriverArea = std::uint64_t{1} << 63 | 0x20000;
inline constexpr std::uint64_t kDeviceArea = std::uint64_t{1} << 63 | 0x30000;

inline SetVqueueRequest queue_setup(std::uint32_t index = 0, std::uint32_t size = 16) {
  return {.index = index,
          .flags = VIRTIO_MSG_VQUEUE_ENABLE,
          .size = size,
          .descriptor_addr = kDescriptorArea,
          .driver_addr = kDriverArea,
          .device_addr = kDeviceArea};
}

/// What the driver side sent, and what it gets for it.
class FakeDeviceSide : public FrameSink {
 public:
  // ---- knobs --------------------------------------------------------------------------------
  bool is_full = false;
  std::set<TransportId> silent_on;  // requests that are never answered
  bool bus_is_silent = false;
  std::map<TransportId, std::function<void(Bytes& response)>> corrupt;
  std::map<TransportId, std::function<void()>> before;  // runs before the answer is made
  std::optional<std::uint32_t> polls_until_reset;       // GET_DEVICE_STATUS that still show the old
  std::set<std::uint16_t> present{kNumber};
  std::function<GetDevicesResponse(const GetDevicesRequest&)> answer_devices;

  // ---- the device ---------------------------------------------------------------------------
  GetDeviceInfoResponse info{.device_id = 2,
                             .vendor_id = 0x4d534756,
                             .num_feature_blocks = 2,
                             .config_size = 60,
                             .max_virtqueues = 2};
  FeatureSet offered{9, 29, 32, 33, 40};
  FeatureSet selection;
  std::uint32_t status = 0;
  std::uint32_t generation = 7;
  Bytes config = Bytes(60);
  std::map<std::uint32_t, GetVqueueResponse> queues{{0, {.index = 0, .max_size = 256}},
                                                    {1, {.index = 1, .max_size = 64}}};
  bool refuses_features = false;
  bool rejects_writes = false;
  bool rejects_queues = false;

  // ---- what happened ------------------------------------------------------------------------
  std::vector<Bytes> sent;  // everything, in order

  [[nodiscard]] bool has_room(std::size_t /*bytes*/) override { return !is_full; }
  void send(std::span<const std::byte> frame) override {
    sent.emplace_back(frame.begin(), frame.end());
    unanswered_.emplace_back(frame.begin(), frame.end());
  }

  /// Takes the next frame and answers it; the answers to deliver are in `replies`.
  bool serve_one() {
    if (unanswered_.empty()) return false;
    const Bytes bytes = unanswered_.front();
    unanswered_.pop_front();
    const auto frame = parse_frame(bytes, 65535);
    if (frame->header.is_bus()) {
      if (!bus_is_silent) serve_bus(*frame);
    } else if (frame->header.is_request()) {
      serve_device(*frame);
    }
    return true;
  }

  std::deque<Bytes> replies;

  template <typename Message>
  static Bytes encoded(MessageAddress to, const Message& message, std::size_t max = 65535) {
    Bytes buffer(max);
    const auto frame = encode(buffer, to, message);
    return Bytes(frame->begin(), frame->end());
  }

 private:
  template <typename Message>
  void reply(const Frame& request, const Message& message) {
    replies.push_back(encoded(address_of(request.header), message));
  }

  void serve_bus(const Frame& frame) {
    const auto message = receive_at_device_bus(frame);
    if (!message) return;
    if (const auto* const devices = std::get_if<GetDevicesRequest>(&*message)) {
      if (answer_devices) return reply(frame, answer_devices(*devices));
      // No window runs past the number space.
      const auto count = static_cast<std::uint16_t>(
          std::min<std::uint32_t>(devices->count, 65536U - devices->offset));
      Bytes bitmap(GetDevicesResponse::bitmap_size(count));
      std::uint16_t next = 0;
      for (const std::uint16_t number : present) {
        if (number < devices->offset) continue;
        const std::uint32_t slot = number - std::uint32_t{devices->offset};
        if (slot < count) {
          bitmap[slot / 8] |= static_cast<std::byte>(1U << (slot % 8));
        } else if (next == 0) {
          next = static_cast<std::uint16_t>(number & ~7U);
        }
      }
      return reply(frame, GetDevicesResponse{devices->offset, next, count, bitmap});
    }
    if (const auto* const ping = std::get_if<PingRequest>(&*message)) {
      return reply(frame, PingResponse{ping->data});
    }
    if (const auto* const queue = std::get_if<QueueEventChannelRequest>(&*message)) {
      return reply(frame, QueueEventChannelResponse{queue->dev_num, 0, queue->vq_index});
    }
    if (const auto* const share = std::get_if<ShareRegionRequest>(&*message)) {
      return reply(frame, ShareRegionResponse{share->region, VMSG_XEN_REGION_LIMIT});
    }
    if (const auto* const unshare = std::get_if<UnshareRegionRequest>(&*message)) {
      return reply(frame, UnshareRegionResponse{unshare->region, VMSG_XEN_REGION_UNKNOWN});
    }
    if (const auto* const ejected = std::get_if<EjectedRequest>(&*message)) {
      return reply(frame, EjectedResponse{ejected->dev_num});
    }
  }

  void serve_device(const Frame& frame) {
    const auto id = static_cast<TransportId>(frame.header.msg_id);
    if (silent_on.contains(id)) return;
    if (before.contains(id)) before[id]();
    const auto message = receive_at_device(frame, kNumber);
    ASSERT_TRUE(message.has_value()) << to_text(frame);
    std::visit([&](const auto& request) { serve(frame, request); }, *message);
    if (corrupt.contains(id)) corrupt[id](replies.back());
  }

  void serve(const Frame& f, const GetDeviceInfoRequest& /*r*/) { reply(f, info); }
  void serve(const Frame& f, const GetDeviceFeaturesRequest& r) {
    Bytes buffer(65535);
    const auto frame =
        encode_features(buffer, address_of(f.header), r.block_index, r.num_blocks, offered);
    replies.emplace_back(frame->begin(), frame->end());
  }
  void serve(const Frame& f, const SetDriverFeaturesRequest& r) {
    for (std::uint32_t i = 0; i < r.words.size(); ++i) {
      selection.set_word(r.block_index + i, r.words[i]);
    }
    reply(f, SetDriverFeaturesResponse{});
  }
  void serve(const Frame& f, const GetConfigRequest& r) {
    reply(f,
          GetConfigResponse{generation, r.offset, std::span(config).subspan(r.offset, r.length)});
  }
  void serve(const Frame& f, const SetConfigRequest& r) {
    if (rejects_writes) return reply(f, SetConfigResponse{generation, r.offset, 0, {}});
    std::ranges::copy(r.data, config.begin() + r.offset);
    reply(f,
          SetConfigResponse{generation, r.offset, static_cast<std::uint32_t>(r.data.size()), {}});
  }
  void serve(const Frame& f, const GetDeviceStatusRequest& /*r*/) {
    if (is_resetting_ && polls_until_reset && (*polls_until_reset)-- == 0) finish_reset();
    reply(f, GetDeviceStatusResponse{status});
  }
  void serve(const Frame& f, const SetDeviceStatusRequest& r) {
    if (r.status == 0) {
      is_resetting_ = true;
      if (!polls_until_reset) finish_reset();
    } else {
      const bool keeps_features_ok = !refuses_features;
      status = r.status & (keeps_features_ok ? ~0U : ~kStatusFeaturesOk);
    }
    reply(f, SetDeviceStatusResponse{status});
  }
  void serve(const Frame& f, const GetVqueueRequest& r) {
    reply(f, queues.contains(r.index) ? queues[r.index] : GetVqueueResponse{.index = r.index});
  }
  void serve(const Frame& f, const SetVqueueRequest& r) {
    if (!rejects_queues) {
      queues[r.index] = {r.index,      queues[r.index].max_size, r.size,
                         r.flags,      r.descriptor_addr,        r.driver_addr,
                         r.device_addr};
    }
    reply(f, SetVqueueResponse{});
  }
  void serve(const Frame& f, const ResetVqueueRequest& r) {
    if (!rejects_queues) queues[r.index] = {.index = r.index, .max_size = queues[r.index].max_size};
    reply(f, ResetVqueueResponse{});
  }
  void serve(const Frame& f, const GetShmRequest& r) {
    reply(f, r.shmid == 1 ? GetShmResponse{1, 0x200000, 0x180000000} : GetShmResponse{r.shmid});
  }
  void serve(const Frame& /*f*/, const EventAvail& /*r*/) {}

  void finish_reset() {
    is_resetting_ = false;
    status = 0;
    selection = {};
    for (auto& [index, queue] : queues) queue = {.index = index, .max_size = queue.max_size};
  }

  bool is_resetting_ = false;
  std::deque<Bytes> unanswered_;
};

/// Everything that a driver is told, as words.
class RecordingDriver : public DriverDeviceListener {
 public:
  std::vector<std::string> heard;
  FeatureSet wanted{9, 29, 40};
  std::function<void()> on_ready;
  std::function<void()> on_needs_reset;

  FeatureSet select_features(const FeatureSet& /*offered*/) override { return wanted; }
  void ready_for_setup() override {
    heard.emplace_back("ready");
    if (on_ready) on_ready();
  }
  void used(std::uint32_t queue) override { heard.push_back("used " + std::to_string(queue)); }
  void config_changed(std::uint32_t generation) override {
    heard.push_back("config " + std::to_string(generation));
  }
  void needs_reset() override {
    heard.emplace_back("needs reset");
    if (on_needs_reset) on_needs_reset();
  }
  void was_reset() override { heard.emplace_back("was reset"); }
  void failed(DriverFailure why) override {
    heard.emplace_back("failed");
    failure = why;
  }
  void gone() override { heard.emplace_back("gone"); }

  std::optional<DriverFailure> failure;
};

class RecordingBusOwner : public DriverBusListener {
 public:
  std::vector<std::string> heard;
  std::function<void(std::uint16_t)> on_gone;
  std::optional<EnumerationError> enumeration_error;

  void device_appeared(std::uint16_t number) override {
    heard.push_back("appeared " + std::to_string(number));
  }
  void device_gone(std::uint16_t number) override {
    heard.push_back("gone " + std::to_string(number));
    if (on_gone) on_gone(number);
  }
  void enumerated(const Result<void, EnumerationError>& result) override {
    heard.emplace_back(result ? "enumerated" : "enumeration failed");
    if (!result) enumeration_error = result.error();
  }
  void eject_requested(std::uint16_t number, std::uint16_t seconds) override {
    heard.push_back("eject " + std::to_string(number) + " " + std::to_string(seconds));
  }
};

class DriverTest : public testing::Test {
 protected:
  explicit DriverTest(DriverBusOptions bus_options = {}, DriverDeviceOptions device_options = {})
      : bus(DriverBus::create(peer, owner, bus_options).value()), device_options_(device_options) {}

  // ---- moving on ----------------------------------------------------------------------------

  /// Lets everything that was sent be answered, and the answers be received.
  void pump() {
    while (deliver_one() || peer.serve_one()) {
    }
  }
  bool deliver_one() {
    if (peer.replies.empty()) return false;
    const Bytes frame = peer.replies.front();
    peer.replies.pop_front();
    bus->on_frame(frame, now);
    return true;
  }
  void advance(Instant by) {
    now += by;
    bus->tick(now);
    pump();
  }
  /// Lets time pass as far as anybody waits for it, at most `limit`.
  void pass_time(Instant limit) {
    const Instant end = now + limit;
    pump();
    while (bus->next_deadline() && *bus->next_deadline() <= end) {
      now = std::max(now, *bus->next_deadline());
      bus->tick(now);
      pump();
    }
    now = end;
    bus->tick(now);
  }

  template <typename Message>
  void deliver(const Message& message, MessageAddress from = {.dev_num = kNumber}) {
    deliver_bytes(FakeDeviceSide::encoded(from, message));
  }
  void deliver_bytes(const Bytes& frame) { bus->on_frame(frame, now); }

  void discover() {
    bus->discover(now);
    pump();
  }
  /// A device that only knows its number.
  void attach() {
    if (!bus->has_device(kNumber)) discover();
    device = std::make_unique<DriverDevice>(*bus, kNumber, driver, device_options_);
    peer.sent.clear();
  }
  void start() {
    attach();
    device->start(now);
    pump();
  }
  void set_up_queue(std::uint32_t index = 0) {
    device->setup_queue(queue_setup(index), now, keep<void>());
    pump();
  }
  void go_live() {
    start();
    set_up_queue();
    device->go_live(now, nullptr);
    pump();
    ASSERT_EQ(device->state(), DriverState::kLive);
    peer.sent.clear();
    driver.heard.clear();
  }

  // ---- looking ------------------------------------------------------------------------------

  /// Remembers how an operation ended: nothing while it has not.
  template <typename T>
  DriverDevice::Done<T> keep() {
    outcome.reset();
    completions = 0;
    return [this](const DriverResult<T>& result) {
      ++completions;
      outcome = result ? std::optional<DriverFailure>() : result.error();
      if constexpr (!std::is_void_v<T>) {
        if (result) value = static_cast<std::uint64_t>(to_number(*result));
      }
    };
  }
  [[nodiscard]] bool succeeded() const { return completions == 1 && !outcome; }
  [[nodiscard]] bool failed_with(DriverFailure why) const {
    return completions == 1 && outcome == why;
  }

  /// What was sent, each as "NAME", or "NAME value" for status writes.
  [[nodiscard]] std::vector<std::string> sent_names() const {
    std::vector<std::string> names;
    for (const Bytes& bytes : peer.sent) {
      const auto frame = parse_frame(bytes, 65535);
      std::string name(message_name(frame->header.is_bus(), frame->header.msg_id));
      const auto message = parse_any(*frame);
      if (const auto* const set = std::get_if<SetDeviceStatusRequest>(&*message)) {
        name += " " + device_status_text(set->status).substr(0, 4);
      }
      names.push_back(name);
    }
    return names;
  }
  template <typename Message>
  [[nodiscard]] std::vector<Message> sent_of() const {
    std::vector<Message> messages;
    for (const Bytes& bytes : peer.sent) {
      const auto frame = parse_frame(bytes, 65535);
      const auto message = parse_any(*frame);
      if (const auto* const found = std::get_if<Message>(&*message)) messages.push_back(*found);
    }
    return messages;
  }
  [[nodiscard]] FrameHeader header_of(std::size_t i) const {
    return parse_frame(peer.sent.at(i), 65535)->header;
  }

  using Names = std::vector<std::string>;

  Instant now{100s};
  FakeDeviceSide peer;
  RecordingBusOwner owner;
  RecordingDriver driver;
  std::unique_ptr<DriverBus> bus;
  std::unique_ptr<DriverDevice> device;
  int completions = 0;
  std::optional<DriverFailure> outcome;
  std::uint64_t value = 0;

 private:
  static std::uint64_t to_number(std::uint32_t number) { return number; }
  static std::uint64_t to_number(const GetVqueueResponse& record) { return record.max_size; }
  static std::uint64_t to_number(const std::optional<SharedMemoryRegion>& region) {
    return region ? region->length : 0;
  }

  DriverDeviceOptions device_options_;
};

}  // namespace vmsg::test
