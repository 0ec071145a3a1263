// Rules DEV-1 to DEV-28: frames in and out of a device, and what it says about itself.
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(DeviceConformance, DEV1FieldsAreLittleEndianAtTheirOffsets) {
  device.mutable_identity().max_virtqueues = 1;
  start({.ring_features = {}, .max_message_size = 264});

  const auto frames = driver.raw({0x00, 0x02, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00});

  // Vector V02, byte for byte.
  EXPECT_THAT(frames,
              ElementsAre(bytes({0x01, 0x02, 0x05, 0x00, 0x34, 0x12, 0x34, 0x00, 0x02, 0x00, 0x00,
                                 0x00, 0x56, 0x47, 0x53, 0x4d, 0x00, 0x11, 0x22, 0x33, 0x44, 0x55,
                                 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x02,
                                 0x00, 0x00, 0x00, 0x3c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00,
                                 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00})));
}

TEST_F(DeviceConformance, DEV2AnEmptyResponseHasEightBytes) {
  const auto frames =
      driver.raw({0x00, 0x04, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0});

  EXPECT_THAT(frames, ElementsAre(bytes({0x01, 0x04, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00})));
}

TEST_F(DeviceConformance, DEV2MsgSizeIsWhatWasSent) {
  driver.send(GetConfigRequest{.offset = 3, .length = 7});

  const auto frames = sink.take();
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_THAT(frames[0], SizeIs(27));
  EXPECT_EQ(frames[0][6], std::byte{27});
  EXPECT_EQ(frames[0][7], std::byte{0});
}

// rules: DEV-3, DEV-10
TEST_F(DeviceConformance, DEV10ReservedTypeBitsAreIgnoredAndNotCopied) {
  const auto frames = driver.raw({0xfc, 0x07, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00});  // V84

  EXPECT_THAT(frames,
              ElementsAre(bytes({0x01, 0x07, 0x05, 0x00, 0x34, 0x12, 0x0c, 0x00, 0, 0, 0, 0})));
}

TEST_F(DeviceConformance, DEV4TheTokenComesBackWhateverItIs) {
  const auto zero = driver.raw({0x00, 0x07, 0x05, 0x00, 0x00, 0x00, 0x08, 0x00});
  const auto ones = driver.raw({0x00, 0x07, 0x05, 0x00, 0xff, 0xff, 0x08, 0x00});

  EXPECT_THAT(zero,
              ElementsAre(bytes({0x01, 0x07, 0x05, 0x00, 0x00, 0x00, 0x0c, 0x00, 0, 0, 0, 0})));
  EXPECT_THAT(ones,
              ElementsAre(bytes({0x01, 0x07, 0x05, 0x00, 0xff, 0xff, 0x0c, 0x00, 0, 0, 0, 0})));
}

TEST_F(DeviceConformance, DEV5EventsHaveTypeZeroTheOwnNumberAndTokenZero) {
  driver.to_live({0});
  sink.take();

  endpoint->used(0);
  endpoint->config_changed();

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x00, 0x42, 0x05, 0x00, 0x00, 0x00, 0x0c, 0x00, 0, 0, 0, 0}),
                          bytes({0x00, 0x40, 0x05, 0x00, 0x00, 0x00, 0x18, 0x00, 0x0f, 0, 0, 0,
                                 1,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0})));
}

TEST_F(DeviceConformance, DEV6NoAnswerIsLargerThanTheMaximum) {
  start({.ring_features = {}, .max_message_size = 52});

  EXPECT_EQ(driver.get_config(0, 32).frame_size, 52U);
  EXPECT_EQ(driver.get_config(0, 33).frame_size, 20U);
  EXPECT_THAT(driver.device_features(0, 9).words, SizeIs(9));
  EXPECT_THAT(driver.device_features(0, 10).words, IsEmpty());
  EXPECT_EQ(driver.device_info().device_id, 2U);
}

TEST_F(DeviceConformance, DEV7AFrameShorterThanAHeaderIsDropped) {
  EXPECT_THAT(driver.raw({0x00, 0x07, 0x05, 0x00, 0x34, 0x12, 0x08}), IsEmpty());  // V70
  EXPECT_THAT(driver.raw(std::span<const std::byte>()), IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kTruncated), 2U);
}

