// What the v2 Linux driver does to a device, and what it breaks a device for: facts L-1 to L-14 of
// our reading of the protocol, played message by message. (L-1, L-13 and L-14 are with the bus.)
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class LinuxDriver : public DeviceConformance {
 protected:
  /// It reads the status before each write that adds a bit, and writes back whatever it read.
  std::uint32_t add_status(std::uint32_t bit) { return driver.set_status(driver.status() | bit); }

  void reset() {
    driver.set_status(0);
    EXPECT_EQ(driver.status(), 0U);
  }

  /// One features exchange over all blocks from 0, then FEATURES_OK and its confirmation.
  void negotiate(const FeatureSet& wanted) {
    const std::uint32_t blocks = driver.device_info().num_feature_blocks;
    const auto offered = driver.device_features(0, blocks).words;
    ASSERT_THAT(offered, SizeIs(2));
    driver.set_features(0, {offered[0] & wanted.word(0), offered[1] & wanted.word(1)});
    add_status(kStatusFeaturesOk);
    EXPECT_NE(driver.status() & kStatusFeaturesOk, 0U);
  }

  void set_up_queue(std::uint32_t index) {
    const auto idle = driver.queue(index);
    EXPECT_EQ(idle.cur_size, 0U);
    EXPECT_EQ(idle.flags, 0U);
    SetVqueueRequest request = ProtocolDriver::good_queue(index);
    request.size = idle.max_size;
    driver.set_queue(request);
    EXPECT_EQ(driver.queue(index), (GetVqueueResponse{.index = index,
                                                      .max_size = idle.max_size,
                                                      .cur_size = idle.max_size,
                                                      .flags = 1,
                                                      .descriptor_addr = request.descriptor_addr,
                                                      .driver_addr = request.driver_addr,
                                                      .device_addr = request.device_addr}));
  }

  void probe(const FeatureSet& wanted) {
    driver.device_info();
    reset();
    add_status(kStatusAcknowledge);
    add_status(kStatusDriver);
    negotiate(wanted);
    set_up_queue(0);
    set_up_queue(1);
    add_status(kStatusDriverOk);
    EXPECT_EQ(driver.status(), 0x0fU);
  }
};

TEST_F(LinuxDriver, L2DeviceInfoIsAnsweredFirstAndPassesItsChecks) {
  const auto info = driver.device_info();

  EXPECT_NE(info.device_id, 0U);
  EXPECT_LE(info.num_feature_blocks, 4U);
  EXPECT_LE(info.admin_vq_start + info.admin_vq_count, info.max_virtqueues);
}

TEST_F(LinuxDriver, L3ItsInitializationSucceeds) {
  probe(selection_with({FakeDevice::kBase, 28, 29}));

  EXPECT_TRUE(queues.is_live);
  EXPECT_TRUE(queues.holds(0));
  EXPECT_TRUE(queues.holds(1));
}

TEST_F(LinuxDriver, L3ANeedsResetBitThatComesBackIsIgnored) {
  driver.device_info();
  reset();
  add_status(kStatusAcknowledge);
  endpoint->needs_reset();

  EXPECT_EQ(add_status(kStatusFailed), 0xc1U);

  reset();
}

TEST_F(LinuxDriver, L4ResponsesPassItsChecks) {
  const std::vector<Bytes> requests{
      driver.frame_of(GetDeviceInfoRequest{}), driver.frame_of(GetDeviceStatusRequest{}),
      driver.frame_of(GetVqueueRequest{.index = 0}),
      driver.frame_of(ResetVqueueRequest{.index = 0}), driver.frame_of(GetShmRequest{.shmid = 1})};
  for (const Bytes& request : requests) {
    const auto answers = driver.raw(request);
    ASSERT_THAT(answers, SizeIs(1));
    EXPECT_EQ(answers[0][0], std::byte{0x01});
    EXPECT_EQ(answers[0][1], request[1]);
    EXPECT_EQ(answers[0][2], request[2]);
    EXPECT_EQ(std::to_integer<std::size_t>(answers[0][6]), answers[0].size());
  }
}

