// The device side of rules BUS-1 to BUS-46, but for enumeration and for waiting, which have files
// of their own.
#include "tests/support/bus_conformance.hpp"

namespace vmsg::test {
namespace {

using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

TEST_F(BusConformance, BUS1TheParametersAreKnownBeforeTheFirstMessage) {
  const auto parameters = bus->parameters();

  EXPECT_EQ(parameters.revision, 1U);
  EXPECT_EQ(parameters.max_message_size, 264U);
  EXPECT_EQ(parameters.transport_features, 0U);
}

TEST_F(BusConformance, BUS2TheMaximumMessageSizeIsWithinItsLimits) {
  BusOptions options = usual();
  options.max_message_size = 51;
  EXPECT_EQ(BusEndpoint::create(host, sink, options), nullptr);
  options.max_message_size = 65536;
  EXPECT_EQ(BusEndpoint::create(host, sink, options), nullptr);
  options.max_message_size = 52;
  EXPECT_NE(BusEndpoint::create(host, sink, options), nullptr);
  options.max_message_size = 65535;
  EXPECT_NE(BusEndpoint::create(host, sink, options), nullptr);
}

TEST_F(BusConformance, BUS3TheUsualMaximumMessageSizeIs264) {
  EXPECT_EQ(BusOptions().max_message_size, 264U);
}

TEST_F(BusConformance, BUS4TheLimitHoldsInBothDirections) {
  BusOptions options = usual();
  options.max_message_size = 104;
  start(options);
  attach({5});

  EXPECT_EQ(driver(5).get_config(0, 60).length, 60U);
  EXPECT_THAT(driver(5).device_features(0, 23).words, IsEmpty());  // 108 bytes
  EXPECT_EQ(devices_from(0, 65535).frame_size, 104U);
  Bytes large = driver(5).frame_of(GetDeviceStatusRequest{});
  large.resize(105);
  large[6] = std::byte{105};
  EXPECT_THAT(raw(large), IsEmpty());
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kTooLarge), 1U);
}

TEST_F(BusConformance, BUS5TheRevisionIsOne) { EXPECT_EQ(bus->parameters().revision, 1U); }

TEST_F(BusConformance, BUS6TransportFeaturesAreZeroUnlessTheStrictProfileIsWanted) {
  EXPECT_EQ(bus->parameters().transport_features, 0U);

  BusOptions options = usual();
  options.strict_config_generation = true;
  start(options);

  EXPECT_EQ(bus->parameters().transport_features, 1U);
}

TEST_F(BusConformance, BUS6TheStrictProfileReachesTheDevicesAndIsNoDeviceFeature) {
  BusOptions options = usual();
  options.strict_config_generation = true;
  start(options);
  attach({5});
  driver(5).to_features_ok();
  bus->config_changed(5);

  EXPECT_EQ(driver(5).set_config(FakeDevice::kWritable, {1}, 0).length, 0U);
  EXPECT_EQ(driver(5).set_config(FakeDevice::kWritable, {1}, 1).length, 1U);
  EXPECT_EQ(driver(5).device_features(0, 1).words[0] & 1U, 0U);
}

TEST_F(BusConformance, BUS7TheParametersDoNotChange) {
  const auto before = bus->parameters();
  attach({5});
  driver(5).to_live({0});
  bus->detach(5, now);

  EXPECT_EQ(bus->parameters().max_message_size, before.max_message_size);
  EXPECT_EQ(bus->parameters().transport_features, before.transport_features);
}

TEST_F(BusConformance, BUS8ABusWithoutDevicesWorks) {
  EXPECT_THAT(enumerate(256), IsEmpty());
  EXPECT_EQ(only<PingResponse>(send(PingRequest{.data = 7})).data, 7U);
  EXPECT_TRUE(bus->flush());
  EXPECT_FALSE(bus->wants_room());
}

TEST_F(BusConformance, BUS9ANumberHasOneDevice) {
  attach({0});

  EXPECT_EQ(try_attach(1), std::nullopt);
  auto& second = devices[2] = std::make_unique<Attached>();
  const auto again = bus->attach(0, second->device, second->queues, {}, now);

  ASSERT_FALSE(again.has_value());
  EXPECT_EQ(again.error(), AttachError::kNumberTaken);
  EXPECT_EQ(bus->device_count(), 2U);
}

TEST_F(BusConformance, BUS9NumberZeroIsADevice) {
  attach({0});

  EXPECT_EQ(driver(0).device_info().device_id, 2U);
}