TEST_F(DeviceConformance, DEV7MsgSizeBelowAHeaderIsDropped) {
  EXPECT_THAT(driver.raw({0x00, 0x07, 0x05, 0x00, 0x34, 0x12, 0x07, 0x00}), IsEmpty());  // V71
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kTruncated), 1U);
}

TEST_F(DeviceConformance, DEV7MsgSizeBeyondTheFrameIsDropped) {
  EXPECT_THAT(driver.raw({0x00, 0x08, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 1, 0, 0, 0}),
              IsEmpty());  // V72

  EXPECT_EQ(driver.status(), 0U);
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kTruncated), 1U);
}

TEST_F(DeviceConformance, DEV8AFrameAboveTheMaximumIsDropped) {
  Bytes frame = driver.frame_of(GetDeviceStatusRequest{});
  frame.resize(265);
  frame[6] = std::byte{0x09};  // msg_size 265
  frame[7] = std::byte{0x01};

  EXPECT_THAT(driver.raw(frame), IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kTooLarge), 1U);
}

TEST_F(DeviceConformance, DEV8AFrameOfTheMaximumIsHandled) {
  Bytes frame = driver.frame_of(GetDeviceStatusRequest{});
  frame.resize(264);
  frame[6] = std::byte{0x08};  // msg_size 264
  frame[7] = std::byte{0x01};

  EXPECT_THAT(driver.raw(frame), SizeIs(1));
}

TEST_F(DeviceConformance, DEV9BytesAfterMsgSizeDoNotMatter) {
  const auto plain = driver.raw({0x00, 0x07, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00});
  const auto padded =
      driver.raw({0x00, 0x07, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00, 0xff, 0xff, 0xff, 0xff});

  EXPECT_THAT(padded, SizeIs(1));
  EXPECT_EQ(padded, plain);
}

TEST_F(DeviceConformance, DEV9PaddingDoesNotCompleteAShortPayload) {
  EXPECT_THAT(driver.raw({0x00, 0x08, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00, 1, 0, 0, 0}), IsEmpty());

  EXPECT_EQ(driver.status(), 0U);
}

TEST_F(DeviceConformance, DEV11AResponseIsDropped) {
  EXPECT_THAT(driver.raw({0x01, 0x07, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00}), IsEmpty());  // V76
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kDirection), 1U);
}

TEST_F(DeviceConformance, DEV11AnEventWithTheResponseBitIsDropped) {
  driver.to_live({0});
  sink.take();

  EXPECT_THAT(driver.raw({0x01, 0x41, 0x05, 0x00, 0x00, 0x00, 0x10, 0x00, 0, 0, 0, 0, 0, 0, 0, 0}),
              IsEmpty());  // V81
  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kDirection), 1U);
}

TEST_F(DeviceConformance, DEV11EventsOfTheDeviceAreDropped) {
  driver.to_live({0});
  sink.take();

  EXPECT_THAT(driver.raw({0x00, 0x42, 0x05, 0x00, 0x00, 0x00, 0x0c, 0x00, 0, 0, 0, 0}),
              IsEmpty());  // V82
  EXPECT_THAT(driver.raw({0x00, 0x40, 0x05, 0x00, 0x00, 0x00, 0x18, 0x00, 0, 0, 0, 0,
                          0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0, 0}),
              IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kDirection), 2U);
}

class UnknownMessage : public DeviceConformance, public ::testing::WithParamInterface<int> {};

TEST_P(UnknownMessage, DEV12UnknownIdentifiersAreDropped) {
  driver.to_live({0});
  sink.take();
  const View before = view();

  EXPECT_THAT(driver.raw({0x00, GetParam(), 0x05, 0x00, 0x34, 0x12, 0x0c, 0x00, 0, 0, 0, 0}),
              IsEmpty());

  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kUnknownMessage), 1U);
  EXPECT_EQ(view(), before);
}
// V77 to V80, and the edges of each class of identifiers.
INSTANTIATE_TEST_SUITE_P(DeviceConformance, UnknownMessage,
                         ::testing::Values(0x00, 0x01, 0x0d, 0x3f, 0x43, 0x7f, 0x80, 0xbf, 0xc0,
                                           0xff));

