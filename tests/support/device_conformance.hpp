// One device endpoint with a fake device, a fake queue host and a driver to talk to it: what the
// tests named for DEV rules run on.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>

#include "tests/support/fake_device.hpp"
#include "tests/support/fake_queue_host.hpp"
#include "tests/support/protocol_driver.hpp"
#include "tests/support/recording_sink.hpp"
#include "transport/device_endpoint.hpp"

namespace vmsg::test {

class DeviceConformance : public ::testing::Test {
 protected:
  static constexpr std::uint16_t kNumber = 5;

  DeviceConformance() { start(); }

  /// The ring features that are offered unless a test says otherwise.
  static EndpointOptions usual() {
    EndpointOptions options;
    options.ring_features = {28, 29, 34, 40};  // INDIRECT_DESC, EVENT_IDX, RING_PACKED, RING_RESET
    return options;
  }

  /// A new endpoint for `device` as it is now.
  void start(const EndpointOptions& options = usual()) {
    auto created = DeviceEndpoint::create(kNumber, device, queues, sink, options);
    ASSERT_TRUE(created.has_value());
    endpoint = std::move(*created);
  }

  /// Why `device` as it is now cannot be put on a bus.
  std::optional<BadDevice> fault(const EndpointOptions& options = usual()) {
    const auto created = DeviceEndpoint::create(kNumber, device, queues, sink, options);
    return created ? std::nullopt : std::optional(created.error());
  }

  static FeatureSet selection_with(std::initializer_list<unsigned> bits) {
    FeatureSet selection = ProtocolDriver::basic_selection();
    for (const unsigned bit : bits) selection.set(bit);
    return selection;
  }

  /// Everything about the device that a driver can see, for "nothing changed".
  struct View {
    std::uint32_t status;
    std::vector<std::uint32_t> features;
    ConfigAnswer config;
    std::vector<GetVqueueResponse> queues;
    FeatureSet selection;
    friend bool operator==(const View&, const View&) = default;
  };
  View view() {
    return {.status = driver.status(),
            .features = driver.device_features(0, 4).words,
            .config = driver.get_config(0, FakeDevice::kConfigSize),
            .queues = {driver.queue(0), driver.queue(1), driver.queue(2), driver.queue(3)},
            .selection = endpoint->selection()};
  }

  /// The queue host took its time, and is done now.
  void complete_release() {
    queues.complete_release();
    endpoint->released();
  }

  CallLog log;
  FakeDevice device;
  FakeQueueHost queues{&log};
  RecordingSink sink{&log};
  std::unique_ptr<DeviceEndpoint> endpoint;
  ProtocolDriver driver{kNumber, sink,
                        [this](std::span<const std::byte> frame) { endpoint->on_frame(frame); }};
};

}  // namespace vmsg::test