TEST_F(BusConformance, BUS9ADeviceThatIsNotValidIsNotExposed) {
  auto& attached = devices[5] = std::make_unique<Attached>();
  attached->device.mutable_identity().device_id = 0;

  const auto result = bus->attach(5, attached->device, attached->queues, {}, now);

  ASSERT_FALSE(result.has_value());
  EXPECT_EQ(result.error(), AttachError::kBadDevice);
  EXPECT_EQ(bus->find(5), nullptr);
  EXPECT_THAT(enumerate(256), IsEmpty());
  EXPECT_THAT(sink.take(), IsEmpty());
  attach({5});  // and its number is still free
}

TEST_F(BusConformance, BUS10NothingIsDeliveredToAnAbsentNumber) {
  attach({5});

  EXPECT_THAT(raw({0x00, 0x07, 0x06, 0x00, 0x34, 0x12, 0x08, 0x00}), IsEmpty());
  EXPECT_THAT(raw({0x00, 0x41, 0x06, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0}), IsEmpty());

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kAbsentDevice), 2U);
}

TEST_F(BusConformance, BUS11ANumberRestsBeforeItIsUsedAgain) {
  attach({5});
  bus->detach(5, now);

  now += seconds(14);
  EXPECT_EQ(try_attach(5), AttachError::kNumberQuarantined);
  now += seconds(1);
  EXPECT_EQ(try_attach(5), std::nullopt);
}

TEST_F(BusConformance, BUS11ANumberWhoseRemovalIsNotAnnouncedIsNotUsed) {
  attach({5});
  sink.room = 0;
  bus->detach(5, now);
  now += seconds(60);

  EXPECT_EQ(try_attach(5, true), AttachError::kNumberQuarantined);
  sink.room = RecordingSink::kEndless;
  bus->flush();

  EXPECT_EQ(try_attach(5, true), std::nullopt);
  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2), Pair(5, 1)));
}

// rules: BUS-12, BUS-13, BUS-14
TEST_F(BusConformance, BUS12FramesReachTheirDeviceAndComeBackUnchanged) {
  attach({5, 0xfffe});

  // GET_CONFIG of device 0xfffe with a token of its own, and the answer byte for byte.
  EXPECT_THAT(raw({0x00, 0x05, 0xfe, 0xff, 0xcd, 0xab, 0x10, 0x00, 0, 0, 0, 0, 4, 0, 0, 0}),
              ElementsAre(bytes({0x01, 0x05, 0xfe, 0xff, 0xcd, 0xab, 0x18, 0x00, 0, 0, 0,    0,
                                 0,    0,    0,    0,    4,    0,    0,    0,    0, 0, 0x10, 0})));
}

// The same device with and without a bus in between: what goes in and what comes out is the same.
TEST_F(BusConformance, BUS13TheBusChangesNoByteOfAFrame) {
  attach({0xfffe});
  FakeDevice other_device;
  FakeQueueHost other_queues;
  RecordingSink other_sink;
  EndpointOptions options;
  options.ring_features = {28, 29, 34, 38, 40};
  options.notification_data_allowed = true;
  const auto alone =
      DeviceEndpoint::create(0xfffe, other_device, other_queues, other_sink, options).value();
  const auto expect_alike = [&](const Bytes& frame, std::size_t answers) {
    alone->on_frame(frame);
    const auto expected = other_sink.take();
    EXPECT_THAT(expected, SizeIs(answers));
    EXPECT_EQ(raw(frame), expected) << to_text(frame);
  };

  auto through_bus = driver(0xfffe);
  expect_alike(through_bus.frame_of(GetDeviceInfoRequest{}, 0xabcd), 1);
  expect_alike(through_bus.frame_of(GetDeviceFeaturesRequest{.block_index = 0, .num_blocks = 2}),
               1);
  expect_alike(through_bus.frame_of(SetDeviceStatusRequest{.status = 3}, 0), 1);
  expect_alike(through_bus.frame_of(GetConfigRequest{.offset = 3, .length = 9}, 0xffff), 1);
  expect_alike(through_bus.frame_of(GetVqueueRequest{.index = 1}), 1);
  expect_alike(through_bus.frame_of(EventAvail{.vq_index = 0, .next_offset = 0}), 0);
  Bytes reserved_bits = through_bus.frame_of(GetDeviceStatusRequest{});
  reserved_bits[0] |= std::byte{0xfc};
  expect_alike(reserved_bits, 1);
}

