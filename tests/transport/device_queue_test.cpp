// Rules DEV-78 to DEV-97: virtqueue set-up and reset, and shared memory regions.
#include "tests/support/device_conformance.hpp"
#include "transport/grant_address.hpp"

namespace vmsg::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t kLastByte = (std::uint64_t{1} << 63) | ((std::uint64_t{1} << 44) - 1);

/// A device with FEATURES_OK and a good SET_VQUEUE to break.
class QueueSetUp : public DeviceConformance {
 protected:
  QueueSetUp() { driver.to_features_ok(); }

  /// Sends `request`; it must be answered, and change nothing.
  void expect_rejected(const SetVqueueRequest& broken) {
    const auto before = driver.queue(broken.index);
    const auto refused = endpoint->counters().refused;
    EXPECT_EQ(driver.set_queue(broken), 8U);
    EXPECT_EQ(endpoint->counters().refused, refused + 1);
    EXPECT_EQ(driver.queue(broken.index), before);
  }

  SetVqueueRequest request = ProtocolDriver::good_queue(0);
};

class RingReset : public DeviceConformance {
 protected:
  RingReset() {
    driver.to_live({0, 1}, selection_with({40}));
    sink.take();
    log.clear();
  }
};

/// The same with a packed ring.
class PackedQueueSetUp : public QueueSetUp {
 protected:
  PackedQueueSetUp() {
    driver.set_status(0);
    driver.to_features_ok(selection_with({34}));
  }
};

GetVqueueResponse record_of(const SetVqueueRequest& request, std::uint32_t max_size) {
  return {.index = request.index,
          .max_size = max_size,
          .cur_size = request.size,
          .flags = request.flags,
          .descriptor_addr = request.descriptor_addr,
          .driver_addr = request.driver_addr,
          .device_addr = request.device_addr};
}

TEST_F(QueueSetUp, DEV78TheRecordOfAnIdleQueue) {
  EXPECT_EQ(driver.queue(0), (GetVqueueResponse{.index = 0, .max_size = 256}));  // V34
}

TEST_F(QueueSetUp, DEV78TheRecordOfAnEnabledQueue) {
  driver.set_queue(request);

  EXPECT_EQ(driver.queue(0), record_of(request, 256));  // V35
}

TEST_F(QueueSetUp, DEV79QueuesThatDoNotExistShowTheSentinel) {
  EXPECT_EQ(driver.queue(2), GetVqueueResponse{.index = 2});          // not implemented
  EXPECT_EQ(driver.queue(4), GetVqueueResponse{.index = 4});          // out of range
  EXPECT_EQ(driver.queue(70000), GetVqueueResponse{.index = 70000});  // V37
  EXPECT_EQ(driver.queue(0xffffffff), GetVqueueResponse{.index = 0xffffffff});
}

TEST_F(DeviceConformance, DEV79AQueueOfAFeatureExistsUntilTheFeatureIsLeftOut) {
  EXPECT_EQ(driver.queue(3).max_size, 64U);

  driver.to_features_ok();
  EXPECT_EQ(driver.queue(3), GetVqueueResponse{.index = 3});

  driver.set_status(0);
  EXPECT_EQ(driver.queue(3).max_size, 64U);
  driver.to_features_ok(selection_with({FakeDevice::kMoreQueues}));
  EXPECT_EQ(driver.queue(3).max_size, 64U);
}

TEST_F(DeviceConformance, DEV79AdminQueuesExistWithTheirFeature) {
  device.features.set(RingFeature::kAdminVq);
  device.mutable_identity().admin_vq_start = 1;
  device.mutable_identity().admin_vq_count = 1;
  start();
  EXPECT_EQ(driver.device_info().admin_vq_start, 1U);
  EXPECT_EQ(driver.device_info().admin_vq_count, 1U);

  driver.to_features_ok();
  EXPECT_EQ(driver.queue(1), GetVqueueResponse{.index = 1});
  driver.set_queue(ProtocolDriver::good_queue(1));
  EXPECT_FALSE(queues.holds(1));
  EXPECT_EQ(driver.queue(0).max_size, 256U);

  driver.set_status(0);
  driver.to_features_ok(selection_with({41}));
  EXPECT_EQ(driver.queue(1).max_size, 128U);
}