TEST_F(LinuxDriver, L5TokensOfTheTransportAndOfBusesComeBack) {
  driver.send(GetDeviceStatusRequest{}, 0);
  driver.send(GetDeviceStatusRequest{}, 2);

  const auto frames = sink.take();
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(frames[0][4], std::byte{0});
  EXPECT_EQ(frames[1][4], std::byte{2});
}

TEST_F(LinuxDriver, L6ReadsAreEchoedExactlyAndTornReadsShow) {
  const auto first = driver.get_config(0, 32);
  device.config[40] = std::byte{1};
  endpoint->config_changed();
  const auto second = driver.get_config(32, 28);

  EXPECT_EQ(first.offset, 0U);
  EXPECT_EQ(first.length, 32U);
  EXPECT_EQ(second.offset, 32U);
  EXPECT_EQ(second.length, 28U);
  EXPECT_NE(first.generation, second.generation);  // it starts the read again
  EXPECT_EQ(driver.get_config(0, 32).generation, driver.get_config(32, 28).generation);
}

TEST_F(LinuxDriver, L7ItsWritesComeBackWithTheirLength) {
  probe(ProtocolDriver::basic_selection());
  endpoint->config_changed();

  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1, 2, 3, 4}, 0).length, 4U);
}

TEST_F(LinuxDriver, L8QueuesOfFullSizeAreConfirmedFieldByField) {
  probe(ProtocolDriver::basic_selection());

  EXPECT_EQ(queues.queues[0].size, 256U);
  EXPECT_EQ(queues.queues[1].size, 128U);
}

TEST_F(LinuxDriver, L9OneLookAfterARingResetFindsTheQueueIdle) {
  probe(selection_with({40}));

  driver.reset_queue(0);

  EXPECT_EQ(driver.queue(0), (GetVqueueResponse{.index = 0, .max_size = 256}));
  EXPECT_EQ(driver.set_queue(ProtocolDriver::good_queue(0)), 8U);
  EXPECT_EQ(driver.queue(0).flags, 1U);
}

TEST_F(LinuxDriver, L9RingResetsAfterADeviceResetAreAnsweredToo) {
  probe(selection_with({40}));
  reset();

  EXPECT_EQ(driver.reset_queue(0), 8U);
  EXPECT_EQ(driver.queue(0), (GetVqueueResponse{.index = 0, .max_size = 256}));
  EXPECT_EQ(driver.reset_queue(1), 8U);
  EXPECT_EQ(driver.queue(1), (GetVqueueResponse{.index = 1, .max_size = 128}));
}

TEST_F(LinuxDriver, L10EventsHaveTheSizesThatItDemandsAndTellTheTruth) {
  probe(ProtocolDriver::basic_selection());

  endpoint->config_changed();
  endpoint->used(1);

  const auto frames = sink.take();
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_THAT(frames[0], SizeIs(24));
  EXPECT_EQ(frames[0][8], std::byte{0x0f});  // it overwrites its own idea of the status with this
  EXPECT_EQ(frames[0][12], std::byte{1});
  EXPECT_THAT(frames[1], SizeIs(12));
}

TEST_F(LinuxDriver, L11NothingIsSaidBeforeItListens) {
  driver.device_info();
  reset();
  add_status(kStatusAcknowledge);
  add_status(kStatusDriver);
  endpoint->config_changed();
  negotiate(ProtocolDriver::basic_selection());
  set_up_queue(0);
  endpoint->used(0);
  EXPECT_THAT(sink.frames, IsEmpty());

  add_status(kStatusDriverOk);

  EXPECT_THAT(driver.config_events(), SizeIs(1));  // and what it would have missed comes now
}

TEST_F(LinuxDriver, L12NothingThatItDoesInALifeIsRefused) {
  probe(selection_with({FakeDevice::kBase, 28, 29, 40}));
  driver.get_config(0, 60);
  driver.set_config(FakeDevice::kWritable, {1});
  driver.kick(0);
  driver.reset_queue(1);
  driver.queue(1);
  set_up_queue(1);
  reset();
  probe(ProtocolDriver::basic_selection());

  EXPECT_EQ(endpoint->counters().refused, 0U);
  EXPECT_EQ(endpoint->counters().dropped.total(), 0U);
  EXPECT_EQ(endpoint->counters().requests, endpoint->counters().responses);
}

}  // namespace
}  // namespace vmsg::test