TEST_F(DeviceConformance, DEV13AnotherNumberIsDropped) {
  EXPECT_THAT(driver.raw({0x00, 0x07, 0x06, 0x00, 0x34, 0x12, 0x08, 0x00}), IsEmpty());
  EXPECT_THAT(driver.raw({0x00, 0x07, 0x05, 0x01, 0x34, 0x12, 0x08, 0x00}), IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kAbsentDevice), 2U);
}

TEST_F(DeviceConformance, DEV14AMissingFixedPartIsDropped) {
  // V73: GET_VQUEUE without its index, then with half of it.
  EXPECT_THAT(driver.raw({0x00, 0x09, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00}), IsEmpty());
  EXPECT_THAT(driver.raw({0x00, 0x09, 0x05, 0x00, 0x34, 0x12, 0x0a, 0x00, 0, 0}), IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kShortPayload), 2U);
}

TEST_F(DeviceConformance, DEV14MissingDataIsDropped) {
  driver.to_features_ok();

  EXPECT_THAT(driver.raw({0x00, 0x06, 0x05, 0x00, 0x34, 0x12, 0x16, 0x00, 0, 0, 0,
                          0,    0x20, 0,    0,    0,    4,    0,    0,    0, 1, 2}),
              IsEmpty());  // V74
  EXPECT_EQ(device.config_writes, 0);
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kShortPayload), 1U);
}

TEST_F(DeviceConformance, DEV14AMissingFeatureWordIsDropped) {
  driver.to_acknowledge();
  driver.to_driver();

  EXPECT_THAT(driver.raw({0x00, 0x04, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0, 0,
                          0,    0,    2,    0,    0,    0,    1,    0,    0, 0}),
              IsEmpty());  // V75
  EXPECT_EQ(endpoint->selection(), FeatureSet());
}

TEST_F(DeviceConformance, DEV14AnnouncedLengthsDoNotWrap) {
  driver.to_acknowledge();
  driver.to_driver();

  // num_blocks 0xffffffff and 0x40000001: times four, both fit again in 32 bits.
  EXPECT_THAT(driver.raw({0x00, 0x04, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0, 0,
                          0,    0,    0xff, 0xff, 0xff, 0xff, 1,    0,    0, 0}),
              IsEmpty());
  EXPECT_THAT(driver.raw({0x00, 0x04, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0, 0,
                          0,    0,    0x01, 0x00, 0x00, 0x40, 1,    0,    0, 0}),
              IsEmpty());
  // SET_CONFIG of 0xffffffff bytes.
  EXPECT_THAT(driver.raw({0x00, 0x06, 0x05, 0x00, 0x34, 0x12, 0x14, 0x00, 0,    0,
                          0,    0,    0x20, 0,    0,    0,    0xff, 0xff, 0xff, 0xff}),
              IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kShortPayload), 3U);
}

TEST_F(DeviceConformance, DEV15SurplusPayloadIsIgnoredAndNotEchoed) {
  const auto plain = driver.raw({0x00, 0x09, 0x05, 0x00, 0x34, 0x12, 0x0c, 0x00, 0, 0, 0, 0});
  const auto surplus = driver.raw(
      {0x00, 0x09, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 0, 0, 0, 0, 0xaa, 0xaa, 0xaa, 0xaa});  // V85

  EXPECT_THAT(plain, SizeIs(1));
  EXPECT_EQ(surplus, plain);
}

TEST_F(DeviceConformance, DEV15SurplusAfterEventAvailIsIgnored) {
  driver.to_live({0});

  driver.raw({0x00, 0x41, 0x05, 0, 0, 0, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xaa, 0xaa});

  EXPECT_THAT(queues.kicks, SizeIs(1));
}

TEST_F(DeviceConformance, DEV15SurplusAfterVariablePartsIsIgnored) {
  driver.to_features_ok();
  Bytes frame = driver.frame_of(
      SetConfigRequest{.generation = 0, .offset = FakeDevice::kWritable, .data = bytes({7})});
  frame.push_back(std::byte{9});
  frame[6] = static_cast<std::byte>(frame.size());

  const auto answers = driver.raw(frame);

  ASSERT_THAT(answers, SizeIs(1));
  EXPECT_THAT(answers[0], SizeIs(20));
  EXPECT_EQ(device.config[FakeDevice::kWritable], std::byte{7});
  EXPECT_EQ(device.config[FakeDevice::kWritable + 1], std::byte{0});
}