TEST_F(QueueSetUp, DEV80TheRecordIsConsistentAllTheTime) {
  const auto is_consistent = [this] {
    const auto record = driver.queue(0);
    const bool is_idle = record.flags == 0 && record.descriptor_addr == 0 &&
                         record.driver_addr == 0 && record.device_addr == 0;
    const bool is_set_up = record.descriptor_addr != 0 && record.driver_addr != 0 &&
                           record.device_addr != 0 && record.cur_size <= record.max_size;
    return record.cur_size == 0 ? is_idle : is_set_up && record.flags <= 1;
  };

  EXPECT_TRUE(is_consistent());
  request.flags = 0;
  driver.set_queue(request);
  EXPECT_TRUE(is_consistent());
  request.flags = 1;
  driver.set_queue(request);
  EXPECT_TRUE(is_consistent());
  endpoint->needs_reset();
  EXPECT_TRUE(is_consistent());
  driver.set_status(0);
  EXPECT_TRUE(is_consistent());
}

TEST_F(DeviceConformance, DEV81MaxSizeIsAPowerOfTwoUpTo32768) {
  device.queue_sizes[0] = 100;
  EXPECT_EQ(fault(), BadDevice::kQueueSize);
  device.queue_sizes[0] = 65536;
  EXPECT_EQ(fault(), BadDevice::kQueueSize);
  device.queue_sizes[0] = 32768;
  EXPECT_EQ(fault(), std::nullopt);
}

TEST_F(DeviceConformance, DEV81MaxSizeIsConstant) {
  device.queue_sizes[0] = 512;  // too late

  EXPECT_EQ(driver.queue(0).max_size, 256U);
  driver.to_live({0});
  EXPECT_EQ(driver.queue(0).max_size, 256U);
  driver.set_status(0);
  EXPECT_EQ(driver.queue(0).max_size, 256U);
}

TEST_F(QueueSetUp, DEV82AnAcceptedSetVqueueIsInForceBeforeItsAnswer) {
  log.clear();
  driver.set_queue(request);

  EXPECT_THAT(log, ElementsAre("enable 0", ::testing::HasSubstr("SET_VQUEUE response")));
  ASSERT_TRUE(queues.holds(0));
  EXPECT_EQ(queues.queues[0].size, 64U);
  EXPECT_EQ(queues.queues[0].descriptor_address, request.descriptor_addr);
  EXPECT_EQ(queues.queues[0].driver_address, request.driver_addr);
  EXPECT_EQ(queues.queues[0].device_address, request.device_addr);
  EXPECT_EQ(queues.queues[0].features, ProtocolDriver::basic_selection());
  EXPECT_EQ(driver.queue(0), record_of(request, 256));
}

TEST_F(QueueSetUp, DEV83AcceptedAndRejectedAreAnsweredAlike) {
  const auto accepted = driver.raw(driver.frame_of(request));
  const auto rejected = driver.raw(driver.frame_of(request));  // enabled already
  const auto reset = driver.raw(driver.frame_of(ResetVqueueRequest{.index = 0}));

  EXPECT_EQ(accepted, rejected);
  EXPECT_THAT(accepted, ElementsAre(bytes({0x01, 0x0a, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00})));
  EXPECT_THAT(reset, ElementsAre(bytes({0x01, 0x0b, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00})));
}

TEST_F(RingReset, DEV83EveryRingResetIsAnsweredAlike) {
  const auto reset = driver.frame_of(ResetVqueueRequest{.index = 0});
  const auto done = driver.raw(reset);
  const auto idle_already = driver.raw(reset);
  const auto no_such_queue = driver.raw(driver.frame_of(ResetVqueueRequest{.index = 99}));

  EXPECT_THAT(done, ElementsAre(bytes({0x01, 0x0b, 0x05, 0x00, 0x34, 0x12, 0x08, 0x00})));
  EXPECT_EQ(idle_already, done);
  EXPECT_EQ(no_such_queue, done);
}

TEST_F(DeviceConformance, DEV84SetVqueueWithoutFeaturesOkIsRejected) {
  driver.set_queue(ProtocolDriver::good_queue(0));
  driver.to_acknowledge();
  driver.to_driver();
  driver.set_queue(ProtocolDriver::good_queue(0));

  EXPECT_EQ(endpoint->queue_state(0), QueueState::kIdle);
  EXPECT_FALSE(queues.holds(0));
}

TEST_F(QueueSetUp, DEV84SetVqueueOfABrokenDeviceIsRejected) {
  endpoint->needs_reset();

  expect_rejected(request);
}

