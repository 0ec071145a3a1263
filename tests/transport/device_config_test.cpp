// Rules DEV-46 to DEV-62: the configuration space, its generation, and the two profiles.
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class StrictDeviceConformance : public DeviceConformance {
 protected:
  StrictDeviceConformance() {
    EndpointOptions options = usual();
    options.strict_config_generation = true;
    start(options);
  }
};

TEST_F(DeviceConformance, DEV46AReadIsOneSnapshotWithItsGeneration) {
  for (int i = 0; i < 7; ++i) endpoint->config_changed();
  device.config_reads = 0;

  driver.send(GetConfigRequest{.offset = 0, .length = 8});

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x01, 0x05, 0x05, 0x00, 0x34, 0x12, 0x1c, 0x00, 0x07, 0x00,
                                 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x08, 0x00, 0x00, 0x00,
                                 0x00, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00, 0x00})));  // V13
  EXPECT_EQ(device.config_reads, 1);  // the device was asked once for all of it
}

TEST_F(DeviceConformance, DEV47AnyOffsetAndLengthInsideIsServed) {
  for (std::size_t i = 0; i < device.config.size(); ++i) device.config[i] = std::byte(i);

  EXPECT_THAT(driver.get_config(0, 60).data, SizeIs(60));
  EXPECT_EQ(driver.get_config(3, 5).data, bytes({3, 4, 5, 6, 7}));
  EXPECT_EQ(driver.get_config(59, 1).data, bytes({59}));
}

TEST_F(DeviceConformance, DEV48AReadBeyondTheSpaceIsRejected) {
  for (int i = 0; i < 7; ++i) endpoint->config_changed();

  driver.send(GetConfigRequest{.offset = 56, .length = 8});  // V14

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x01, 0x05, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0x07, 0x00, 0x00,
                                 0x00, 0x38, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00})));  // V15
  EXPECT_EQ(endpoint->counters().refused, 1U);
}

TEST_F(DeviceConformance, DEV48OffsetPlusLengthDoesNotWrap) {
  const auto answer = driver.get_config(0xffffffff, 2);

  EXPECT_EQ(answer.offset, 0xffffffff);
  EXPECT_EQ(answer.length, 0U);
  EXPECT_EQ(driver.get_config(1, 0xffffffff).length, 0U);
}

TEST_F(DeviceConformance, DEV48AReadThatDoesNotFitAFrameIsRejected) {
  device.mutable_identity().config_size = 300;
  device.config.resize(300);
  start();

  EXPECT_EQ(driver.get_config(0, 244).length, 244U);
  EXPECT_EQ(driver.get_config(0, 245).length, 0U);
  EXPECT_EQ(driver.get_config(244, 56).length, 56U);
}

TEST_F(DeviceConformance, DEV49AZeroLengthReadTellsTheGenerationAnywhere) {
  endpoint->config_changed();

  const auto inside = driver.get_config(0, 0);  // V16, V17
  const auto outside = driver.get_config(0xffffffff, 0);

  EXPECT_EQ(inside.generation, 1U);
  EXPECT_EQ(inside.frame_size, 20U);
  EXPECT_EQ(outside.generation, 1U);
  EXPECT_EQ(outside.offset, 0xffffffff);
  EXPECT_EQ(endpoint->counters().refused, 0U);
}

TEST_F(DeviceConformance, DEV50EachChangeHasAGenerationOfItsOwn) {
  const auto first = driver.get_config(0, 60);
  device.config[0] = std::byte{1};
  endpoint->config_changed();
  const auto second = driver.get_config(0, 60);
  device.config[0] = std::byte{2};
  endpoint->config_changed();
  const auto third = driver.get_config(0, 60);

  EXPECT_NE(first.generation, second.generation);
  EXPECT_NE(second.generation, third.generation);
  EXPECT_NE(first.generation, third.generation);
}

TEST_F(DeviceConformance, DEV51AResetDoesNotRestartTheGeneration) {
  endpoint->config_changed();
  endpoint->config_changed();
  driver.to_live({0});

  driver.set_status(0);

  EXPECT_EQ(driver.get_config(0, 0).generation, 2U);
}