TEST_F(DeviceConformance, DEV16ReservedFieldsAreIgnoredOnReceiptAndZeroWhenSent) {
  driver.to_features_ok();
  Bytes frame = driver.frame_of(ProtocolDriver::good_queue(0));
  frame[8 + 12] = std::byte{0xff};  // SET_VQUEUE.reserved

  driver.raw(frame);
  const auto shm = driver.raw({0x00, 0x0c, 0x05, 0x00, 0x34, 0x12, 0x0c, 0x00, 1, 0, 0, 0});

  EXPECT_EQ(endpoint->queue_state(0), QueueState::kEnabled);
  // V45: `reserved` is the second word.
  EXPECT_THAT(shm,
              ElementsAre(bytes({0x01, 0x0c, 0x05, 0x00, 0x34, 0x12, 0x20, 0x00, 0x01, 0x00, 0x00,
                                 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x00, 0x00, 0x00,
                                 0x00, 0x00, 0x00, 0x00, 0x00, 0x80, 0x01, 0x00, 0x00, 0x00})));
}

TEST_F(DeviceConformance, DEV18EventsAreNeverAnswered) {
  driver.kick(0);
  driver.kick(77);
  driver.to_live({0});
  sink.take();
  driver.kick(0);
  driver.kick(1);
  driver.kick(0xffffffff);

  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(DeviceConformance, DEV19DropsAndRejectsChangeNothing) {
  driver.to_live({0});
  endpoint->config_changed();
  sink.take();
  const View before = view();

  driver.raw({0x00, 0x08, 0x05, 0x00, 0x34, 0x12, 0x10, 0x00, 0, 0, 0, 0});  // dropped
  driver.set_features(0, {1, 2});
  driver.set_config(FakeDevice::kWritable, {0xff});
  driver.set_config(FakeDevice::kConfigSize, {1});
  driver.set_queue(ProtocolDriver::good_queue(0));
  driver.set_queue(ProtocolDriver::good_queue(2));
  driver.reset_queue(0);  // RING_RESET was not selected
  driver.set_status(0x01);

  EXPECT_EQ(view(), before);
  EXPECT_EQ(endpoint->counters().refused, 7U + 2U * 2U);  // view() asks for queues 2 and 3 twice
}

// rules: DEV-20
TEST_F(DeviceConformance, DEV20TheSameRejectHasTheSameBytes) {
  const Bytes read = driver.frame_of(GetConfigRequest{.offset = 60, .length = 1});
  const Bytes write =
      driver.frame_of(SetConfigRequest{.generation = 0, .offset = 2, .data = bytes({1})});
  const Bytes queue = driver.frame_of(GetVqueueRequest{.index = 70000});

  EXPECT_EQ(driver.raw(read), driver.raw(read));
  EXPECT_EQ(driver.raw(write), driver.raw(write));
  EXPECT_EQ(driver.raw(queue), driver.raw(queue));
  EXPECT_THAT(driver.raw(write), SizeIs(1));
}

TEST_F(DeviceConformance, DEV21EveryRequestAndEventIsImplemented) {
  driver.to_live({0});
  sink.take();

  // Each of these fails the test when it is not answered.
  driver.device_info();
  driver.device_features(0, 2);
  driver.set_features(0, {0});
  driver.get_config(0, 4);
  driver.set_config(FakeDevice::kWritable, {1});
  driver.status();
  driver.set_status(0x0f);
  driver.queue(0);
  driver.set_queue(ProtocolDriver::good_queue(1));
  driver.reset_queue(1);
  driver.shared_memory(0);
  driver.kick(0);
  endpoint->used(0);
  endpoint->config_changed();

  EXPECT_THAT(queues.kicks, SizeIs(1));
  EXPECT_THAT(driver.used_events(), ElementsAre(0));
  EXPECT_THAT(driver.config_events(), SizeIs(1));
}

TEST_F(DeviceConformance, DEV22DeviceInfoIsTheFirstThingADriverCanAsk) {
  EXPECT_EQ(driver.device_info().device_id, 2U);
}

TEST_F(DeviceConformance, DEV23DeviceInfoIsTheSameForLife) {
  const auto first = driver.device_info();

  driver.to_live({0});
  EXPECT_EQ(driver.device_info(), first);
  driver.set_status(0);
  EXPECT_EQ(driver.device_info(), first);
  // Even if the device changes its mind.
  device.mutable_identity().config_size = 4;
  EXPECT_EQ(driver.device_info(), first);
}

TEST_F(DeviceConformance, DEV24ADeviceWithoutIdIsNotPutOnABus) {
  device.mutable_identity().device_id = 0;

  EXPECT_EQ(fault(), BadDevice::kNoDeviceId);
}

TEST_F(DeviceConformance, DEV25FeatureBlocksCoverEveryOfferedBit) {
  start({});
  EXPECT_EQ(driver.device_info().num_feature_blocks, 2U);

  device.features.set(64);
  start({});
  EXPECT_EQ(driver.device_info().num_feature_blocks, 3U);
  EXPECT_EQ(driver.device_features(2, 1).words[0], 1U);
}

TEST_F(DeviceConformance, DEV26ThereAreAtMostFourFeatureBlocks) {
  device.features.set(127);
  start();

  EXPECT_EQ(driver.device_info().num_feature_blocks, 4U);
}

TEST_F(DeviceConformance, DEV27QueueCountsAndAdminRangesAreChecked) {
  auto& identity = device.mutable_identity();
  identity.max_virtqueues = 65537;
  EXPECT_EQ(fault(), BadDevice::kTooManyQueues);

  identity.max_virtqueues = 4;
  identity.admin_vq_start = 1;
  EXPECT_EQ(fault(), BadDevice::kAdminRange);  // a start without a count

  device.features.set(RingFeature::kAdminVq);
  identity.admin_vq_start = 3;
  identity.admin_vq_count = 2;
  EXPECT_EQ(fault(), BadDevice::kAdminRange);
  identity.admin_vq_start = 0xffffffff;  // their sum wraps in 32 bits
  EXPECT_EQ(fault(), BadDevice::kAdminRange);
  identity.admin_vq_start = 2;
  EXPECT_EQ(fault(), std::nullopt);
}

TEST_F(DeviceConformance, DEV27ADeviceAtTheLimitsIsReportedAsItIs) {
  auto& identity = device.mutable_identity();
  identity = {.device_id = 1,
              .vendor_id = 0,
              .uuid = {},
              .config_size = 24,
              .max_virtqueues = 65536,
              .admin_vq_start = 65534,
              .admin_vq_count = 2};
  device.features.set(RingFeature::kAdminVq);
  device.features.set(100);
  start();

  const auto frames = driver.raw({0x00, 0x02, 0x05, 0x00, 0xff, 0xff, 0x08, 0x00});

  // Vector V03 but for the device number.
  EXPECT_THAT(
      frames,
      ElementsAre(bytes({0x01, 0x02, 0x05, 0x00, 0xff, 0xff, 0x34, 0x00, 0x01, 0, 0,    0, 0,
                         0,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0,    0, 0,
                         0,    0,    0,    0,    0,    0,    0x04, 0,    0,    0, 0x18, 0, 0,
                         0,    0,    0,    0x01, 0,    0xfe, 0xff, 0,    0,    2, 0,    0, 0})));
}

TEST_F(DeviceConformance, DEV28TheUuidIsTheDevicesOrNil) {
  EXPECT_EQ(driver.device_info().device_uuid, device.identity().uuid);

  device.mutable_identity().uuid = {};
  start();
  EXPECT_EQ(driver.device_info().device_uuid, (std::array<std::uint8_t, 16>{}));
}

TEST_F(DeviceConformance, AMaximumMessageSizeOutsideTheLimitsIsRefused) {
  EXPECT_EQ(fault({.ring_features = {}, .max_message_size = 51}), BadDevice::kMessageSize);
  EXPECT_EQ(fault({.ring_features = {}, .max_message_size = 65536}), BadDevice::kMessageSize);
  EXPECT_EQ(fault({.ring_features = {}, .max_message_size = 65535}), std::nullopt);
}

}  // namespace
}  // namespace vmsg::test
