// Rules DEV-98 to DEV-114: events in both directions, and what comes before what.
#include "tests/support/device_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr ConfigEvent no_range(std::uint32_t status, std::uint32_t generation) {
  return {.status = status, .generation = generation, .offset = 0, .length = 0};
}

class LiveDevice : public DeviceConformance {
 protected:
  LiveDevice() {
    driver.to_live({0, 1});
    sink.take();
    log.clear();
  }
};

/// NOTIFICATION_DATA negotiated.
class NotificationData : public DeviceConformance {
 protected:
  void go_live(std::initializer_list<unsigned> more) {
    EndpointOptions options = usual();
    options.ring_features.set(RingFeature::kNotificationData);
    options.notification_data_allowed = true;
    start(options);
    FeatureSet selection = selection_with(more);
    selection.set(RingFeature::kNotificationData);
    driver.to_live({0}, selection);
  }

  std::uint32_t hint_of(std::uint32_t next_offset) {
    queues.kicks.clear();
    driver.kick(0, next_offset);
    EXPECT_THAT(queues.kicks, SizeIs(1));
    return queues.kicks.empty() ? UINT32_MAX : queues.kicks[0].hint;
  }
};

TEST_F(DeviceConformance, DEV98NoEventBeforeDriverOk) {
  endpoint->config_changed();
  endpoint->used(0);
  driver.to_acknowledge();
  driver.to_driver();
  endpoint->config_changed();
  driver.select(ProtocolDriver::basic_selection());
  driver.set_status(0x0b);
  driver.set_queue(ProtocolDriver::good_queue(0));
  endpoint->config_changed();
  endpoint->used(0);
  endpoint->needs_reset();

  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(LiveDevice, DEV99UsedBuffersAreAnnouncedWhenTheHostAsks) {
  endpoint->used(1);
  endpoint->used(0);
  endpoint->used(1);

  EXPECT_THAT(driver.used_events(), ElementsAre(1, 0, 1));
  EXPECT_EQ(endpoint->counters().used_sent, 3U);
}

TEST_F(LiveDevice, DEV100EventUsedHasTwelveBytesAndTheQueue) {
  endpoint->used(1);

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x00, 0x42, 0x05, 0x00, 0x00, 0x00, 0x0c, 0x00, 1, 0, 0, 0})));
}

TEST_F(LiveDevice, DEV100NoEventUsedForAQueueThatIsNotEnabled) {
  endpoint->used(2);
  endpoint->used(3);
  endpoint->used(4);
  endpoint->used(0xffffffff);

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(endpoint->counters().used_dropped, 4U);
}

TEST_F(LiveDevice, DEV101AChangeIsAnnouncedWithItsGeneration) {
  endpoint->config_changed();

  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x0f, 1)));  // V47
  EXPECT_EQ(driver.get_config(0, 0).generation, 1U);
}

TEST_F(LiveDevice, DEV102ADeviceThatBreaksSaysSoOnce) {
  endpoint->config_changed();
  sink.take();

  endpoint->needs_reset();
  endpoint->needs_reset();

  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x4f, 1)));  // V50
}

TEST_F(LiveDevice, DEV102ADeviceThatBreaksAfterFailedSaysNothing) {
  driver.set_status(0x8f);

  endpoint->needs_reset();

  EXPECT_THAT(driver.config_events(), IsEmpty());
  EXPECT_EQ(driver.status(), 0xcfU);
}

TEST_F(DeviceConformance, DEV103NoEventForTheResultOfAStatusWrite) {
  driver.set_status(0x03);
  driver.set_status(0x0b);  // refused
  driver.select(ProtocolDriver::basic_selection());
  driver.set_status(0x0b);
  driver.set_status(0x0f);
  driver.set_status(0x01);
  driver.set_status(0x8f);
  driver.set_status(0);

  EXPECT_THAT(driver.config_events(), IsEmpty());
}

TEST_F(LiveDevice, DEV104AnEventThatWaitedTellsWhatIsTrueWhenItIsSent) {
  sink.room = 0;
  endpoint->config_changed();
  endpoint->config_changed();
  endpoint->needs_reset();

  sink.room = RecordingSink::kEndless;
  endpoint->flush();

  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x4f, 2)));
}