TEST_F(BusConformance, BUS13TheBusChangesNoByteOfAnEvent) {
  attach({0xfffe});
  driver(0xfffe).to_live({0});
  bus->used(0xfffe, 0);
  bus->config_changed(0xfffe);

  EXPECT_THAT(sink.take(),
              ElementsAre(bytes({0x00, 0x42, 0xfe, 0xff, 0, 0, 0x0c, 0, 0, 0, 0, 0}),
                          bytes({0x00, 0x40, 0xfe, 0xff, 0, 0, 0x18, 0, 0x0f, 0, 0, 0,
                                 1,    0,    0,    0,    0, 0, 0,    0, 0,    0, 0, 0})));
}

TEST_F(BusConformance, BUS12UnknownTransportMessagesAreTheDevicesToDrop) {
  attach({5});

  EXPECT_THAT(raw({0x00, 0x3a, 0x05, 0x00, 0, 0, 0x08, 0x00}), IsEmpty());

  EXPECT_EQ(bus->find(5)->counters().dropped.of(DropReason::kUnknownMessage), 1U);
  EXPECT_EQ(bus->counters().dropped.total(), 0U);
}

TEST_F(BusConformance, BUS16EveryRequestHasOneCompletion) {
  attach({5, 6});
  auto five = driver(5);
  auto six = driver(6);
  for (std::uint16_t i = 0; i < 10; ++i) {
    five.send(GetDeviceStatusRequest{}, i);
    six.send(GetConfigRequest{.offset = 0, .length = i}, i);
  }

  EXPECT_THAT(sink.take(), SizeIs(20));
  EXPECT_EQ(bus->find(5)->counters().requests, 10U);
  EXPECT_EQ(bus->find(5)->counters().responses, 10U);
}

// rules: BUS-17, BUS-22, BUS-24, HOSTILE-2
TEST_F(BusConformance, BUS24MalformedFramesMakeNoTraffic) {
  attach({5});

  EXPECT_THAT(raw(std::span<const std::byte>()), IsEmpty());
  EXPECT_THAT(raw({0x02, 0x03, 0, 0, 0, 0, 0x08}), IsEmpty());                 // no header
  EXPECT_THAT(raw({0x02, 0x03, 0, 0, 0, 0, 0x07, 0}), IsEmpty());              // size below 8
  EXPECT_THAT(raw({0x02, 0x03, 0, 0, 0, 0, 0x0c, 0}), IsEmpty());              // truncated
  EXPECT_THAT(raw({0x02, 0x03, 0, 0, 0, 0, 0x0a, 0, 1, 2}), IsEmpty());        // PING of two bytes
  EXPECT_THAT(raw({0x03, 0x40, 0, 0, 0, 0, 0x0c, 0, 5, 0, 1, 0}), IsEmpty());  // event, response
  EXPECT_THAT(raw({0x00, 0x41, 0x05, 0, 0, 0, 0x0a, 0, 0, 0}), IsEmpty());     // short event

  EXPECT_EQ(bus->counters().frames, 7U);
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kTruncated), 4U);
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kShortPayload), 1U);
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kDirection), 1U);
  EXPECT_EQ(bus->find(5)->counters().dropped.of(DropReason::kShortPayload), 1U);
}

TEST_F(BusConformance, BUS19ResponsesThatMatchNothingAreDropped) {
  EXPECT_THAT(raw({0x03, 0x03, 0, 0, 2, 0, 0x0c, 0, 1, 0, 0, 0}), IsEmpty());  // to no PING
  EXPECT_THAT(raw({0x03, 0x02, 0, 0, 2, 0, 0x0e, 0, 0, 0, 0, 0, 0, 0}), IsEmpty());

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kDirection), 2U);
}

// What the v2 Linux driver demands of a bus: L-1, L-13.
TEST_F(BusConformance, L1TheParametersAreThoseThatItAttachesTo) {
  start(BusOptions());

  EXPECT_EQ(bus->parameters().revision, 1U);
  EXPECT_GE(bus->parameters().max_message_size, 52U);
  EXPECT_LE(bus->parameters().max_message_size, 65535U);
  EXPECT_EQ(bus->parameters().transport_features, 0U);
}

TEST_F(BusConformance, L13TheStrictProfileIsNeitherAnnouncedNorHeldTo) {
  start(BusOptions());
  attach({5});
  driver(5).to_features_ok();
  bus->config_changed(5);

  EXPECT_EQ(bus->parameters().transport_features, 0U);
  // It writes generation 0 whatever it read.
  EXPECT_EQ(driver(5).set_config(FakeDevice::kWritable, {1}, 0).length, 1U);
}

