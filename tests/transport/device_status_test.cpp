// Rules DEV-63 to DEV-77: the status ladder and the reset.
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Optional;
using ::testing::SizeIs;

/// Asks for a reset that the queue host does not finish at once.
class SlowReset : public DeviceConformance {
 protected:
  SlowReset() {
    driver.to_live({0});
    sink.take();
    queues.is_slow = true;
    driver.send(SetDeviceStatusRequest{.status = 0});
  }
};

TEST_F(DeviceConformance, DEV63TheAnswerIsWhatAFollowingReadSays) {
  EXPECT_EQ(driver.set_status(0x01), 0x01U);
  EXPECT_EQ(driver.status(), 0x01U);
  EXPECT_EQ(driver.set_status(0x03), 0x03U);
  EXPECT_EQ(driver.status(), 0x03U);
  EXPECT_EQ(driver.set_status(0x0b), 0x03U);  // nothing was selected
  EXPECT_EQ(driver.status(), 0x03U);
}

TEST_F(DeviceConformance, DEV64ReservedBitsAreIgnoredAndNeverSet) {
  EXPECT_EQ(driver.set_status(0xffffff31), 0x01U);
  EXPECT_EQ(driver.status(), 0x01U);
}

TEST_F(DeviceConformance, DEV65DriverNeedsAcknowledge) {
  EXPECT_EQ(driver.set_status(0x02), 0x00U);
}

TEST_F(DeviceConformance, DEV65FeaturesOkNeedsDriver) {
  driver.to_acknowledge();

  EXPECT_EQ(driver.set_status(0x09), 0x01U);
  EXPECT_EQ(device.negotiations, 0);
}

TEST_F(DeviceConformance, DEV65DriverOkNeedsFeaturesOk) {
  driver.to_acknowledge();
  driver.to_driver();

  EXPECT_EQ(driver.set_status(0x07), 0x03U);
  EXPECT_FALSE(queues.is_live);
}

TEST_F(DeviceConformance, DEV65OneWriteMayClimbSeveralSteps) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(ProtocolDriver::basic_selection());

  EXPECT_EQ(driver.set_status(0x0f), 0x0fU);
  EXPECT_TRUE(queues.is_live);
}

TEST_F(DeviceConformance, DEV65ARefusedStepStopsTheSteps) {
  EXPECT_EQ(driver.set_status(0x0f), 0x03U);
  EXPECT_FALSE(queues.is_live);
}

TEST_F(DeviceConformance, DEV66ClearingABitIsIgnored) {
  driver.to_live({0});

  EXPECT_EQ(driver.set_status(0x0b), 0x0fU);
  EXPECT_EQ(driver.set_status(0x0e), 0x0fU);
  EXPECT_EQ(driver.set_status(0x08), 0x0fU);
  EXPECT_TRUE(queues.is_live);
}

TEST_F(DeviceConformance, DEV66ClearingABitSetsNoOther) {
  driver.to_acknowledge();
  driver.to_driver();

  EXPECT_EQ(driver.set_status(0x81), 0x03U);  // FAILED asked for, DRIVER left out
}

TEST_F(DeviceConformance, DEV67OnlyThirtyTwoZeroBitsAreAReset) {
  driver.to_live({0});

  EXPECT_EQ(driver.set_status(0x00000100), 0x0fU);
  EXPECT_EQ(driver.set_status(0x80000000), 0x0fU);
  EXPECT_EQ(driver.set_status(0x30), 0x0fU);
  EXPECT_EQ(driver.set_status(0x40), 0x0fU);
  EXPECT_EQ(device.resets, 0);

  EXPECT_EQ(driver.set_status(0), 0U);
  EXPECT_EQ(device.resets, 1);
}

TEST_F(DeviceConformance, DEV68DeviceNeedsResetInAWriteIsIgnored) {
  EXPECT_EQ(driver.set_status(0x41), 0x01U);
  EXPECT_EQ(queues.stops, 0);

  driver.to_driver();
  endpoint->needs_reset();
  EXPECT_EQ(driver.set_status(0x03), 0x43U);  // not cleared by leaving it out
}

TEST_F(DeviceConformance, DEV69FailedStaysUntilReset) {
  driver.to_live({0});

  EXPECT_EQ(driver.set_status(0x8f), 0x8fU);
  EXPECT_EQ(driver.set_status(0x0f), 0x8fU);
  EXPECT_EQ(driver.set_status(0x8f), 0x8fU);
  EXPECT_EQ(driver.set_status(0), 0U);
}