TEST_F(LiveDevice, DEV104ABrokenDeviceStillAnnouncesChanges) {
  endpoint->needs_reset();
  sink.take();

  endpoint->config_changed();

  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x4f, 1)));
}

// rules: DEV-105, DEV-106
TEST_F(LiveDevice, DEV105ARangeIsNeverNamed) {
  endpoint->config_changed();

  // 24 bytes, offset 0, length 0: neither a range without data nor any data.
  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x00, 0x40, 0x05, 0x00, 0x00, 0x00, 0x18, 0x00, 0x0f, 0, 0, 0,
                                 1,    0,    0,    0,    0,    0,    0,    0,    0,    0, 0, 0})));
}

TEST_F(DeviceConformance, DEV107AChangeDuringSetUpIsAnnouncedOnceAfterDriverOk) {
  driver.to_features_ok();
  endpoint->config_changed();
  endpoint->config_changed();
  EXPECT_THAT(driver.config_events(), IsEmpty());
  log.clear();

  driver.set_status(0x0f);

  EXPECT_THAT(log, ElementsAre(HasSubstr("SET_DEVICE_STATUS response"), HasSubstr("EVENT_CONFIG"),
                               "go_live"));
  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x0f, 2)));
}

TEST_F(DeviceConformance, DEV107AChangeBeforeDriverIsNotAnnounced) {
  endpoint->config_changed();
  driver.to_acknowledge();
  endpoint->config_changed();

  driver.to_live({});

  EXPECT_THAT(driver.config_events(), IsEmpty());
}

TEST_F(DeviceConformance, DEV107AResetForgetsTheChange) {
  driver.to_features_ok();
  endpoint->config_changed();
  driver.set_status(0);

  driver.to_live({0});

  EXPECT_THAT(driver.config_events(), IsEmpty());
}

TEST_F(DeviceConformance, DEV108EventAvailOutOfPlaceIsDroppedWithoutATrace) {
  const View reset = view();
  driver.kick(0);
  EXPECT_EQ(view(), reset);

  driver.to_features_ok();
  driver.set_queue(ProtocolDriver::good_queue(0));
  const View ready = view();
  driver.kick(0);
  EXPECT_EQ(view(), ready);

  driver.set_status(0x0f);
  const View live = view();
  driver.kick(1);      // idle
  driver.kick(2);      // not implemented
  driver.kick(70000);  // out of range
  EXPECT_EQ(view(), live);

  EXPECT_THAT(queues.kicks, IsEmpty());
  EXPECT_EQ(endpoint->counters().dropped.of(DropReason::kNotLive), 5U);
}

TEST_F(LiveDevice, DEV109TheFieldIsIgnoredWithoutNotificationData) {
  driver.kick(1, 0x80000005);  // V51 has 0 here

  EXPECT_THAT(queues.kicks, ElementsAre(FakeQueueHost::Kick{.queue = 1, .hint = 0}));
}

TEST_F(NotificationData, DEV109BothSplitFormsAreDecoded) {
  go_live({});

  EXPECT_EQ(hint_of(0x00008005), 0x8005U);  // V54
  EXPECT_EQ(hint_of(0x80000005), 0x8005U);  // V55
  EXPECT_EQ(hint_of(0x00000005), 0x0005U);
}

TEST_F(NotificationData, DEV109StrayBitsMakeItAPlainNotification) {
  go_live({});

  EXPECT_EQ(hint_of(0x00010005), 0U);
  EXPECT_EQ(hint_of(0x80008005), 0U);
  EXPECT_EQ(hint_of(0xffffffff), 0U);
}

TEST_F(NotificationData, DEV109PackedOffsetsAreHandedOn) {
  go_live({34});

  EXPECT_EQ(hint_of(0x80000005), 0x80000005U);  // V52
  EXPECT_EQ(hint_of(0x00000005), 0x00000005U);  // V53
  EXPECT_EQ(hint_of(0x8000003f), 0x8000003fU);
}

TEST_F(NotificationData, DEV109APackedOffsetOutsideTheRingIsIgnored) {
  go_live({34});

  EXPECT_EQ(hint_of(64), 0U);
  EXPECT_EQ(hint_of(0x80000040), 0U);
  EXPECT_EQ(hint_of(0x7fffffff), 0U);
}

