// What waits on a bus, for whom, and how much of it there can be: flow control, devices that are
// busy, and the order of what goes out.
#include "tests/support/bus_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

/// Two live devices with RING_RESET; device 5 takes its time to give queues back.
class BusyDevice : public BusConformance {
 protected:
  BusyDevice() { prepare(); }

  void prepare() {
    attach({5, 6});
    FeatureSet selection = ProtocolDriver::basic_selection();
    selection.set(RingFeature::kRingReset);
    five.to_live({0, 1}, selection);
    six.to_live({0}, selection);
    queues(5).is_slow = true;
    sink.take();
  }

  void complete_release() {
    queues(5).complete_release();
    bus->released(5);
  }

  std::vector<int> tokens() {
    std::vector<int> found;
    for (const Bytes& frame : sink.take()) found.push_back(std::to_integer<int>(frame[4]));
    return found;
  }

  ProtocolDriver five = driver(5);
  ProtocolDriver six = driver(6);
};

TEST_F(BusConformance, NoRequestIsTakenWithoutRoomForTheLargestAnswer) {
  attach({5});
  const Bytes ping = driver(0).frame_of(PingRequest{.data = 1});
  sink.room = 263;

  EXPECT_EQ(bus->on_frame(ping), Taken::kNotNow);
  EXPECT_EQ(bus->counters().frames, 0U);
  EXPECT_TRUE(bus->wants_room());
  EXPECT_FALSE(bus->can_take_refused());
  EXPECT_FALSE(bus->flush());  // so that whoever turns asks to be told of room

  sink.room = 264;
  EXPECT_TRUE(bus->can_take_refused());
  EXPECT_EQ(bus->on_frame(ping), Taken::kTaken);
  EXPECT_FALSE(bus->wants_room());
  EXPECT_FALSE(bus->can_take_refused());
  EXPECT_THAT(sink.take(), SizeIs(1));
}

// rules: BUS-20, BUS-21
TEST_F(BusyDevice, BUS20FramesForABusyDeviceWaitInOrder) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  five.send(GetVqueueRequest{.index = 0}, 2);
  five.send(SetDeviceStatusRequest{.status = 0x8f}, 3);
  five.send(GetDeviceStatusRequest{}, 4);
  EXPECT_THAT(sink.frames, IsEmpty());

  complete_release();

  EXPECT_THAT(tokens(), ElementsAre(1, 2, 3, 4));
  EXPECT_EQ(bus->counters().frames_waited, 3U);
  EXPECT_EQ(bus->find(5)->status(), 0x8fU);
}

TEST_F(BusyDevice, BUS23OtherDevicesGoOn) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);

  EXPECT_EQ(six.status(), 0x0fU);
  six.kick(0);
  EXPECT_THAT(queues(6).kicks, SizeIs(1));
  EXPECT_EQ(only<PingResponse>(send(PingRequest{.data = 9})).data, 9U);
  EXPECT_THAT(enumerate(256), ElementsAre(5, 6));
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(BusyDevice, AFrameThatMakesTheDeviceBusyAgainKeepsTheRestWaiting) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  five.send(ResetVqueueRequest{.index = 1}, 2);
  five.send(GetDeviceStatusRequest{}, 3);

  complete_release();
  EXPECT_THAT(tokens(), ElementsAre(1));
  EXPECT_TRUE(bus->find(5)->is_busy());

  complete_release();
  EXPECT_THAT(tokens(), ElementsAre(2, 3));
}

// rules: HOSTILE-4
TEST_F(BusyDevice, TheWaitingPlacesAreBoundedAndThenTheRingWaits) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  const Bytes frame = five.frame_of(GetDeviceStatusRequest{}, 2);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(bus->on_frame(frame), Taken::kTaken);

  EXPECT_EQ(bus->on_frame(frame), Taken::kNotNow);
  EXPECT_FALSE(bus->wants_room());  // it is not room that is missing
  EXPECT_FALSE(bus->can_take_refused());
  EXPECT_EQ(six.status(), 0x0fU);  // others go on as far as the bound allows

  EXPECT_EQ(bus->on_frame(frame), Taken::kNotNow);
  complete_release();
  EXPECT_TRUE(bus->can_take_refused());
  EXPECT_EQ(bus->on_frame(frame), Taken::kTaken);
  EXPECT_THAT(sink.take(), SizeIs(18));
}

