// The driver side and the device side of this project, with a real ring between them: the whole of
// the protocol in one process, without a guest, a backend or a clock.
#include <gtest/gtest.h>

#include <array>

#include "tests/support/fake_bus_host.hpp"
#include "tests/support/fake_device.hpp"
#include "tests/support/fake_queue_host.hpp"
#include "tests/transport/driver_fixture.hpp"
#include "tests/transport/ring_memory.hpp"
#include "transport/bus_endpoint.hpp"

namespace vmsg {
namespace {

using namespace test;

class RingSink final : public FrameSink {
 public:
  explicit RingSink(RingProducer producer) : producer_(producer) {}

  bool has_room(std::size_t bytes) override {
    return producer_.has_room(ring_space(static_cast<std::uint32_t>(bytes))).value();
  }
  void send(std::span<const std::byte> frame) override {
    EXPECT_TRUE(producer_.push(frame).value());
    static_cast<void>(producer_.publish());
  }

 private:
  RingProducer producer_;
};

struct BothSides : testing::Test {
  BothSides() {
    EXPECT_TRUE(endpoint->attach(kNumber, fake_device, queues, attach_options(), now).has_value());
  }

  static AttachOptions attach_options() {
    AttachOptions options;
    options.ring_features = {29, 40};
    options.is_announced = false;
    return options;
  }

  /// Until both rings are empty and nobody has anything to send.
  void run() {
    bool is_idle = false;
    while (!is_idle) {
      const auto at_device = take_turn(out, 8, scratch, [&](std::span<const std::byte> frame) {
        return endpoint->on_frame(frame) == Taken::kTaken;
      });
      const auto at_driver = take_turn(in, 8, scratch, [&](std::span<const std::byte> frame) {
        bus->on_frame(frame, now);
        return true;
      });
      static_cast<void>(endpoint->flush());
      static_cast<void>(bus->flush(now));
      is_idle = at_device->taken == 0 && at_driver->taken == 0;
    }
  }
  void pass(Instant by) {
    now += by;
    bus->tick(now);
    run();
  }

  void start() {
    bus->discover(now);
    run();
    device = std::make_unique<DriverDevice>(*bus, kNumber, driver);
    device->start(now);
    run();
  }
  void go_live() {
    start();
    device->setup_queue(queue_setup(), now, nullptr);
    device->go_live(now, nullptr);
    run();
    ASSERT_EQ(device->state(), DriverState::kLive);
    driver.heard.clear();
  }

  using Names = std::vector<std::string>;

  Instant now{100s};
  TestRing ring;
  std::array<std::byte, 264> scratch{};
  RingSink to_driver{ring.producer(RingSide::kDevice)};
  RingSink to_device{ring.producer(RingSide::kDriver)};
  RingConsumer in = ring.consumer(RingSide::kDriver);
  RingConsumer out = ring.consumer(RingSide::kDevice);

  FakeBusHost host;
  FakeDevice fake_device;
  FakeQueueHost queues;
  std::unique_ptr<BusEndpoint> endpoint =
      BusEndpoint::create(host, to_driver, {.queue_event_channels = true, .shared_regions = true});