// A new link is a new endpoint: devices are found anew in their first state.
TEST_F(BusConformance, BUS27ANewLinkStartsAnew) {
  attach({5});
  driver(5).to_live({0});
  queues(5).is_slow = true;
  driver(5).send(SetDeviceStatusRequest{.status = 0});  // outstanding
  sink.take();

  devices.clear();
  start();
  EXPECT_THAT(enumerate(256), IsEmpty());
  attach({5});  // the quarantine was for the old link

  EXPECT_EQ(driver(5).status(), 0U);
  EXPECT_THAT(sink.take(), IsEmpty());
}

TEST_F(BusConformance, BUS28BusMessagesWithADeviceNumberAreDropped) {
  attach({3});

  EXPECT_THAT(raw({0x02, 0x03, 0x03, 0x00, 0x04, 0x00, 0x0c, 0x00, 1, 0, 0, 0}), IsEmpty());  // V83

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kBusDeviceNumber), 1U);
}

TEST_F(BusConformance, BUS28BusMessagesAreSentWithNumberZeroAndCleanTypeBits) {
  EXPECT_THAT(
      raw({0xfe, 0x03, 0x00, 0x00, 0x03, 0x00, 0x0c, 0x00, 0x0d, 0xf0, 0xfe, 0xca}),
      ElementsAre(bytes({0x03, 0x03, 0x00, 0x00, 0x03, 0x00, 0x0c, 0x00, 0x0d, 0xf0, 0xfe, 0xca})));
  try_attach(5, true);
  EXPECT_THAT(sink.take(), ElementsAre(bytes({0x02, 0x40, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x05,
                                              0x00, 0x01, 0x00})));  // V65
}

TEST_F(BusConformance, BUS29BusMessagesThatAreNotKnownAreDropped) {
  EXPECT_THAT(raw({0x02, 0x04, 0, 0, 2, 0, 0x08, 0}), IsEmpty());
  EXPECT_THAT(raw({0x02, 0x00, 0, 0, 2, 0, 0x08, 0}), IsEmpty());
  EXPECT_THAT(raw({0x02, 0x8f, 0, 0, 2, 0, 0x08, 0}), IsEmpty());

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kUnknownMessage), 3U);
}

TEST_F(BusConformance, BUS29MessagesOfFeaturesThatWereNotAgreedAreDropped) {
  start(BusOptions());
  attach({5});
  driver(5).to_live({0});

  EXPECT_THAT(send(QueueEventChannelRequest{.dev_num = 5, .vq_index = 0, .port = 9}), IsEmpty());
  EXPECT_THAT(
      send(ShareRegionRequest{.region = 1, .pages = 1, .address = GrantAddress::of(1).raw()}),
      IsEmpty());
  EXPECT_THAT(send(UnshareRegionRequest{.region = 1}), IsEmpty());

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kUnknownMessage), 3U);
}

TEST_F(BusConformance, BUS38PingComesBackWithItsFourBytes) {
  EXPECT_THAT(raw({0x02, 0x03, 0x00, 0x00, 0x03, 0x00, 0x0c, 0x00, 0x0d, 0xf0, 0xfe, 0xca}),
              ElementsAre(bytes({0x03, 0x03, 0x00, 0x00, 0x03, 0x00, 0x0c, 0x00, 0x0d, 0xf0, 0xfe,
                                 0xca})));  // V63, V64
}

TEST_F(BusConformance, BUS40AddedIsSentWhenTheDeviceAnswers) {
  ASSERT_EQ(try_attach(5, true), std::nullopt);

  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 1)));
  EXPECT_EQ(driver(5).device_info().device_id, 2U);
}

TEST_F(BusConformance, BUS40DevicesThatAreThereFromTheStartAreNotAnnounced) {
  attach({5});

  EXPECT_THAT(device_events(), IsEmpty());
}

TEST_F(BusConformance, BUS40NothingIsDeliveredAfterRemoved) {
  attach({5});
  driver(5).to_live({0});
  sink.take();

  bus->detach(5, now);
  bus->used(5, 0);
  bus->config_changed(5);
  bus->needs_reset(5);

  EXPECT_THAT(sink.take(), ElementsAre(bytes({0x02, 0x40, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x05,
                                              0x00, 0x02, 0x00})));  // V66
  EXPECT_THAT(raw({0x00, 0x07, 0x05, 0x00, 0, 0, 0x08, 0x00}), IsEmpty());
  EXPECT_EQ(queues(5).stops, 1);
}

