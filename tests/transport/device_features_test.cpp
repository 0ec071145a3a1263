// Rules DEV-29 to DEV-45: what a device offers, what a driver selects, and the verdict.
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint32_t kBlock0 = 0x30001244;  // bits 2, 6, 9, 12, 28, 29
constexpr std::uint32_t kBlock1 = 0x00000107;  // bits 32, 33, 34, 40

TEST_F(DeviceConformance, DEV29TheOfferIsReportedWhateverWasNegotiated) {
  EXPECT_THAT(driver.device_features(0, 2).words, ElementsAre(kBlock0, kBlock1));

  driver.to_live({0});

  EXPECT_THAT(driver.device_features(0, 2).words, ElementsAre(kBlock0, kBlock1));
}

TEST_F(DeviceConformance, DEV30TheRequestIsEchoedWithExactlyAsManyWords) {
  const auto one = driver.device_features(1, 1);
  EXPECT_EQ(one.block_index, 1U);
  EXPECT_THAT(one.words, ElementsAre(kBlock1));

  const auto many = driver.device_features(0, 62);  // all that fits 264 bytes
  EXPECT_THAT(many.words, SizeIs(62));
}

TEST_F(DeviceConformance, DEV31BlocksPastTheLastReadZero) {
  EXPECT_THAT(driver.device_features(2, 2).words, ElementsAre(0, 0));  // V06, V07
  EXPECT_THAT(driver.device_features(1, 3).words, ElementsAre(kBlock1, 0, 0));
}

TEST_F(DeviceConformance, DEV31BlockIndicesDoNotWrapToTheFirstBlock) {
  const auto answer = driver.device_features(0xffffffff, 3);

  EXPECT_EQ(answer.block_index, 0xffffffff);
  EXPECT_THAT(answer.words, ElementsAre(0, 0, 0));
}

TEST_F(DeviceConformance, DEV32NoBlocksAreAnsweredWithoutWords) {
  const auto frames =
      driver.raw({0x00, 0x03, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 1, 0, 0, 0, 0, 0, 0, 0});

  EXPECT_THAT(
      frames,
      ElementsAre(bytes({0x01, 0x03, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 1, 0, 0, 0, 0, 0, 0, 0})));
}

TEST_F(DeviceConformance, DEV33GetFeaturesThatDoesNotFitIsRejected) {
  const auto frames =
      driver.raw({0x00, 0x03, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 0, 0, 0, 0, 63, 0, 0, 0});

  EXPECT_THAT(frames, ElementsAre(bytes({0x01, 0x03, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 0, 0, 0, 0,
                                         0, 0, 0, 0})));  // V08
  EXPECT_EQ(endpoint->counters().refused, 1U);
}

TEST_F(DeviceConformance, DEV33AnAnswerOfFourBillionWordsIsRejected) {
  EXPECT_THAT(driver.device_features(0, 0xffffffff).words, IsEmpty());
  EXPECT_THAT(driver.device_features(0, 0x40000000).words, IsEmpty());
}

TEST_F(DeviceConformance, DEV34Version1AndAccessPlatformAreAlwaysOffered) {
  device.features = {};
  start({});

  EXPECT_THAT(driver.device_features(0, 2).words, ElementsAre(0, 3));
}

TEST_F(DeviceConformance, DEV35SrIovAndNotifConfigDataAreNeverOffered) {
  FeatureSet everything;
  for (unsigned block = 0; block < kFeatureBlocks; ++block) everything.set_word(block, 0xffffffff);
  start({.ring_features = everything, .notification_data_allowed = true});

  const auto words = driver.device_features(0, 4).words;

  EXPECT_EQ(words[1] & (1U << 5), 0U);  // 37
  EXPECT_EQ(words[1] & (1U << 7), 0U);  // 39
}

TEST_F(DeviceConformance, DEV35ADeviceCannotOfferThemEither) {
  device.features.set(RingFeature::kSrIov);
  EXPECT_EQ(fault(), BadDevice::kFeatures);
  device.features.clear(RingFeature::kSrIov);

  device.features.set(RingFeature::kNotifConfigData);
  EXPECT_EQ(fault(), BadDevice::kFeatures);
}

TEST_F(DeviceConformance, DEV36NotificationDataIsOfferedOnlyWhereAllowed) {
  const FeatureSet wanted{static_cast<unsigned>(RingFeature::kNotificationData)};

  start({.ring_features = wanted, .notification_data_allowed = false});
  EXPECT_FALSE(endpoint->offered().has(RingFeature::kNotificationData));

  start({.ring_features = wanted, .notification_data_allowed = true});
  EXPECT_TRUE(endpoint->offered().has(RingFeature::kNotificationData));
}

TEST_F(DeviceConformance, DEV37AdminVqComesWithAdminQueuesOnly) {
  device.features.set(RingFeature::kAdminVq);
  EXPECT_EQ(fault(), BadDevice::kAdminFeature);

  device.mutable_identity().admin_vq_start = 3;
  device.mutable_identity().admin_vq_count = 1;
  EXPECT_EQ(fault(), std::nullopt);

  device.features.clear(RingFeature::kAdminVq);
  EXPECT_EQ(fault(), BadDevice::kAdminFeature);
}

TEST_F(DeviceConformance, DEV38OnlyTheAddressedBlocksAreUpdated) {
  driver.to_acknowledge();
  driver.to_driver();

  driver.set_features(0, {0x200, 3});  // V09
  driver.set_features(1, {1});         // V10
  EXPECT_EQ(endpoint->selection().word(0), 0x200U);
  EXPECT_EQ(endpoint->selection().word(1), 1U);

  driver.set_features(0, {4});
  driver.set_features(1, {3});
  EXPECT_EQ(endpoint->selection().word(0), 4U);
  EXPECT_EQ(endpoint->selection().word(1), 3U);
  EXPECT_EQ(driver.set_status(0x0b), 0x0bU);
}