TEST_F(DeviceConformance, DEV110DriverOkMakesTheHostLookAtEveryQueue) {
  driver.to_features_ok();
  driver.set_queue(ProtocolDriver::good_queue(0));
  driver.set_queue(ProtocolDriver::good_queue(1));
  driver.kick(0);  // overtook DRIVER_OK, and is dropped
  log.clear();

  driver.set_status(0x0f);

  EXPECT_THAT(log, ElementsAre(HasSubstr("SET_DEVICE_STATUS response"), "go_live"));
}

TEST_F(LiveDevice, DEV110WritingDriverOkAgainIsNotGoingLiveAgain) {
  driver.set_status(0x0f);

  EXPECT_THAT(log, ElementsAre(HasSubstr("SET_DEVICE_STATUS response")));
}

TEST_F(LiveDevice, DEV111RepeatedKicksAreHandedOn) {
  driver.kick(0);
  driver.kick(0);
  driver.kick(0);

  EXPECT_THAT(queues.kicks, SizeIs(3));
  EXPECT_TRUE(endpoint->is_live());
}

TEST_F(LiveDevice, DEV112EffectsAreCompleteBeforeTheNextRequest) {
  driver.send(SetDeviceStatusRequest{.status = 0});
  driver.send(SetDeviceStatusRequest{.status = 1});
  driver.send(GetDeviceStatusRequest{});

  EXPECT_THAT(log, ElementsAre("release_all", "given back", HasSubstr("SET_DEVICE_STATUS response"),
                               HasSubstr("SET_DEVICE_STATUS response"),
                               HasSubstr("GET_DEVICE_STATUS response")));
  EXPECT_EQ(endpoint->status(), 1U);
}

TEST_F(LiveDevice, DEV113ResponsesComeInTheOrderOfRequests) {
  driver.send(GetVqueueRequest{.index = 0}, 1);
  driver.send(GetDeviceStatusRequest{}, 2);
  driver.send(GetConfigRequest{.offset = 0, .length = 4}, 3);
  driver.send(GetDeviceInfoRequest{}, 4);

  std::vector<std::byte> tokens;
  for (const Bytes& frame : sink.take()) tokens.push_back(frame[4]);
  EXPECT_EQ(tokens, bytes({1, 2, 3, 4}));
}

TEST_F(DeviceConformance, DEV114TheDriverOkResponseComesBeforeItsEvents) {
  driver.to_features_ok();
  driver.set_queue(ProtocolDriver::good_queue(0));
  queues.on_go_live = [this] { endpoint->used(0); };
  log.clear();

  driver.set_status(0x0f);

  EXPECT_THAT(log, ElementsAre(HasSubstr("SET_DEVICE_STATUS response"), "go_live",
                               HasSubstr("EVENT_USED")));
}

TEST_F(LiveDevice, DEV114NoEventFollowsTheResponseThatReportsZero) {
  sink.room = 0;
  endpoint->used(0);
  endpoint->config_changed();
  queues.is_slow = true;
  sink.room = 264;
  driver.send(SetDeviceStatusRequest{.status = 0});
  endpoint->used(0);
  complete_release();
  endpoint->used(0);
  endpoint->flush();

  EXPECT_EQ(driver.status_answer(), 0U);
  EXPECT_THAT(sink.frames, IsEmpty());
}

// xen-bus flow control: memory per device is constant, and nothing is lost.
// rules: BUS-46, HOSTILE-4
TEST_F(LiveDevice, EventsWithoutRoomAreMergedAndNotLost) {
  sink.room = 0;
  for (int i = 0; i < 1000; ++i) {
    endpoint->used(1);
    endpoint->used(0);
    endpoint->config_changed();
  }
  EXPECT_EQ(endpoint->counters().used_merged, 1998U);
  EXPECT_EQ(endpoint->counters().config_merged, 999U);

  sink.room = 24;
  EXPECT_FALSE(endpoint->flush());
  EXPECT_THAT(driver.config_events(), ElementsAre(no_range(0x0f, 1000)));
  sink.room = 12;
  EXPECT_FALSE(endpoint->flush());
  EXPECT_THAT(driver.used_events(), ElementsAre(1));
  sink.room = 12;
  EXPECT_TRUE(endpoint->flush());
  EXPECT_THAT(driver.used_events(), ElementsAre(0));
  EXPECT_TRUE(endpoint->flush());
  EXPECT_THAT(sink.frames, IsEmpty());
}

}  // namespace
}  // namespace vmsg::test