TEST_F(QueueSetUp, DEV84SetVqueueOfAFailedDeviceIsRejected) {
  driver.set_status(0x8b);

  expect_rejected(request);
}

TEST_F(QueueSetUp, DEV84SetVqueueOfAResettingDeviceIsRejected) {
  queues.is_slow = true;
  driver.send(SetDeviceStatusRequest{.status = 0});
  endpoint->answer_pending_reset();

  expect_rejected(request);
  EXPECT_FALSE(queues.holds(0));
}

TEST_F(QueueSetUp, DEV85SetVqueueForAQueueThatDoesNotExistIsRejected) {
  expect_rejected(ProtocolDriver::good_queue(2));
  expect_rejected(ProtocolDriver::good_queue(3));  // its feature was left out
  expect_rejected(ProtocolDriver::good_queue(4));
  expect_rejected(ProtocolDriver::good_queue(0xffffffff));
}

TEST_F(QueueSetUp, DEV86SetVqueueForAnEnabledQueueIsRejectedAndItGoesOn) {
  driver.set_queue(request);
  driver.set_status(0x0f);
  request.size = 32;

  expect_rejected(request);
  request.flags = 0;
  expect_rejected(request);

  driver.kick(0);
  EXPECT_THAT(queues.kicks, SizeIs(1));
  EXPECT_EQ(queues.queues[0].size, 64U);
}

TEST_F(QueueSetUp, DEV87OtherFlagsAreRejected) {
  request.flags = 2;
  expect_rejected(request);
  request.flags = 3;
  expect_rejected(request);
  request.flags = 0x80000001;
  expect_rejected(request);
}

TEST_F(QueueSetUp, DEV88SizeZeroIsRejected) {
  request.size = 0;
  expect_rejected(request);
}

TEST_F(QueueSetUp, DEV88ASizeAboveTheMaximumIsRejected) {
  request.size = 512;
  expect_rejected(request);
  request.size = 0x80000000;
  expect_rejected(request);
}

TEST_F(QueueSetUp, DEV88ASplitRingTakesPowersOfTwoOnly) {
  request.size = 100;  // V41
  expect_rejected(request);
  request.size = 256;
  driver.set_queue(request);
  EXPECT_EQ(driver.queue(0).cur_size, 256U);
}

TEST_F(PackedQueueSetUp, DEV88APackedRingTakesAnySize) {
  request.size = 100;

  driver.set_queue(request);

  EXPECT_EQ(driver.queue(0).cur_size, 100U);
}

TEST_F(QueueSetUp, DEV89AZeroAddressIsRejected) {
  auto broken = request;
  broken.descriptor_addr = 0;
  expect_rejected(broken);
  broken = request;
  broken.driver_addr = 0;
  expect_rejected(broken);
  broken = request;
  broken.device_addr = 0;
  expect_rejected(broken);
}

TEST_F(QueueSetUp, DEV89AMisalignedAddressIsRejected) {
  auto broken = request;
  broken.descriptor_addr += 8;
  expect_rejected(broken);
  broken = request;
  broken.driver_addr += 1;
  expect_rejected(broken);
  broken = request;
  broken.device_addr += 2;
  expect_rejected(broken);
}

TEST_F(QueueSetUp, DEV89TheLeastAlignmentIsEnough) {
  request.descriptor_addr += 16;
  request.driver_addr += 2;
  request.device_addr += 4;

  driver.set_queue(request);

  EXPECT_TRUE(queues.holds(0));
}

TEST_F(PackedQueueSetUp, DEV89PackedAreasAreAlignedToFour) {
  auto broken = request;
  broken.driver_addr += 2;
  expect_rejected(broken);
  broken = request;
  broken.device_addr += 2;
  expect_rejected(broken);
  broken = request;
  broken.descriptor_addr += 8;
  expect_rejected(broken);
  request.driver_addr += 4;
  driver.set_queue(request);
  EXPECT_TRUE(queues.holds(0));
}

TEST_F(QueueSetUp, DEV89AnAreaThatRunsPastTheLastReferenceIsRejected) {
  // 64 entries: 1024, 134 and 518 bytes. The first address leaves one step too little.
  auto broken = request;
  broken.descriptor_addr = kLastByte + 1 - 1024 + 16;
  expect_rejected(broken);
  broken = request;
  broken.driver_addr = kLastByte + 1 - 134 + 2;
  expect_rejected(broken);
  broken = request;
  broken.device_addr = kLastByte + 1 - 520 + 4;
  expect_rejected(broken);
}