TEST_F(DeviceConformance, DEV51AResetThatChangesBytesMovesTheGeneration) {
  device.reset_clears_config = true;
  driver.to_acknowledge();

  driver.set_status(0);

  EXPECT_EQ(driver.get_config(0, 0).generation, 1U);
}

TEST_F(DeviceConformance, DEV52TheGenerationWrapsToZero) {
  endpoint->set_config_generation(0xffffffff);
  EXPECT_EQ(driver.get_config(0, 0).generation, 0xffffffff);
  driver.to_live({0});

  endpoint->config_changed();

  EXPECT_EQ(driver.get_config(0, 0).generation, 0U);
  EXPECT_THAT(driver.config_events(),
              ElementsAre(ConfigEvent{.status = 0x0f, .generation = 0, .offset = 0, .length = 0}));
}

TEST_F(DeviceConformance, DEV53BaselineIgnoresTheGenerationOfAWrite) {
  endpoint->config_changed();
  driver.to_features_ok();

  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}, 0).length, 1U);
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {2}, 1).length, 1U);
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {3}, 0xffffffff).length, 1U);
}

TEST_F(StrictDeviceConformance, DEV54StrictRejectsAStaleGeneration) {
  endpoint->config_changed();
  driver.to_features_ok();

  const auto stale = driver.set_config(FakeDevice::kWritable, {1}, 0);
  EXPECT_EQ(stale.length, 0U);
  EXPECT_EQ(stale.generation, 1U);  // V23
  EXPECT_EQ(device.config_writes, 0);

  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}, 1).length, 1U);  // V22
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}, 2).length, 0U);
}

TEST_F(StrictDeviceConformance, DEV54StrictNeverRejectsAWriteOfNoLength) {
  endpoint->config_changed();
  driver.to_features_ok();

  driver.set_config(FakeDevice::kWritable, {}, 7);

  EXPECT_EQ(endpoint->counters().refused, 0U);
}

TEST_F(StrictDeviceConformance, DEV54StrictHoldsForBytesThatAreAlwaysWritable) {
  endpoint->config_changed();

  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {1}, 0).length, 0U);
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {1}, 1).length, 1U);
}

TEST_F(DeviceConformance, DEV55AWriteThatReachesAReadOnlyByteChangesNothing) {
  driver.to_features_ok();
  const Bytes before = device.config;

  const auto answer = driver.set_config(FakeDevice::kWritable - 1, {1, 2});

  EXPECT_EQ(answer.length, 0U);
  EXPECT_EQ(device.config, before);
}

// rules: DEV-55, DEV-56
TEST_F(DeviceConformance, DEV56AnAppliedWriteReportsItsLength) {
  for (int i = 0; i < 7; ++i) endpoint->config_changed();
  driver.to_features_ok();

  driver.send(SetConfigRequest{.generation = 0, .offset = 32, .data = bytes({1})});  // V18

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x01, 0x06, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0x07, 0x00, 0x00,
                                 0x00, 0x20, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00})));  // V19
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1, 2, 3, 4}).length, 4U);
  EXPECT_EQ(driver.get_config(FakeDevice::kWritable, 4).data, bytes({1, 2, 3, 4}));
}

TEST_F(DeviceConformance, DEV57ARejectedWriteHasNothingAfterItsLength) {
  for (int i = 0; i < 7; ++i) endpoint->config_changed();
  driver.to_features_ok();

  driver.send(SetConfigRequest{.generation = 0, .offset = 32, .data = bytes({0xff})});

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x01, 0x06, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0x07, 0x00, 0x00,
                                 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00})));  // V21
}

TEST_F(DeviceConformance, DEV58AWriteOutsideTheSpaceIsRejected) {
  driver.to_features_ok();

  EXPECT_EQ(driver.set_config(60, {1}).length, 0U);
  EXPECT_EQ(driver.set_config(59, {1, 2}).length, 0U);
  EXPECT_EQ(driver.set_config(0xffffffff, {1, 2}).length, 0U);  // wraps in 32 bits
  EXPECT_EQ(device.config_writes, 0);
}

TEST_F(DeviceConformance, DEV58AWriteToAReadOnlyByteIsRejected) {
  driver.to_features_ok();

  EXPECT_EQ(driver.set_config(0, {1}).length, 0U);
}

