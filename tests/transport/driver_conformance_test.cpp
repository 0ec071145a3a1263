// What the specification asks of a driver, rule by rule: frames and initialization. Reset and
// removal are in driver_reset_test.cpp, configuration and events in driver_access_test.cpp, queues
// in driver_queue_setup_test.cpp.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverConformance = DriverTest;

// ---- attach and frames -------------------------------------------------------------------------

TEST_F(DriverConformance, DRV1RefusesABusThatIsNotOurs) {
  EXPECT_EQ(DriverBus::create(peer, owner, {.revision = 2}).error(), BadBus::kRevision);
  EXPECT_EQ(DriverBus::create(peer, owner, {.revision = 0}).error(), BadBus::kRevision);
  EXPECT_EQ(DriverBus::create(peer, owner, {.max_message_size = 51}).error(),
            BadBus::kMaxMessageSize);
  EXPECT_EQ(DriverBus::create(peer, owner, {.max_message_size = 65536}).error(),
            BadBus::kMaxMessageSize);
  EXPECT_EQ(DriverBus::create(peer, owner, {.transport_features = 2}).error(),
            BadBus::kTransportFeatures);
  EXPECT_EQ(DriverBus::create(peer, owner, {.transport_features = std::uint64_t{1} << 63}).error(),
            BadBus::kTransportFeatures);
}

TEST_F(DriverConformance, DRV1AcceptsTheLimits) {
  EXPECT_TRUE(DriverBus::create(peer, owner, {.max_message_size = 52}).has_value());
  EXPECT_TRUE(DriverBus::create(peer, owner, {.max_message_size = 65535}).has_value());
  EXPECT_TRUE(DriverBus::create(peer, owner, {.transport_features = 1}).value()->is_strict());
}

struct SmallMessages : DriverTest {
  SmallMessages() : DriverTest({.max_message_size = 52}) {}
};

// rules: BUS-4
TEST_F(SmallMessages, DRV2SendsNoFrameAboveTheMaximum) {
  go_live();
  Bytes whole(60);
  device->read_config(0, whole, now, keep<std::uint32_t>());
  pump();
  EXPECT_TRUE(succeeded());
  device->write_config(0, whole, now, keep<void>());
  pump();
  EXPECT_TRUE(succeeded());

  for (const Bytes& frame : peer.sent) EXPECT_LE(frame.size(), 52u);
  EXPECT_EQ(sent_names(), (Names{"GET_CONFIG", "GET_CONFIG", "SET_CONFIG", "SET_CONFIG"}));
}

TEST_F(DriverConformance, DRV3ReservedBitsAndFieldsAreSentAsZero) {
  go_live();
  set_up_queue(1);

  const Bytes& set_vqueue = peer.sent.at(1);
  EXPECT_EQ(set_vqueue.at(0), std::byte{0});
  EXPECT_EQ(Bytes(set_vqueue.begin() + 20, set_vqueue.begin() + 24), Bytes(4));
}

TEST_F(DriverConformance, DRV3ReservedBitsAreIgnoredInResponses) {
  attach();
  peer.corrupt[TransportId::kGetDeviceInfo] = [](Bytes& response) {
    response[0] |= std::byte{0xfc};
  };

  device->start(now);
  pump();

  EXPECT_EQ(device->state(), DriverState::kSetup);
}

TEST_F(DriverConformance, DRV4AddressesItsDevice) {
  go_live();
  set_up_queue(1);
  ASSERT_TRUE(device->kick(0, 0));

  for (std::size_t i = 0; i < peer.sent.size(); ++i) EXPECT_EQ(header_of(i).dev_num, kNumber);
}

// The bus replaces the driver's token (always 0) by one of its own; any of those will do.
TEST_F(DriverConformance, DRV5WorksWithWhateverTokensTheBusUses) {
  for (int i = 0; i < 40'000; ++i) {
    ASSERT_TRUE(bus->ping(1, now, [](const auto&) {}).has_value());
    pump();
  }
  peer.sent.clear();

  go_live();

  EXPECT_EQ(device->state(), DriverState::kLive);
}

/// A status read whose answer the test has changed.
struct ChangedResponse : DriverTest {
  void start_with(const std::function<void(Bytes&)>& change) {
    go_live();
    peer.corrupt[TransportId::kGetConfig] = change;
    device->read_config(0, buffer, now, keep<std::uint32_t>());
    pump();
  }
  Bytes buffer = Bytes(8);
};