TEST_F(QueueSetUp, DEV89AreasThatEndWithTheLastReferenceAreAccepted) {
  request.descriptor_addr = kLastByte + 1 - 1024;
  request.driver_addr = kLastByte + 1 - 134;
  request.device_addr = kLastByte + 1 - 520;

  driver.set_queue(request);

  EXPECT_TRUE(queues.holds(0));
}

// rules: DEV-89, HOSTILE-3
TEST_F(QueueSetUp, AnAddressThatIsNotAGrantAddressIsRejected) {
  auto broken = request;
  broken.descriptor_addr &= ~(std::uint64_t{1} << 63);
  expect_rejected(broken);
  broken = request;
  broken.driver_addr |= std::uint64_t{1} << 44;
  expect_rejected(broken);
  broken = request;
  broken.device_addr |= std::uint64_t{1} << 62;
  expect_rejected(broken);
  broken = request;
  broken.descriptor_addr = 0xfffffffffffffff0;
  expect_rejected(broken);
}

// rules: HOSTILE-3, HOSTILE-5
TEST_F(QueueSetUp, MemoryThatTheHostRefusesIsRejected) {
  queues.refuses_enable = true;
  expect_rejected(request);

  queues.refuses_enable = false;
  driver.set_queue(request);
  EXPECT_EQ(driver.queue(0), record_of(request, 256));
}

TEST_F(QueueSetUp, DEV90AQueueCanBeConfiguredAgainAndEnabledLater) {
  request.flags = 0;  // V39
  driver.set_queue(request);
  EXPECT_EQ(driver.queue(0), record_of(request, 256));  // V36
  EXPECT_FALSE(queues.holds(0));

  request.size = 32;
  request.descriptor_addr += 0x1000;
  driver.set_queue(request);
  EXPECT_EQ(driver.queue(0), record_of(request, 256));

  request.flags = 1;
  request.size = 16;
  driver.set_queue(request);
  EXPECT_EQ(driver.queue(0), record_of(request, 256));
  EXPECT_EQ(queues.queues[0].size, 16U);
}

TEST_F(QueueSetUp, DEV90ARefusedEnableLeavesTheConfigurationAsItWas) {
  request.flags = 0;
  driver.set_queue(request);
  queues.refuses_enable = true;
  auto other = request;
  other.flags = 1;
  other.size = 16;

  expect_rejected(other);

  EXPECT_EQ(driver.queue(0), record_of(request, 256));
}

TEST_F(QueueSetUp, DEV91AQueueCanBeSetUpAfterDriverOk) {
  driver.set_status(0x0f);

  driver.set_queue(request);
  driver.kick(0);

  EXPECT_TRUE(queues.holds(0));
  EXPECT_THAT(queues.kicks, SizeIs(1));
}