TEST_F(DeviceConformance, DEV38NoBlocksChangeNothing) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(0, {0x200, 3});

  EXPECT_EQ(driver.set_features(0, {}), 8U);

  EXPECT_EQ(endpoint->selection().word(0), 0x200U);
}

TEST_F(DeviceConformance, DEV39SetDriverFeaturesIsAnsweredEmptyInAllCases) {
  EXPECT_EQ(driver.set_features(0, {4}), 8U);  // not in S0
  driver.to_acknowledge();
  driver.to_driver();
  EXPECT_EQ(driver.set_features(0, {4}), 8U);           // applied
  EXPECT_EQ(driver.set_features(0, {0xffffffff}), 8U);  // not offered
  EXPECT_EQ(driver.set_features(100, {1}), 8U);         // no such block
}

TEST_F(DeviceConformance, DEV40ASelectionBeforeDriverIsIgnored) {
  driver.set_features(0, {4});
  EXPECT_EQ(endpoint->selection(), FeatureSet());

  driver.to_acknowledge();
  driver.set_features(0, {4});

  EXPECT_EQ(endpoint->selection(), FeatureSet());
}

TEST_F(DeviceConformance, DEV40ASelectionOfABrokenOrFailedDeviceIsIgnored) {
  driver.to_acknowledge();
  driver.to_driver();
  endpoint->needs_reset();
  driver.set_features(0, {4});
  EXPECT_EQ(endpoint->selection(), FeatureSet());

  driver.set_status(0);
  driver.set_status(0x83);
  driver.set_features(0, {4});
  EXPECT_EQ(endpoint->selection(), FeatureSet());
}

TEST_F(DeviceConformance, DEV41AResetClearsTheSelection) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(0, {0x200, 3});

  driver.set_status(0);

  EXPECT_EQ(endpoint->selection(), FeatureSet());
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(0, {0x200});
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);  // block 1 was not written again
}

TEST_F(DeviceConformance, DEV42FeaturesOkIsRefusedForABitThatIsNotOffered) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(0, {1, 3});

  EXPECT_EQ(driver.set_status(0x0b), 0x03U);  // V29, V30
  EXPECT_EQ(driver.status(), 0x03U);
  EXPECT_EQ(device.negotiations, 0);

  driver.set_features(0, {0});
  EXPECT_EQ(driver.set_status(0x0b), 0x0bU);
  EXPECT_EQ(device.negotiated, ProtocolDriver::basic_selection());
}

TEST_F(DeviceConformance, DEV42FeaturesOkIsRefusedForAMissingDependency) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(selection_with({FakeDevice::kNeedsBase}));
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);

  driver.select(selection_with({FakeDevice::kNeedsBase, FakeDevice::kBase}));
  EXPECT_EQ(driver.set_status(0x0b), 0x0bU);
}

TEST_F(DeviceConformance, DEV42FeaturesOkIsRefusedWithoutVersion1) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(1, {2});

  EXPECT_EQ(driver.set_status(0x0b), 0x03U);
}

// rules: DEV-42, L-14
TEST_F(DeviceConformance, FeaturesOkIsRefusedWithoutAccessPlatform) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_features(1, {1});

  EXPECT_EQ(driver.set_status(0x0b), 0x03U);
}

TEST_F(DeviceConformance, DEV43AWordPastTheLastBlockSpoilsFeaturesOkUntilReset) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(ProtocolDriver::basic_selection());
  driver.set_features(2, {1});
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);

  driver.set_features(2, {0});
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);

  driver.set_status(0);
  driver.to_features_ok();
}

TEST_F(DeviceConformance, DEV43ZeroWordsPastTheLastBlockAreHarmless) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(ProtocolDriver::basic_selection());
  driver.set_features(2, {0, 0, 0, 0, 0});
  driver.set_features(0xffffffff, {0, 0});

  EXPECT_EQ(driver.set_status(0x0b), 0x0bU);
}

TEST_F(DeviceConformance, DEV43BlockIndicesDoNotWrapToTheFirstBlock) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(ProtocolDriver::basic_selection());

  driver.set_features(0xffffffff, {0, 4});  // the second word is block 2^32, not block 0

  EXPECT_EQ(endpoint->selection().word(0), 0U);
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);
}

TEST_F(DeviceConformance, DEV44TheSelectionIsFrozenFromFeaturesOkOn) {
  driver.to_features_ok();
  driver.set_features(0, {4});
  EXPECT_EQ(endpoint->selection(), ProtocolDriver::basic_selection());

  driver.set_status(0x0f);
  driver.set_features(1, {0});
  EXPECT_EQ(endpoint->selection(), ProtocolDriver::basic_selection());
}

TEST_F(DeviceConformance, DEV44SettingFeaturesOkAgainChecksNothing) {
  driver.to_features_ok();

  driver.set_status(0x0b);

  EXPECT_EQ(device.negotiations, 1);
}

TEST_F(DeviceConformance, DEV45WhatWasAcceptedOnceIsAcceptedAfterAReset) {
  const FeatureSet selection = selection_with({FakeDevice::kBase, FakeDevice::kPlain, 28, 40});
  driver.to_features_ok(selection);
  driver.set_status(0);

  driver.to_features_ok(selection);

  EXPECT_EQ(device.negotiated, selection);
  EXPECT_EQ(device.negotiations, 2);
}

}  // namespace
}  // namespace vmsg::test