  RecordingBusOwner owner;
  RecordingDriver driver;
  std::unique_ptr<DriverBus> bus = DriverBus::create(to_device, owner, {}).value();
  std::unique_ptr<DriverDevice> device;
};

TEST_F(BothSides, DeviceGoesLive) {
  go_live();

  EXPECT_EQ(device->selection(), (FeatureSet{9, 29, 32, 33, 40}));
  EXPECT_EQ(fake_device.negotiated, device->selection());
  EXPECT_TRUE(queues.is_live);
  EXPECT_EQ(queues.queues.at(0).descriptor_address, kDescriptorArea);
  EXPECT_EQ(endpoint->find(kNumber)->status(), 0x0fu);
}

TEST_F(BothSides, KicksAndUsedEventsArrive) {
  go_live();
  EXPECT_TRUE(device->kick(0, 0));
  run();
  EXPECT_EQ(queues.kicks.size(), 1u);

  endpoint->used(kNumber, 0);
  run();
  EXPECT_EQ(driver.heard, (Names{"used 0"}));
}

TEST_F(BothSides, ConfigurationIsReadWrittenAndAnnounced) {
  go_live();
  std::array<std::byte, 60> space{};
  device->read_config(0, space, now, nullptr);
  device->write_config(FakeDevice::kWritable, std::array<std::byte, 1>{std::byte{7}}, now, nullptr);
  run();
  EXPECT_EQ(space[2], std::byte{0x10});
  EXPECT_EQ(fake_device.config[FakeDevice::kWritable], std::byte{7});

  endpoint->config_changed(kNumber);
  run();
  EXPECT_EQ(driver.heard, (Names{"config 1"}));
}

TEST_F(BothSides, RejectedWriteIsReported) {
  go_live();
  DriverResult<void> result;
  device->write_config(0, std::array<std::byte, 1>{}, now, [&](const auto& r) { result = r; });
  run();
  EXPECT_EQ(result.error(), DriverFailure::kRejected);
}

TEST_F(BothSides, BrokenDeviceRecovers) {
  go_live();
  endpoint->needs_reset(kNumber);
  run();

  EXPECT_EQ(driver.heard, (Names{"needs reset", "was reset", "ready"}));
  EXPECT_TRUE(queues.queues.empty());
  device->setup_queue(queue_setup(), now, nullptr);
  device->go_live(now, nullptr);
  run();
  EXPECT_EQ(device->state(), DriverState::kLive);
}

TEST_F(BothSides, SlowResetIsPolled) {
  go_live();
  queues.is_slow = true;
  bool is_done = false;
  device->stop(now, [&](const auto& result) { is_done = result.has_value(); });
  run();
  endpoint->answer_pending_reset(kNumber);
  run();
  pass(10ms);
  EXPECT_FALSE(is_done);

  queues.complete_release();
  endpoint->released(kNumber);
  pass(10ms);
  EXPECT_TRUE(is_done);
}

TEST_F(BothSides, QueueIsResetAndSetUpAnew) {
  go_live();
  device->reset_queue(0, now, nullptr);
  device->setup_queue(queue_setup(0, 128), now, nullptr);
  run();

  EXPECT_EQ(queues.queues.at(0).size, 128u);
  EXPECT_TRUE(device->kick(0, 0));
}

TEST_F(BothSides, DevicesComeAndGo) {
  start();
  FakeDevice second;
  FakeQueueHost second_queues;
  AttachOptions announced = attach_options();
  announced.is_announced = true;
  ASSERT_TRUE(endpoint->attach(9, second, second_queues, announced, now).has_value());
  run();
  EXPECT_TRUE(bus->has_device(9));

  ASSERT_TRUE(endpoint->detach(kNumber, now));
  run();
  EXPECT_FALSE(bus->has_device(kNumber));
  EXPECT_EQ(driver.heard.back(), "gone");
  ASSERT_TRUE(endpoint->detach(9, now));
  run();
  EXPECT_FALSE(bus->has_device(9));
}

TEST_F(BothSides, DeviceIsEjected) {
  go_live();
  ASSERT_TRUE(endpoint->eject(kNumber, 30));
  run();
  EXPECT_EQ(owner.heard.back(), "eject 5 30");

  device->stop(now, [&](const auto& /*result*/) {
    ASSERT_TRUE(bus->ejected(kNumber, VMSG_XEN_EJECTED_DONE, now, [](const auto&) {}).has_value());
  });
  run();
  EXPECT_EQ(host.ejections, (std::vector<std::pair<std::uint16_t, bool>>{{kNumber, true}}));
}

TEST_F(BothSides, PortsAndRegionsAreAgreed) {
  go_live();
  std::vector<std::uint32_t> statuses;
  const auto note = [&](const auto& result) { statuses.push_back(result.value()); };
  ASSERT_TRUE(bus->queue_event_channel(kNumber, 0, 77, now, note).has_value());
  ASSERT_TRUE(bus->share_region(1, 16, kDescriptorArea, now, note).has_value());
  ASSERT_TRUE(bus->unshare_region(1, now, note).has_value());
  ASSERT_TRUE(bus->unshare_region(1, now, note).has_value());
  run();

  EXPECT_EQ(statuses, (std::vector<std::uint32_t>{0, 0, 0, VMSG_XEN_REGION_UNKNOWN}));
  EXPECT_EQ((host.ports[{kNumber, 0}]), 77u);
}

// More requests than *in* has room for answers: nothing is lost, in either direction.
TEST_F(BothSides, FullRingsDrain) {
  go_live();
  int answered = 0;
  for (int i = 0; i < 60; ++i) {
    ASSERT_TRUE(bus->ping(1, now, [&](const auto& r) { answered += r.has_value(); }).has_value());
    ASSERT_TRUE(device->kick(0, 0));
    endpoint->used(kNumber, 0);
  }
  run();

  EXPECT_EQ(answered, 60);
  EXPECT_FALSE(bus->wants_room());
  EXPECT_FALSE(queues.kicks.empty());
  EXPECT_FALSE(driver.heard.empty());
}

}  // namespace
}  // namespace vmsg