TEST_F(BusyDevice, WithoutPlacesTheRingWaitsAtOnce) {
  bus.reset();
  devices.clear();
  BusOptions options = usual();
  options.max_waiting_frames = 0;
  start(options);
  prepare();
  five.send(ResetVqueueRequest{.index = 0}, 1);

  EXPECT_EQ(bus->on_frame(five.frame_of(GetDeviceStatusRequest{})), Taken::kNotNow);

  complete_release();
  EXPECT_EQ(bus->on_frame(five.frame_of(GetDeviceStatusRequest{})), Taken::kTaken);
}

TEST_F(BusyDevice, KicksWaitWithTheOtherMessagesOfTheirDevice) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  five.kick(1);
  EXPECT_THAT(queues(5).kicks, IsEmpty());

  complete_release();

  EXPECT_THAT(queues(5).kicks, ElementsAre(FakeQueueHost::Kick{.queue = 1, .hint = 0}));
}

TEST_F(BusyDevice, BusMessagesAboutABusyDeviceWaitToo) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  EXPECT_THAT(send(QueueEventChannelRequest{.dev_num = 5, .vq_index = 0, .port = 9}, 2), IsEmpty());
  EXPECT_THAT(send(EjectedRequest{.dev_num = 5, .status = 0}, 3), IsEmpty());
  EXPECT_THAT(host.ejections, IsEmpty());

  complete_release();

  EXPECT_THAT(tokens(), ElementsAre(1, 2, 3));
  EXPECT_THAT(host.ports, IsEmpty());  // the queue is idle now
  EXPECT_THAT(host.ejections, ElementsAre(Pair(5, true)));
}

TEST_F(BusyDevice, APendingResetThatIsAnsweredEarlyFreesTheDevice) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);

  bus->answer_pending_reset(5);
  EXPECT_THAT(tokens(), ElementsAre(1, 2));
  EXPECT_EQ(five.status(), 0x0fU);

  complete_release();
  EXPECT_EQ(five.status(), 0U);
}

TEST_F(BusyDevice, WaitingFramesNeedRoomForTheLargestAnswerToo) {
  five.send(ResetVqueueRequest{.index = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);
  sink.room = 8;

  complete_release();
  EXPECT_THAT(tokens(), ElementsAre(1));
  EXPECT_TRUE(bus->wants_room());

  // What comes now stays behind what waits.
  sink.room = 264;
  EXPECT_EQ(bus->on_frame(five.frame_of(GetVqueueRequest{.index = 0}, 3)), Taken::kTaken);
  EXPECT_THAT(sink.frames, IsEmpty());
  sink.room = RecordingSink::kEndless;
  EXPECT_TRUE(bus->flush());
  EXPECT_THAT(tokens(), ElementsAre(2, 3));
  EXPECT_FALSE(bus->wants_room());
}

TEST_F(BusyDevice, AHeldAnswerWithoutRoomIsSentByFlush) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);
  sink.room = 0;
  complete_release();
  EXPECT_TRUE(bus->wants_room());
  EXPECT_FALSE(bus->flush());

  sink.room = RecordingSink::kEndless;
  EXPECT_TRUE(bus->flush());
  EXPECT_THAT(tokens(), ElementsAre(1, 2));
}

// rules: BUS-40
TEST_F(BusyDevice, ARemovedDeviceTakesItsHeldAnswerAndItsFramesAlong) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);
  six.kick(0);

  bus->detach(5, now);
  bus->released(5);  // too late

  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2)));
  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kAbsentDevice), 1U);
  EXPECT_EQ(six.status(), 0x0fU);
}

TEST_F(BusyDevice, ADeviceThatIsDetachedWhileItsFramesAreHandledLosesTheRest) {
  host.on_ejected = [this](std::uint16_t number, bool) { bus->detach(number, now); };
  five.send(ResetVqueueRequest{.index = 0}, 1);
  EXPECT_THAT(send(EjectedRequest{.dev_num = 5, .status = 0}, 2), IsEmpty());
  five.send(GetDeviceStatusRequest{}, 3);

  complete_release();

  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2)));
  EXPECT_THAT(tokens(), ElementsAre(1, 2));
}