TEST_F(BusConformance, BUS40ADeviceThatIsBeingTakenAwayIsListedAndSilent) {
  attach({5, 6});
  driver(5).to_live({0});
  sink.take();

  EXPECT_TRUE(bus->withdraw(5));
  EXPECT_FALSE(bus->withdraw(5));
  bus->used(5, 0);

  EXPECT_EQ(queues(5).stops, 1);
  EXPECT_THAT(sink.take(), IsEmpty());
  EXPECT_THAT(raw({0x00, 0x07, 0x05, 0x00, 0, 0, 0x08, 0x00}), IsEmpty());
  EXPECT_THAT(enumerate(256), ElementsAre(5, 6));
  EXPECT_EQ(try_attach(5), AttachError::kNumberTaken);

  bus->removed(5, now);
  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2)));
  EXPECT_THAT(enumerate(256), ElementsAre(6));
  bus->removed(6, now);
  EXPECT_THAT(enumerate(256), ElementsAre(6));
}

TEST_F(BusConformance, BUS40EventsThatWaitedAreForgottenOnRemoval) {
  attach({5});
  driver(5).to_live({0});
  sink.room = 0;
  bus->used(5, 0);
  bus->config_changed(5);
  bus->detach(5, now);

  sink.room = RecordingSink::kEndless;
  sink.take();
  EXPECT_TRUE(bus->flush());

  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2)));
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(BusConformance, BUS40AnAdditionThatWaitedBecomesARemoval) {
  sink.room = 0;
  ASSERT_EQ(try_attach(5, true), std::nullopt);
  bus->eject(5, 10);
  bus->detach(5, now);

  sink.room = RecordingSink::kEndless;
  bus->flush();

  EXPECT_THAT(device_events(), ElementsAre(Pair(5, 2)));
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(BusConformance, DetachOfAnAbsentDeviceDoesNothing) {
  EXPECT_FALSE(bus->detach(5, now));
  EXPECT_FALSE(bus->eject(5, 1));
  EXPECT_THAT(sink.frames, IsEmpty());
}

TEST_F(BusConformance, BUS42EventDeviceFromTheDriverSideIsDropped) {
  attach({5});

  EXPECT_THAT(raw({0x02, 0x40, 0, 0, 0, 0, 0x0c, 0, 5, 0, 2, 0}), IsEmpty());

  EXPECT_EQ(bus->counters().dropped.of(DropReason::kDirection), 1U);
  EXPECT_EQ(bus->device_count(), 1U);
}

TEST_F(BusConformance, BUS43EachUsedOccurrenceIsOneMessage) {
  attach({5});
  driver(5).to_live({0, 1});
  sink.take();

  bus->used(5, 0);
  bus->used(5, 1);
  bus->used(5, 0);

  EXPECT_THAT(driver(5).used_events(), ElementsAre(0, 1, 0));
}

TEST_F(BusConformance, BUS44EventConfigTellsTheTruthWithoutARange) {
  attach({5});
  driver(5).to_live({0});
  sink.room = 0;
  bus->config_changed(5);
  bus->needs_reset(5);
  sink.room = RecordingSink::kEndless;

  bus->flush();

  EXPECT_THAT(driver(5).config_events(),
              ElementsAre(ConfigEvent{.status = 0x4f, .generation = 1, .offset = 0, .length = 0}));
}

// A queue's port says "look" and nothing else, so it is not to be had with notification data.
TEST_F(BusConformance, BUS45AQueueWithNotificationDataHasNoPort) {
  attach({5});
  FeatureSet selection = ProtocolDriver::basic_selection();
  selection.set(RingFeature::kNotificationData);
  driver(5).to_live({0}, selection);

  const auto answer = only<QueueEventChannelResponse>(
      send(QueueEventChannelRequest{.dev_num = 5, .vq_index = 0, .port = 9}));

  EXPECT_EQ(answer.status, VMSG_XEN_QEC_NOT_NOW);
  EXPECT_THAT(host.ports, IsEmpty());
}

TEST_F(BusConformance, TransportEventsOfTheWrongDirectionAreTheDevicesToDrop) {
  attach({5});

  EXPECT_THAT(raw({0x00, 0x42, 0x05, 0, 0, 0, 0x0c, 0, 0, 0, 0, 0}), IsEmpty());

  EXPECT_EQ(bus->find(5)->counters().dropped.of(DropReason::kDirection), 1U);
}

}  // namespace
}  // namespace vmsg::test