TEST_F(ChangedResponse, DRV6AnotherClassFailsTheRequest) {
  start_with([](Bytes& response) {
    response[0] |= std::byte{VIRTIO_MSG_TYPE_BUS};
    response[2] = std::byte{0};  // or the frame would not even be one
  });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ChangedResponse, DRV6AnotherMessageFailsTheRequest) {
  start_with([](Bytes& response) { response[1] = std::byte{VIRTIO_MSG_SET_CONFIG}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ChangedResponse, DRV6AnotherDeviceFailsTheRequest) {
  start_with([](Bytes& response) { response[2] = std::byte{6}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ChangedResponse, DRV6TooShortAResponseFailsTheRequest) {
  start_with([](Bytes& response) { response[6] = std::byte{27}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ChangedResponse, DRV6WithoutTheResponseBitItIsNoResponse) {
  start_with([](Bytes& response) { response[0] = std::byte{0}; });

  EXPECT_EQ(completions, 0);
  pass_time(5s);
  EXPECT_TRUE(failed_with(DriverFailure::kTimedOut));
}

TEST_F(ChangedResponse, DRV6TooLargeAResponseFailsTheRequest) {
  start_with([](Bytes& response) {
    response.resize(300);
    response[6] = std::byte{300 & 0xff};
    response[7] = std::byte{300 >> 8};
  });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ChangedResponse, DRV7SurplusInAResponseIsAccepted) {
  start_with([](Bytes& response) {
    response.resize(response.size() + 4, std::byte{0xaa});
    response[6] = static_cast<std::byte>(response.size());
  });
  EXPECT_TRUE(succeeded());
}

TEST_F(DriverConformance, DRV8DropsWhatOnlyADeviceMayGet) {
  go_live();
  const auto dropped = bus->counters().dropped;

  deliver(GetDeviceStatusRequest{});
  deliver(SetDeviceStatusRequest{.status = 0});
  deliver(EventAvail{.vq_index = 0});

  EXPECT_EQ(bus->counters().dropped, dropped + 3);
  EXPECT_TRUE(peer.sent.empty());
  EXPECT_TRUE(driver.heard.empty());
}

TEST_F(DriverConformance, DRV9EveryWaitEndsAndTheLateResponseIsDropped) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  ASSERT_TRUE(peer.serve_one());
  const Bytes late = peer.replies.front();
  peer.replies.clear();

  advance(4999ms);
  EXPECT_EQ(completions, 0);
  advance(1ms);
  EXPECT_TRUE(failed_with(DriverFailure::kTimedOut));

  deliver_bytes(late);
  EXPECT_EQ(completions, 1);
  EXPECT_EQ(bus->counters().late_responses, 1u);
}

TEST_F(DriverConformance, DRV9TheLateResponseIsNotTakenForTheNextOne) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  ASSERT_TRUE(peer.serve_one());
  Bytes late = peer.replies.front();
  peer.replies.clear();
  advance(5s);

  device->read_config(0, buffer, now, keep<std::uint32_t>());
  deliver_bytes(late);

  EXPECT_EQ(completions, 0);
  pump();
  EXPECT_TRUE(succeeded());
}

TEST_F(DriverConformance, DRV10LooksInsteadOfRepeatingAStatusWrite) {
  start();
  peer.sent.clear();
  peer.silent_on = {TransportId::kSetDeviceStatus};
  device->go_live(now, keep<void>());
  pass_time(5s);

  EXPECT_EQ(sent_names(), (Names{"SET_DEVICE_STATUS 0x0f", "GET_DEVICE_STATUS"}));
  EXPECT_TRUE(failed_with(DriverFailure::kStatusRefused));
}

TEST_F(DriverConformance, DRV10LooksInsteadOfRepeatingAQueueSetup) {
  start();
  peer.sent.clear();
  peer.silent_on = {TransportId::kSetVqueue};
  device->setup_queue(queue_setup(), now, keep<void>());
  pass_time(5s);

  EXPECT_EQ(sent_names(), (Names{"GET_VQUEUE", "SET_VQUEUE", "GET_VQUEUE"}));
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(DriverConformance, DRV10ReportsAConfigurationWriteOfUnknownOutcome) {
  go_live();
  peer.silent_on = {TransportId::kSetConfig};
  device->write_config(0, Bytes(4), now, keep<void>());
  pass_time(30s);

  EXPECT_EQ(sent_names(), (Names{"SET_CONFIG"}));
  EXPECT_TRUE(failed_with(DriverFailure::kTimedOut));
}

TEST_F(DriverConformance, DRV11HasOneRequestOutstandingPerDevice) {
  go_live();
  Bytes first(8);
  Bytes second(8);

  device->read_config(0, first, now, keep<std::uint32_t>());
  device->read_config(8, second, now, keep<std::uint32_t>());

  EXPECT_EQ(peer.sent.size(), 1u);
  EXPECT_EQ(bus->outstanding(), 1u);
  pump();
  EXPECT_EQ(peer.sent.size(), 2u);
}

// ---- initialization ----------------------------------------------------------------------------

// rules: DRV-12, DRV-13, DRV-18
TEST_F(DriverConformance, DRV15FollowsTheOrderOfInitialization) {
  start();
  device->setup_queue(queue_setup(), now, nullptr);
  device->go_live(now, nullptr);
  pump();

  EXPECT_EQ(sent_names(),
            (Names{"GET_DEVICE_INFO", "SET_DEVICE_STATUS 0x00", "SET_DEVICE_STATUS 0x01",
                   "SET_DEVICE_STATUS 0x03", "GET_DEVICE_FEATURES", "SET_DRIVER_FEATURES",
                   "SET_DEVICE_STATUS 0x0b", "GET_DEVICE_STATUS", "GET_VQUEUE", "SET_VQUEUE",
                   "GET_VQUEUE", "SET_DEVICE_STATUS 0x0f"}));
  EXPECT_EQ(driver.heard, (Names{"was reset", "ready"}));
}

TEST_F(DriverConformance, DRV12SendsNothingElseToADeviceWithoutInfo) {
  attach();
  peer.silent_on = {TransportId::kGetDeviceInfo};
  device->start(now);
  pass_time(60s);

  EXPECT_EQ(sent_names(), (Names{"GET_DEVICE_INFO"}));
  EXPECT_EQ(driver.failure, DriverFailure::kTimedOut);
}

TEST_F(DriverConformance, DRV13OperationsWaitForTheInfo) {
  attach();
  Bytes buffer(8);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  device->setup_queue(queue_setup(), now, nullptr);
  pump();

  EXPECT_TRUE(peer.sent.empty());
  EXPECT_TRUE(failed_with(DriverFailure::kNotNow));
}

TEST_F(DriverConformance, DRV14RefusesADeviceWithoutType) {
  peer.info.device_id = 0;
  start();
  EXPECT_EQ(driver.failure, DriverFailure::kBadDevice);
  EXPECT_EQ(sent_names(), (Names{"GET_DEVICE_INFO"}));
}

TEST_F(DriverConformance, DRV14RefusesTooManyQueues) {
  peer.info.max_virtqueues = 65537;
  start();
  EXPECT_EQ(driver.failure, DriverFailure::kBadDevice);
}

TEST_F(DriverConformance, DRV14RefusesAnAdminRangeOutsideTheQueues) {
  peer.info.admin_vq_start = 1;
  peer.info.admin_vq_count = 2;
  start();
  EXPECT_EQ(driver.failure, DriverFailure::kBadDevice);
}

TEST_F(DriverConformance, DRV14ComputesTheAdminRangeInSixtyFourBits) {
  peer.info.admin_vq_start = 0xffffffff;
  peer.info.admin_vq_count = 2;
  start();
  EXPECT_EQ(driver.failure, DriverFailure::kBadDevice);
}

TEST_F(DriverConformance, DRV14AcceptsTheLimits) {
  peer.info.max_virtqueues = 65536;
  peer.info.admin_vq_start = 65534;
  peer.info.admin_vq_count = 2;
  start();
  EXPECT_EQ(device->state(), DriverState::kSetup);
}

struct ChangedFeatures : DriverTest {
  void start_with(std::size_t at, unsigned byte) {
    attach();
    peer.corrupt[TransportId::kGetDeviceFeatures] = [=](Bytes& response) {
      response.at(at) = static_cast<std::byte>(byte);
    };
    device->start(now);
    pump();
  }
};

TEST_F(ChangedFeatures, DRV16AnotherBlockIndexIsAFault) {
  start_with(8, 1);
  EXPECT_EQ(driver.failure, DriverFailure::kBadResponse);
}

TEST_F(ChangedFeatures, DRV16AnotherNumberOfBlocksIsAFault) {
  start_with(12, 1);
  EXPECT_EQ(driver.failure, DriverFailure::kBadResponse);
}

TEST_F(SmallMessages, DRV16TheQueryFitsTheSmallestMessage) {
  peer.info.num_feature_blocks = 4;
  start();

  const auto queries = sent_of<GetDeviceFeaturesRequest>();
  ASSERT_EQ(queries.size(), 1u);
  EXPECT_EQ(queries[0].num_blocks, 4u);
  EXPECT_LE(16 + 4 * queries[0].num_blocks, 52u);
  EXPECT_EQ(device->state(), DriverState::kSetup);
}

TEST_F(DriverConformance, DRV16AsksForNoBlocksThatTheDeviceDoesNotHave) {
  peer.info.num_feature_blocks = 3;
  start();

  EXPECT_EQ(sent_of<GetDeviceFeaturesRequest>().at(0).num_blocks, 3u);
  EXPECT_EQ(sent_of<SetDriverFeaturesRequest>().at(0).words.size(), 3u);
}

TEST_F(DriverConformance, DRV17SelectsOnlyWhatIsOffered) {
  driver.wanted = {9, 28, 29, 34, 40, 50};
  start();
  EXPECT_EQ(peer.selection, (FeatureSet{9, 29, 32, 33, 40}));
  EXPECT_EQ(device->selection(), peer.selection);
}

TEST_F(DriverConformance, DRV17SelectsOnlyWhatTheDriverUnderstands) {
  driver.wanted = {};
  start();
  EXPECT_EQ(peer.selection, (FeatureSet{32, 33}));
}

TEST_F(DriverConformance, DRV17NeverSelectsWhatHasNoMeaningHere) {
  peer.offered = {32, 33, 37, 39};
  driver.wanted = {37, 39};
  start();
  EXPECT_EQ(peer.selection, (FeatureSet{32, 33}));
}

struct WithoutNotificationData : DriverTest {
  WithoutNotificationData() : DriverTest({}, {.notification_data_allowed = false}) {}
};

// rules: BUS-45
TEST_F(WithoutNotificationData, DRV17LeavesOutNotificationDataWhereItIsNotCarried) {
  peer.offered = {32, 33, 38};
  driver.wanted = {38};
  start();
  EXPECT_EQ(peer.selection, (FeatureSet{32, 33}));
}

TEST_F(DriverConformance, DRV17SelectsNotificationDataWhereItIsCarried) {
  peer.offered = {32, 33, 38};
  driver.wanted = {38};
  start();
  EXPECT_EQ(peer.selection, (FeatureSet{32, 33, 38}));
}

TEST_F(DriverConformance, DRV18WritesItsSelectionBetweenDriverAndFeaturesOk) {
  attach();
  std::uint32_t status_then = 0;
  peer.before[TransportId::kSetDriverFeatures] = [&] { status_then = peer.status; };
  device->start(now);
  pump();

  EXPECT_EQ(status_then, kStatusAcknowledge | kStatusDriver);
  EXPECT_EQ(sent_of<SetDriverFeaturesRequest>().size(), 1u);
}

TEST_F(DriverConformance, DRV19GoesOnOnlyWithFeaturesOkConfirmed) {
  peer.refuses_features = true;
  start();

  EXPECT_EQ(driver.failure, DriverFailure::kFeaturesRefused);
  EXPECT_EQ(driver.heard, (Names{"was reset", "failed"}));
  EXPECT_TRUE(sent_of<GetVqueueRequest>().empty());
}

// The write's own response is not what counts.
TEST_F(DriverConformance, DRV19ReadsTheStatusToConfirm) {
  attach();
  peer.before[TransportId::kGetDeviceStatus] = [&] { peer.status &= ~kStatusFeaturesOk; };
  device->start(now);
  pump();

  EXPECT_EQ(driver.failure, DriverFailure::kFeaturesRefused);
}

TEST_F(DriverConformance, DRV20SetsFailedAndStops) {
  peer.offered = {33};
  peer.info.num_feature_blocks = 2;
  start();

  EXPECT_EQ(driver.failure, DriverFailure::kMissingFeature);
  EXPECT_EQ(sent_names().back(), "SET_DEVICE_STATUS 0x83");
  EXPECT_EQ(device->state(), DriverState::kFailed);
  const auto sent = peer.sent.size();
  pass_time(60s);
  EXPECT_EQ(peer.sent.size(), sent);
}

TEST_F(DriverConformance, DRV20GivingUpSetsFailedToo) {
  go_live();
  device->give_up(now);
  pump();

  EXPECT_EQ(peer.status, 0x8fu);
  EXPECT_EQ(driver.failure, DriverFailure::kGivenUp);
  EXPECT_FALSE(device->kick(0, 0));
}

TEST_F(DriverConformance, DRV20MayBeginAgainWithAReset) {
  peer.refuses_features = true;
  start();
  peer.refuses_features = false;
  peer.sent.clear();

  device->restart(now);
  pump();

  EXPECT_EQ(sent_names().front(), "SET_DEVICE_STATUS 0x00");
  EXPECT_EQ(device->state(), DriverState::kSetup);
}

TEST_F(DriverConformance, DRV21OnlyAddsStatusBits) {
  start();
  set_up_queue();
  device->go_live(now, nullptr);
  device->give_up(now);
  pump();

  std::uint32_t status = 0;
  for (const auto& write : sent_of<SetDeviceStatusRequest>()) {
    EXPECT_EQ(write.status & status, status) << write.status;
    status = write.status;
  }
  EXPECT_EQ(status, 0x8fu);
}

}  // namespace
}  // namespace vmsg