// Bus messages are answered by the bus, so a device that goes does not take them along.
// rules: BUS-16
TEST_F(BusyDevice, BusMessagesThatWaitedForARemovedDeviceAreAnswered) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  EXPECT_THAT(send(QueueEventChannelRequest{.dev_num = 5, .vq_index = 0, .port = 9}, 2), IsEmpty());
  EXPECT_THAT(send(EjectedRequest{.dev_num = 5, .status = 0}, 3), IsEmpty());

  bus->detach(5, now);

  const auto frames = sink.take();
  ASSERT_THAT(frames, SizeIs(3));
  EXPECT_EQ(only<EventDevice>({frames[0]}).state, VIRTIO_MSG_DEVICE_REMOVED);
  EXPECT_EQ(only<QueueEventChannelResponse>({frames[1]}).status, VMSG_XEN_QEC_NO_SUCH_QUEUE);
  EXPECT_EQ(only<EjectedResponse>({frames[2]}).dev_num, 5);
  EXPECT_THAT(host.ejections, IsEmpty());
}

TEST_F(BusyDevice, ANumberWithFramesOfTheOldDeviceIsNotUsed) {
  five.send(SetDeviceStatusRequest{.status = 0}, 1);
  five.send(GetDeviceStatusRequest{}, 2);
  sink.room = 12;
  bus->detach(5, now);
  now += std::chrono::seconds(60);

  EXPECT_EQ(try_attach(5), AttachError::kNumberQuarantined);
  sink.room = RecordingSink::kEndless;
  bus->flush();
  EXPECT_EQ(try_attach(5), std::nullopt);
  EXPECT_EQ(driver(5).status(), 0U);
}

// rules: BUS-46, HOSTILE-4
TEST_F(BusyDevice, EventsOfSeveralDevicesGoOutInTurnWhenThereIsRoom) {
  sink.room = 0;
  for (int i = 0; i < 100; ++i) {
    bus->used(6, 0);
    bus->used(5, 1);
    bus->used(5, 0);
    bus->config_changed(6);
  }
  EXPECT_TRUE(bus->wants_room());
  EXPECT_THAT(sink.frames, IsEmpty());

  sink.room = RecordingSink::kEndless;
  EXPECT_TRUE(bus->flush());

  EXPECT_THAT(driver(6).config_events(), SizeIs(1));
  EXPECT_THAT(driver(6).used_events(), ElementsAre(0));
  EXPECT_THAT(driver(5).used_events(), ElementsAre(1, 0));
  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_FALSE(bus->wants_room());
}

TEST_F(BusyDevice, ALittleRoomIsSharedByAllDevices) {
  sink.room = 0;
  bus->used(5, 0);
  bus->used(5, 1);
  bus->used(6, 0);

  sink.room = 12;
  bus->flush();
  sink.room = 12;
  bus->flush();

  // Device 5 used the first room; then it was the other's turn.
  EXPECT_THAT(driver(5).used_events(), ElementsAre(0));
  EXPECT_THAT(driver(6).used_events(), ElementsAre(0));
}

TEST_F(BusConformance, BusEventsWaitForRoomAndAreNotLost) {
  attach({7});
  sink.room = 0;
  ASSERT_EQ(try_attach(5, true), std::nullopt);
  ASSERT_EQ(try_attach(6, true), std::nullopt);
  bus->eject(6, 10);
  bus->eject(6, 20);  // the latest wins
  bus->detach(7, now);
  EXPECT_TRUE(bus->wants_room());

  sink.room = 12;
  EXPECT_FALSE(bus->flush());
  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 1)));
  sink.room = RecordingSink::kEndless;
  EXPECT_TRUE(bus->flush());

  EXPECT_THAT(device_events(), ElementsAre(Pair(6, 1), Pair(7, 2)));
  const auto eject = only<Eject>(sink.take());
  EXPECT_EQ(eject.dev_num, 6);
  EXPECT_EQ(eject.seconds, 20);
}

// rules: DEV-114
TEST_F(BusConformance, TheAnswerToDriverOkIsAheadOfTheEventsThatItCauses) {
  attach({5});
  driver(5).to_features_ok();
  driver(5).set_queue(ProtocolDriver::good_queue(0));
  queues(5).on_go_live = [this] { bus->used(5, 0); };
  log.clear();

  driver(5).set_status(0x0f);

  EXPECT_THAT(log, ElementsAre(HasSubstr("SET_DEVICE_STATUS response"), HasSubstr("EVENT_USED")));
}

}  // namespace
}  // namespace vmsg::test