TEST_F(DeviceConformance, DEV69FailedCanBeSetFromAnyState) {
  EXPECT_EQ(driver.set_status(0x80), 0x80U);
  EXPECT_EQ(driver.set_status(0x81), 0x80U);
  driver.set_status(0);

  driver.to_acknowledge();
  EXPECT_EQ(driver.set_status(0x81), 0x81U);
}

TEST_F(DeviceConformance, DEV69AFailedDeviceUsesNothing) {
  driver.to_live({0});
  driver.set_status(0x8f);
  sink.take();

  driver.kick(0);
  endpoint->used(0);

  EXPECT_EQ(queues.stops, 1);
  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(endpoint->counters().used_dropped, 1U);
}

TEST_F(DeviceConformance, DEV69ABrokenDeviceUsesNothing) {
  driver.to_live({0});
  endpoint->needs_reset();
  sink.take();

  driver.kick(0);
  endpoint->used(0);

  EXPECT_EQ(queues.stops, 1);
  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(DeviceConformance, DEV69ADeviceThatBreaksAgainAfterAResetIsStoppedAgain) {
  driver.to_live({0});
  endpoint->needs_reset();
  driver.set_status(0);
  driver.to_live({0});

  endpoint->needs_reset();

  EXPECT_EQ(queues.stops, 2);
  EXPECT_FALSE(queues.is_live);
}

TEST_F(DeviceConformance, DEV69UsedEventsThatWaitAreForgottenWhenItBreaks) {
  driver.to_live({0});
  sink.room = 0;
  endpoint->used(0);
  endpoint->needs_reset();
  sink.take();

  sink.room = RecordingSink::kEndless;
  endpoint->flush();

  EXPECT_THAT(driver.used_events(), IsEmpty());
  EXPECT_THAT(driver.config_events(), SizeIs(1));
}

TEST_F(DeviceConformance, DEV69DriverOkAndFailedTogetherDoNotGoLive) {
  driver.to_features_ok();

  EXPECT_EQ(driver.set_status(0x8f), 0x8fU);

  EXPECT_FALSE(queues.is_live);
}

TEST_F(DeviceConformance, DEV69OnlyFailedCanBeAddedToABrokenDevice) {
  driver.to_acknowledge();
  driver.to_driver();
  driver.select(ProtocolDriver::basic_selection());
  endpoint->needs_reset();

  EXPECT_EQ(driver.set_status(0x0b), 0x43U);
  EXPECT_EQ(driver.set_status(0x83), 0xc3U);
}

TEST_F(DeviceConformance, DEV70ADeviceThatCannotGoOnSaysSo) {
  driver.to_live({0});

  endpoint->needs_reset();

  EXPECT_EQ(driver.status(), 0x4fU);  // V32
  EXPECT_EQ(endpoint->counters().needs_reset, 1U);
}

TEST_F(DeviceConformance, DEV71StatusZeroComesAfterEverythingIsGivenBack) {
  driver.to_live({0, 1});
  log.clear();

  driver.set_status(0);

  EXPECT_THAT(log, ElementsAre("release_all", "given back",
                               ::testing::HasSubstr("SET_DEVICE_STATUS response")));
  EXPECT_EQ(device.resets, 1);
  EXPECT_EQ(endpoint->selection(), FeatureSet());
  EXPECT_EQ(driver.queue(0).cur_size, 0U);
  EXPECT_EQ(driver.queue(1).cur_size, 0U);
}

TEST_F(DeviceConformance, DEV71AResetClearsNeedsResetAndFailed) {
  driver.to_live({0});
  endpoint->needs_reset();
  driver.set_status(0xcf);
  EXPECT_EQ(driver.status(), 0xcfU);

  EXPECT_EQ(driver.set_status(0), 0U);

  EXPECT_EQ(driver.status(), 0U);
  driver.to_live({0});
  EXPECT_TRUE(endpoint->is_live());
}

TEST_F(DeviceConformance, DEV71AResetDiscardsUnsentEvents) {
  driver.to_live({0, 1});
  sink.room = 0;
  endpoint->used(0);
  endpoint->used(1);
  endpoint->config_changed();
  sink.room = 12;  // for the answer alone

  EXPECT_EQ(driver.set_status(0), 0U);

  sink.room = RecordingSink::kEndless;
  EXPECT_TRUE(endpoint->flush());
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(SlowReset, DEV71NothingIsReportedBeforeItIsGivenBack) {
  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_TRUE(endpoint->is_busy());
  EXPECT_EQ(endpoint->status(), 0x0fU);
  EXPECT_EQ(device.resets, 0);

  complete_release();

  EXPECT_THAT(driver.status_answer(), Optional(0U));
  EXPECT_FALSE(endpoint->is_busy());
  EXPECT_EQ(device.resets, 1);
}

TEST_F(SlowReset, DEV72TheOldStatusIsReportedWhileTheResetRuns) {
  endpoint->answer_pending_reset();

  EXPECT_THAT(driver.status_answer(), Optional(0x0fU));  // V28
  EXPECT_EQ(driver.status(), 0x0fU);
  EXPECT_TRUE(endpoint->is_resetting());

  complete_release();

  EXPECT_THAT(sink.frames, IsEmpty());  // no second answer
  EXPECT_EQ(driver.status(), 0U);
}

TEST_F(SlowReset, DEV72AnswerPendingResetAnswersOnce) {
  endpoint->answer_pending_reset();
  endpoint->answer_pending_reset();

  EXPECT_THAT(sink.take(), SizeIs(1));
}

TEST_F(DeviceConformance, DEV72AnswerPendingResetWithoutAResetDoesNothing) {
  driver.to_live({0});
  sink.take();

  endpoint->answer_pending_reset();
  endpoint->released();

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(endpoint->status(), 0x0fU);
}

TEST_F(SlowReset, DEV73AnotherZeroDoesNotRestartTheReset) {
  endpoint->answer_pending_reset();
  sink.take();

  EXPECT_EQ(driver.set_status(0), 0x0fU);
  EXPECT_EQ(driver.set_status(0), 0x0fU);
  EXPECT_EQ(queues.releases_of_all, 1);

  complete_release();
  EXPECT_EQ(driver.set_status(0), 0U);
  EXPECT_EQ(queues.releases_of_all, 1);
  EXPECT_EQ(device.resets, 1);
}

TEST_F(SlowReset, DEV74StateChangesAreRejectedWhileTheResetRuns) {
  endpoint->answer_pending_reset();
  sink.take();
  const View before = view();

  EXPECT_EQ(driver.set_features(0, {4}), 8U);
  EXPECT_EQ(driver.set_config(FakeDevice::kWritable, {1}).length, 0U);
  EXPECT_EQ(driver.set_queue(ProtocolDriver::good_queue(1)), 8U);
  EXPECT_EQ(driver.reset_queue(0), 8U);
  EXPECT_EQ(driver.set_status(0x8f), 0x0fU);

  EXPECT_EQ(view(), before);
}

TEST_F(DeviceConformance, DEV75NoEventAfterStatusZero) {
  driver.to_live({0});
  driver.set_status(0);
  sink.take();
  log.clear();

  endpoint->used(0);
  endpoint->config_changed();
  driver.kick(0);

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_THAT(log, IsEmpty());
}

TEST_F(SlowReset, DEV75NoEventWhileTheResetRuns) {
  endpoint->used(0);
  endpoint->config_changed();
  endpoint->needs_reset();

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(endpoint->status(), 0x0fU);
}

TEST_F(DeviceConformance, DEV75WhatWaitedForRoomIsNotSentOnceAResetHasBegun) {
  driver.to_live({0});
  sink.take();
  sink.room = 0;
  endpoint->used(0);
  endpoint->config_changed();
  queues.is_slow = true;
  driver.send(SetDeviceStatusRequest{.status = 0});

  sink.room = RecordingSink::kEndless;
  endpoint->flush();
  EXPECT_THAT(sink.frames, IsEmpty()) << "while it runs";

  complete_release();
  EXPECT_THAT(sink.frames, SizeIs(1)) << "the answer alone";
}

TEST_F(DeviceConformance, DEV77AResetAtStatusZeroAnswersZero) {
  EXPECT_EQ(driver.set_status(0), 0U);  // V26, V27
  EXPECT_EQ(device.resets, 0);
  EXPECT_EQ(endpoint->counters().refused, 0U);
}

TEST_F(SlowReset, AnAnswerWithoutRoomIsSentWhenThereIsSome) {
  sink.room = 0;
  complete_release();

  EXPECT_TRUE(endpoint->is_busy());
  EXPECT_FALSE(endpoint->flush());

  sink.room = 12;
  EXPECT_TRUE(endpoint->flush());
  EXPECT_FALSE(endpoint->is_busy());
  EXPECT_THAT(driver.status_answer(), Optional(0U));
}

TEST_F(SlowReset, ABrokenDeviceIsNotBrokenAnyMoreAfterTheReset) {
  endpoint->needs_reset();
  complete_release();

  EXPECT_THAT(driver.status_answer(), Optional(0U));
}

}  // namespace
}  // namespace vmsg::test
