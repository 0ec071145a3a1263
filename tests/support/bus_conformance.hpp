// One device-side bus with fakes around it, and drivers for its devices: what the tests named for
// BUS rules run on.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "tests/support/fake_bus_host.hpp"
#include "tests/support/fake_device.hpp"
#include "tests/support/fake_queue_host.hpp"
#include "tests/support/protocol_driver.hpp"
#include "tests/support/recording_sink.hpp"
#include "transport/bus_endpoint.hpp"

namespace vmsg::test {

/// The frames of a GET_DEVICES answer as values.
struct DevicesAnswer {
  std::uint16_t offset = 0;
  std::uint16_t next_offset = 0;
  std::uint16_t count = 0;
  Bytes bitmap;
  std::size_t frame_size = 0;

  friend bool operator==(const DevicesAnswer&, const DevicesAnswer&) = default;
};

class BusConformance : public ::testing::Test {
 protected:
  /// A device with what stands around it, by its number.
  struct Attached {
    FakeDevice device;
    FakeQueueHost queues;
  };

  BusConformance() { start(); }

  static BusOptions usual() {
    BusOptions options;
    options.queue_event_channels = true;
    options.shared_regions = true;
    return options;
  }

  void start(const BusOptions& options = usual()) {
    bus = BusEndpoint::create(host, sink, options);
    ASSERT_NE(bus, nullptr);
  }

  std::optional<AttachError> try_attach(std::uint16_t number, bool is_announced = false) {
    auto& attached = devices[number];
    attached = std::make_unique<Attached>();
    AttachOptions options;
    options.ring_features = {28, 29, 34, 38, 40};
    options.notification_data_allowed = true;
    options.is_announced = is_announced;
    const auto result = bus->attach(number, attached->device, attached->queues, options, now);
    return result ? std::nullopt : std::optional(result.error());
  }
  void attach(std::initializer_list<std::uint16_t> numbers) {
    for (const std::uint16_t number : numbers) ASSERT_EQ(try_attach(number), std::nullopt);
  }

  FakeQueueHost& queues(std::uint16_t number) { return devices.at(number)->queues; }
  FakeDevice& device(std::uint16_t number) { return devices.at(number)->device; }

  void deliver(std::span<const std::byte> frame) { EXPECT_EQ(bus->on_frame(frame), Taken::kTaken); }

  ProtocolDriver driver(std::uint16_t number) {
    return ProtocolDriver(number, sink,
                          [this](std::span<const std::byte> frame) { deliver(frame); });
  }

  /// Delivers a bus message; everything that came out because of it.
  template <typename Message>
  std::vector<Bytes> send(const Message& message, std::uint16_t token = 2) {
    return raw(driver(0).frame_of(message, token));
  }
  std::vector<Bytes> raw(std::span<const std::byte> frame) { return driver(0).raw(frame); }
  std::vector<Bytes> raw(std::initializer_list<int> values) { return driver(0).raw(values); }

  /// The only frame of `frames` as what a driver-side bus makes of it.
  template <typename Message>
  Message only(const std::vector<Bytes>& frames) {
    EXPECT_EQ(frames.size(), 1U);
    if (frames.empty()) return {};
    kept_ = frames[0];
    const auto frame = parse_frame(kept_, kMaxMaxMessageSize);
    if (!frame || !frame->header.is_bus()) {
      ADD_FAILURE() << "not a bus message: " << to_text(kept_);
      return {};
    }
    const auto message = receive_at_driver_bus(*frame);
    if (!message || !std::holds_alternative<Message>(*message)) {
      ADD_FAILURE() << "another message was sent: " << to_text(kept_);
      return {};
    }
    return std::get<Message>(*message);
  }

  DevicesAnswer devices_from(std::uint16_t offset, std::uint16_t count) {
    const auto answer =
        only<GetDevicesResponse>(send(GetDevicesRequest{.offset = offset, .count = count}));
    return {.offset = answer.offset,
            .next_offset = answer.next_offset,
            .count = answer.count,
            .bitmap = Bytes(answer.bitmap.begin(), answer.bitmap.end()),
            .frame_size = kept_.size()};
  }

  /// All devices, found as a driver-side bus finds them.
  std::vector<std::uint16_t> enumerate(std::uint16_t window) {
    std::vector<std::uint16_t> found;
    std::uint32_t offset = 0;
    for (int windows = 0; windows < 8192; ++windows) {
      const auto answer = devices_from(static_cast<std::uint16_t>(offset), window);
      for (std::uint32_t slot = 0; slot < answer.count; ++slot) {
        if ((answer.bitmap[slot / 8] >> (slot % 8) & std::byte{1}) != std::byte{0}) {
          found.push_back(static_cast<std::uint16_t>(offset + slot));
        }
      }
      if (answer.next_offset == 0) return found;
      EXPECT_GE(answer.next_offset, offset + answer.count);
      EXPECT_GT(answer.next_offset, offset);
      offset = answer.next_offset;
    }
    ADD_FAILURE() << "enumeration does not end";
    return found;
  }

  /// The EVENT_DEVICE messages sent since the last look: number and state.
  std::vector<std::pair<int, int>> device_events() {
    std::vector<std::pair<int, int>> events;
    std::vector<Bytes> others;
    for (Bytes& frame : sink.take()) {
      const auto parsed = parse_frame(frame, kMaxMaxMessageSize);
      if (parsed && kind_of(parsed->header) == EventDevice::kKind) {
        const auto event = only<EventDevice>({frame});
        events.emplace_back(event.dev_num, event.state);
      } else {
        others.push_back(std::move(frame));
      }
    }
    sink.frames = std::move(others);
    return events;
  }

  Instant now = std::chrono::seconds(1000);
  CallLog log;
  RecordingSink sink{&log};
  FakeBusHost host;
  std::map<std::uint16_t, std::unique_ptr<Attached>> devices;
  std::unique_ptr<BusEndpoint> bus;

 private:
  Bytes kept_;
};

}  // namespace vmsg::test