TEST_F(DeviceConformance, DEV58AWriteWithoutFeaturesOkIsRejected) {
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  driver.to_acknowledge();
  driver.to_driver();
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  EXPECT_EQ(device.config_writes, 0);
}

TEST_F(DeviceConformance, DEV58AWriteToABrokenDeviceIsRejected) {
  driver.to_live({0});
  endpoint->needs_reset();
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  EXPECT_EQ(device.config_writes, 0);
}

TEST_F(DeviceConformance, DEV58AWriteToAFailedDeviceIsRejected) {
  driver.to_live({0});
  driver.set_status(0x8f);
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  EXPECT_EQ(device.config_writes, 0);
}

TEST_F(DeviceConformance, DEV58AWriteToAResettingDeviceIsRejected) {
  driver.to_live({0});
  queues.is_slow = true;
  driver.send(SetDeviceStatusRequest{.status = 0});
  endpoint->answer_pending_reset();
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  EXPECT_EQ(device.config_writes, 0);
}

TEST_F(DeviceConformance, DEV59BytesWritableAtAnyTimeAreSoInAllStatesButResetting) {
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {1}).length, 1U);
  driver.to_live({0});
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {2}).length, 1U);
  endpoint->needs_reset();
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {3}).length, 1U);
  driver.set_status(0xcf);
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {4}).length, 1U);
  queues.is_slow = true;
  driver.send(SetDeviceStatusRequest{.status = 0});
  endpoint->answer_pending_reset();

  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable, {5}).length, 0U);
  EXPECT_EQ(device.config[FakeDevice::kAlwaysWritable], std::byte{4});
}

TEST_F(DeviceConformance, DEV59AWriteThatReachesOtherBytesWaitsForFeaturesOk) {
  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable - 1, {1, 2}).length, 0U);

  driver.to_features_ok();

  EXPECT_EQ(driver.set_config(FakeDevice::kAlwaysWritable - 1, {1, 2}).length, 2U);
}

TEST_F(DeviceConformance, DEV60AWriteOfNoLengthDoesNothing) {
  driver.to_features_ok();

  const auto answer = driver.set_config(0, {});
  const auto outside = driver.set_config(0xffffffff, {});

  EXPECT_EQ(answer, (ConfigAnswer{
                        .generation = 0, .offset = 0, .length = 0, .data = {}, .frame_size = 20}));
  EXPECT_EQ(outside.offset, 0xffffffff);
  EXPECT_EQ(device.config_writes, 0);
  EXPECT_EQ(endpoint->counters().refused, 0U);
}

TEST_F(DeviceConformance, DEV61AWriteThatChangesOtherBytesShowsANewGenerationAtOnce) {
  driver.to_features_ok();

  const auto answer = driver.set_config(FakeDevice::kSelect, {9});

  EXPECT_EQ(answer.length, 1U);
  EXPECT_EQ(answer.generation, 1U);
  EXPECT_EQ(driver.get_config(FakeDevice::kUnion, 4).data, bytes({9, 9, 9, 9}));
}

TEST_F(DeviceConformance, DEV61APlainWriteKeepsTheGeneration) {
  driver.to_features_ok();

  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {9}).generation, 0U);
}

TEST_F(DeviceConformance, DEV62NoEventForWhatTheDriverWrote) {
  driver.to_live({0});

  driver.set_config(FakeDevice::kWritable, {9});
  driver.set_config(FakeDevice::kSelect, {9});

  EXPECT_THAT(driver.config_events(), IsEmpty());
}

TEST_F(DeviceConformance, ADeviceWithoutConfigurationSpaceWorks) {
  device.mutable_identity().config_size = 0;
  device.config.clear();
  start();

  EXPECT_EQ(driver.get_config(0, 1).length, 0U);
  EXPECT_EQ(driver.get_config(0, 0).frame_size, 20U);
  driver.to_features_ok();
  EXPECT_EQ(driver.set_config(0, {1}).length, 0U);
  EXPECT_EQ(driver.set_status(0), 0U);
}

}  // namespace
}  // namespace vmsg::test