TEST_F(QueueSetUp, DEV92AQueueIsNotUsedBeforeDriverOk) {
  driver.set_queue(request);
  driver.kick(0);
  endpoint->used(0);

  EXPECT_FALSE(queues.is_live);
  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(QueueSetUp, DEV92AQueueIsNotUsedBeforeItIsEnabled) {
  driver.set_status(0x0f);
  request.flags = 0;
  driver.set_queue(request);
  driver.kick(0);
  endpoint->used(0);

  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_THAT(sink.frames, IsEmpty());
}

/// A live device with RING_RESET.
TEST_F(RingReset, DEV93TheAnswerComesWhenTheQueueIsGivenBack) {
  driver.reset_queue(0);  // V42, V43

  EXPECT_THAT(
      log, ElementsAre("release 0", "given back", ::testing::HasSubstr("RESET_VQUEUE response")));
  EXPECT_EQ(driver.queue(0), (GetVqueueResponse{.index = 0, .max_size = 256}));
  EXPECT_TRUE(queues.holds(1));
}

TEST_F(RingReset, DEV93ASlowReleaseHoldsTheAnswer) {
  queues.is_slow = true;
  driver.send(ResetVqueueRequest{.index = 0});
  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_TRUE(endpoint->is_busy());

  complete_release();

  EXPECT_TRUE(driver.reset_queue_answer());
  EXPECT_FALSE(endpoint->is_busy());
  EXPECT_EQ(driver.queue(0).cur_size, 0U);
}

TEST_F(RingReset, DEV93AHeldRingResetIsNotAnsweredEarly) {
  queues.is_slow = true;
  driver.send(ResetVqueueRequest{.index = 0});

  endpoint->answer_pending_reset();

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_TRUE(endpoint->is_busy());
}

TEST_F(RingReset, DEV93NoUsedEventForAQueueThatIsReset) {
  queues.is_slow = true;
  sink.room = 0;
  endpoint->used(0);
  endpoint->used(1);
  driver.send(ResetVqueueRequest{.index = 0});
  endpoint->used(0);

  sink.room = RecordingSink::kEndless;
  complete_release();
  endpoint->used(0);

  EXPECT_THAT(driver.used_events(), ElementsAre(1));
}

TEST_F(RingReset, DEV93OtherQueuesGoOnMeanwhile) {
  queues.is_slow = true;
  driver.send(ResetVqueueRequest{.index = 0});

  endpoint->used(1);

  EXPECT_THAT(driver.used_events(), ElementsAre(1));
}

TEST_F(RingReset, DEV93AConfiguredQueueIsResetToo) {
  driver.reset_queue(1);
  auto request = ProtocolDriver::good_queue(1);
  request.flags = 0;
  driver.set_queue(request);

  driver.reset_queue(1);

  EXPECT_EQ(driver.queue(1).cur_size, 0U);
}

TEST_F(DeviceConformance, DEV94RingResetWithoutTheFeatureDoesNothing) {
  driver.to_live({0});

  EXPECT_EQ(driver.reset_queue(0), 8U);

  EXPECT_EQ(endpoint->queue_state(0), QueueState::kEnabled);
  EXPECT_TRUE(queues.holds(0));
}

TEST_F(RingReset, DEV94RingResetOfAQueueThatDoesNotExistDoesNothing) {
  EXPECT_EQ(driver.reset_queue(2), 8U);
  EXPECT_EQ(driver.reset_queue(3), 8U);
  EXPECT_EQ(driver.reset_queue(70000), 8U);

  EXPECT_THAT(log, Each(::testing::HasSubstr("response")));
  EXPECT_EQ(endpoint->counters().refused, 3U);
}

TEST_F(RingReset, DEV94RingResetOfAnIdleQueueDoesNothing) {
  driver.reset_queue(0);
  log.clear();

  EXPECT_EQ(driver.reset_queue(0), 8U);

  EXPECT_THAT(log, SizeIs(1));
  EXPECT_EQ(endpoint->counters().refused, 0U);
}

TEST_F(RingReset, DEV94RingResetOfABrokenDeviceDoesNothing) {
  endpoint->needs_reset();

  EXPECT_EQ(driver.reset_queue(0), 8U);

  EXPECT_TRUE(queues.holds(0));
}

TEST_F(RingReset, DEV95AResetQueueCanBeEnabledWithOtherParameters) {
  driver.reset_queue(0);
  auto request = ProtocolDriver::good_queue(0);
  request.size = 8;
  request.device_addr += 0x4000;

  driver.set_queue(request);
  driver.kick(0);

  EXPECT_EQ(driver.queue(0), record_of(request, 256));
  EXPECT_THAT(queues.kicks, SizeIs(1));
}

TEST_F(DeviceConformance, DEV96ARegionIsReportedAndOthersAreZero) {
  const auto region = driver.shared_memory(FakeDevice::kRegion);  // V44, V45
  EXPECT_EQ(region.length, 0x200000U);
  EXPECT_EQ(region.address, 0x180000000U);

  for (const std::uint32_t id : {0U, 9U, 256U, 0xffffffffU}) {  // V46
    const auto absent = driver.shared_memory(id);
    EXPECT_EQ(absent.shmid, id);
    EXPECT_EQ(absent.length, 0U);
    EXPECT_EQ(absent.address, 0U);
  }
}

TEST_F(DeviceConformance, DEV97RegionsStayWhereTheyAreInEveryState) {
  const auto same = [this] {
    const auto region = driver.shared_memory(FakeDevice::kRegion);
    return region.length == 0x200000 && region.address == 0x180000000;
  };

  EXPECT_TRUE(same());
  driver.to_live({0});
  EXPECT_TRUE(same());
  endpoint->needs_reset();
  EXPECT_TRUE(same());
  driver.set_status(0xcf);
  EXPECT_TRUE(same());
  driver.set_status(0);
  EXPECT_TRUE(same());
}

}  // namespace
}  // namespace vmsg::test
