// What the specification asks of a driver, rule by rule: configuration, shared memory, events.
// Queues are in driver_queue_setup_test.cpp.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"
#include "tests/transport/vectors.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverConformance = DriverTest;

struct SmallPieces : DriverTest {
  SmallPieces() : DriverTest({.max_message_size = 52}) {}
};

struct StrictProfile : DriverTest {
  StrictProfile() : DriverTest({.transport_features = 1}) {}
};

// ---- configuration -----------------------------------------------------------------------------

TEST_F(DriverConformance, DRV22StaysInsideTheConfigurationSpace) {
  go_live();
  Bytes buffer(8);

  device->read_config(52, buffer, now, keep<std::uint32_t>());
  pump();
  EXPECT_TRUE(succeeded());
  peer.sent.clear();

  device->read_config(53, buffer, now, keep<std::uint32_t>());
  EXPECT_TRUE(failed_with(DriverFailure::kOutOfRange));
  device->read_config(0xffffffff, buffer, now, keep<std::uint32_t>());
  EXPECT_TRUE(failed_with(DriverFailure::kOutOfRange));
  device->write_config(53, buffer, now, keep<void>());
  EXPECT_TRUE(failed_with(DriverFailure::kOutOfRange));
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(SmallPieces, DRV23RestartsWhenTheGenerationChangesBetweenPieces) {
  go_live();
  int reads = 0;
  peer.before[TransportId::kGetConfig] = [&] {
    if (++reads == 2) {
      ++peer.generation;
      peer.config.assign(60, std::byte{0x22});
    }
  };
  Bytes buffer(60);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  pump();

  EXPECT_TRUE(succeeded());
  EXPECT_EQ(value, 8u);
  EXPECT_EQ(buffer, Bytes(60, std::byte{0x22}));
  EXPECT_EQ(reads, 4);
}

TEST_F(SmallPieces, DRV23GivesUpAfterFiveRestarts) {
  go_live();
  int reads = 0;
  peer.before[TransportId::kGetConfig] = [&] {
    ++reads;
    ++peer.generation;
  };
  Bytes buffer(60);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  pump();

  EXPECT_TRUE(failed_with(DriverFailure::kUnstable));
  EXPECT_EQ(reads, 12);
}

TEST_F(DriverConformance, DRV24WritesNoConfigurationBeforeFeaturesOk) {
  attach();
  device->write_config(0, Bytes(4), now, keep<void>());
  EXPECT_TRUE(failed_with(DriverFailure::kNotNow));

  std::uint32_t status_then = 0;
  peer.before[TransportId::kSetConfig] = [&] { status_then = peer.status; };
  device->start(now);
  device->write_config(0, Bytes(4), now, keep<void>());
  pump();
  EXPECT_TRUE(succeeded());
  EXPECT_EQ(status_then, 0x0bu);
}

TEST_F(DriverConformance, DRV24MayWriteWhatIsAlwaysWritableToAFailedDevice) {
  peer.refuses_features = true;
  start();
  ASSERT_EQ(device->state(), DriverState::kFailed);

  device->write_config(8, Bytes(4), now, keep<void>());
  EXPECT_TRUE(failed_with(DriverFailure::kNotNow));
  device->write_config(8, Bytes(4), now, keep<void>(), true);
  pump();
  EXPECT_TRUE(succeeded());
}

TEST_F(DriverConformance, DRV25BaselineSendsGenerationZero) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, nullptr);
  device->write_config(32, Bytes(1, std::byte{1}), now, keep<void>());
  pump();

  EXPECT_TRUE(succeeded());
  Bytes expected = vector_bytes("V18");
  expected[4] = peer.sent.back()[4];  // the token is the bus's
  expected[5] = peer.sent.back()[5];
  EXPECT_EQ(peer.sent.back(), expected);
}

TEST_F(StrictProfile, DRV26SendsTheGenerationItReadLast) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, nullptr);
  device->write_config(4, Bytes(4), now, keep<void>());
  pump();

  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_of<SetConfigRequest>().at(0).generation, 7u);
}

TEST_F(StrictProfile, DRV26SendsTheGenerationOfAnEvent) {
  go_live();
  peer.generation = 21;
  deliver(EventConfig{.device_status = 0x0f, .generation = 21, .data = {}});
  device->write_config(4, Bytes(4), now, nullptr);
  pump();

  EXPECT_EQ(sent_of<SetConfigRequest>().at(0).generation, 21u);
}

TEST_F(StrictProfile, DRV26SendsTheGenerationOfTheLastWrite) {
  go_live();
  device->write_config(4, Bytes(4), now, nullptr);
  peer.corrupt[TransportId::kSetConfig] = [](Bytes& response) { response[8] = std::byte{30}; };
  pump();
  device->write_config(4, Bytes(4), now, nullptr);
  pump();

  EXPECT_EQ(sent_of<SetConfigRequest>().at(1).generation, 30u);
}

TEST_F(StrictProfile, DRV26AsksForTheGenerationWhenItNeverSawOne) {
  go_live();
  device->write_config(4, Bytes(4), now, keep<void>());
  pump();

  EXPECT_EQ(sent_names(), (Names{"GET_CONFIG", "SET_CONFIG"}));
  EXPECT_EQ(sent_of<GetConfigRequest>().at(0).length, 0u);
  EXPECT_EQ(sent_of<SetConfigRequest>().at(0).generation, 7u);
}

TEST_F(StrictProfile, DRV27ReadsAgainAfterARejection) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, nullptr);
  pump();
  peer.rejects_writes = true;
  peer.generation = 8;
  device->write_config(4, Bytes(4), now, keep<void>());
  pump();
  EXPECT_TRUE(failed_with(DriverFailure::kRejected));

  peer.rejects_writes = false;
  peer.sent.clear();
  device->write_config(4, Bytes(4), now, keep<void>());
  pump();
  EXPECT_TRUE(failed_with(DriverFailure::kReadFirst));
  EXPECT_TRUE(peer.sent.empty());

  device->read_config(0, buffer, now, nullptr);
  device->write_config(4, Bytes(4), now, keep<void>());
  pump();
  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_of<SetConfigRequest>().at(0).generation, 8u);
}

struct ConfigWrite28 : DriverTest {
  void write_with(const std::function<void(Bytes&)>& change) {
    go_live();
    peer.corrupt[TransportId::kSetConfig] = change;
    device->write_config(4, Bytes(4), now, keep<void>());
    pump();
  }
};

TEST_F(ConfigWrite28, DRV28LengthZeroIsARejection) {
  write_with([](Bytes& response) { response[16] = std::byte{0}; });
  EXPECT_TRUE(failed_with(DriverFailure::kRejected));
}

TEST_F(ConfigWrite28, DRV28AnotherLengthIsAProtocolError) {
  write_with([](Bytes& response) { response[16] = std::byte{3}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ConfigWrite28, DRV28EchoedDataIsIgnored) {
  write_with([](Bytes& response) {
    response.resize(24, std::byte{0xee});
    response[6] = std::byte{24};
  });
  EXPECT_TRUE(succeeded());
}

TEST_F(ConfigWrite28, DRV29AnotherOffsetInTheAnswerToAWriteIsAProtocolError) {
  write_with([](Bytes& response) { response[12] = std::byte{5}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

struct ConfigRead29 : DriverTest {
  void read_with(const std::function<void(Bytes&)>& change) {
    go_live();
    peer.corrupt[TransportId::kGetConfig] = change;
    device->read_config(4, buffer, now, keep<std::uint32_t>());
    pump();
  }
  Bytes buffer = Bytes(4);
};

TEST_F(ConfigRead29, DRV29AnotherOffsetIsAProtocolError) {
  read_with([](Bytes& response) { response[12] = std::byte{5}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

TEST_F(ConfigRead29, DRV29AnotherLengthIsAProtocolError) {
  read_with([](Bytes& response) { response[16] = std::byte{3}; });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
}

// All of it is there: the frame itself is in order, and the buffer too small for it.
TEST_F(ConfigRead29, DRV29MoreThanWasAskedForIsAProtocolError) {
  buffer.assign(4, std::byte{0x55});
  read_with([](Bytes& response) {
    response.resize(response.size() + 4, std::byte{0xaa});
    response[6] = static_cast<std::byte>(response.size());
    response[16] = std::byte{8};
  });
  EXPECT_TRUE(failed_with(DriverFailure::kBadResponse));
  EXPECT_EQ(buffer, Bytes(4, std::byte{0x55}));
}

TEST_F(ConfigRead29, DRV29LengthZeroIsARejection) {
  read_with([](Bytes& response) { response[16] = std::byte{0}; });
  EXPECT_TRUE(failed_with(DriverFailure::kRejected));
}

// ---- shared memory -----------------------------------------------------------------------------

TEST_F(DriverConformance, DRV37LengthZeroIsNoRegion) {
  go_live();
  device->find_shared_memory(1, now, keep<std::optional<SharedMemoryRegion>>());
  pump();
  EXPECT_TRUE(succeeded());
  EXPECT_EQ(value, 0x200000u);

  std::optional<SharedMemoryRegion> region{{1, 1}};
  device->find_shared_memory(9, now, [&](const auto& result) { region = result.value(); });
  pump();
  EXPECT_FALSE(region.has_value());
}

// ---- events ------------------------------------------------------------------------------------

TEST_F(DriverConformance, DRV43KickSendsEventAvail) {
  go_live();
  ASSERT_TRUE(device->kick(0, 0));

  EXPECT_EQ(sent_of<EventAvail>().at(0).vq_index, 0u);
  EXPECT_EQ(header_of(0).token, 0);
}

// rules: DRV-49
TEST_F(DriverConformance, DRV43KicksWithoutRoomAreMergedAndNotLost) {
  go_live();
  set_up_queue(1);
  peer.sent.clear();
  peer.is_full = true;
  for (int i = 0; i < 100; ++i) ASSERT_TRUE(device->kick(0, 0));
  ASSERT_TRUE(device->kick(1, 0));
  EXPECT_TRUE(peer.sent.empty());
  EXPECT_TRUE(bus->wants_room());
  EXPECT_FALSE(bus->flush(now));

  peer.is_full = false;
  EXPECT_TRUE(bus->flush(now));
  EXPECT_FALSE(bus->wants_room());
  EXPECT_EQ(sent_of<EventAvail>().size(), 2u);
  EXPECT_EQ(device->merged_kicks(), 99u);
}

TEST_F(DriverConformance, DRV44SendsNoNotificationDataThatWasNotNegotiated) {
  go_live();
  ASSERT_TRUE(device->kick(0, 0x80000005));
  EXPECT_EQ(sent_of<EventAvail>().at(0).next_offset, 0u);
}

struct NotificationData : DriverTest {
  NotificationData() {
    peer.offered.set(RingFeature::kNotificationData);
    driver.wanted.set(RingFeature::kNotificationData);
  }
};

TEST_F(NotificationData, DRV44SendsWhatTheQueueSays) {
  go_live();
  ASSERT_TRUE(device->kick(0, 0x8005));
  EXPECT_EQ(sent_of<EventAvail>().at(0).next_offset, 0x8005u);
}

TEST_F(NotificationData, DRV44OfMergedKicksTheLatestWins) {
  go_live();
  peer.is_full = true;
  ASSERT_TRUE(device->kick(0, 5));
  ASSERT_TRUE(device->kick(0, 6));
  peer.is_full = false;
  bus->flush(now);

  const auto kicks = sent_of<EventAvail>();
  ASSERT_EQ(kicks.size(), 1u);
  EXPECT_EQ(kicks[0].next_offset, 6u);
}

TEST_F(DriverConformance, DRV45EventUsedNamesTheQueue) {
  go_live();
  deliver(EventUsed{.vq_index = 0});
  EXPECT_EQ(driver.heard, (Names{"used 0"}));
}

TEST_F(DriverConformance, DRV45UnknownAndUnconfiguredQueuesAreDropped) {
  go_live();
  deliver(EventUsed{.vq_index = 1});
  deliver(EventUsed{.vq_index = 2});
  deliver(EventUsed{.vq_index = 0xffffffff});

  EXPECT_TRUE(driver.heard.empty());
  EXPECT_EQ(device->dropped_events(), 3u);
}

struct ConfigEvents : DriverTest {
  void receive(const Bytes& event) {
    go_live();
    deliver_bytes(event);
    pump();
  }
};

TEST_F(ConfigEvents, DRV46AcceptsTheFormWithoutRange) {
  receive(vector_bytes("V47"));
  EXPECT_EQ(driver.heard, (Names{"config 7"}));
}

TEST_F(ConfigEvents, DRV46AcceptsARangeWithoutData) {
  receive(vector_bytes("V48"));
  EXPECT_EQ(driver.heard, (Names{"config 7"}));
}

TEST_F(ConfigEvents, DRV46AcceptsARangeWithData) {
  receive(vector_bytes("V49"));
  EXPECT_EQ(driver.heard, (Names{"config 7"}));
}

TEST_F(ConfigEvents, DRV46DropsOtherSizes) {
  receive(vector_bytes("V87"));
  EXPECT_TRUE(driver.heard.empty());
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(ConfigEvents, DRV46DropsARangeOutsideTheSpace) {
  receive(FakeDeviceSide::encoded(
      {.dev_num = kNumber},
      EventConfig{.device_status = 15, .generation = 8, .offset = 53, .length = 8, .data = {}}));
  deliver(EventConfig{
      .device_status = 15, .generation = 8, .offset = 0xffffffff, .length = 2, .data = {}});

  EXPECT_TRUE(driver.heard.empty());
  EXPECT_EQ(device->dropped_events(), 2u);
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(ConfigEvents, DRV47ReadsStatusAndConfigurationInsteadOfTrustingTheEvent) {
  receive(vector_bytes("V50"));  // says NEEDS_RESET; the device itself does not

  EXPECT_EQ(sent_names(), (Names{"GET_DEVICE_STATUS", "GET_CONFIG"}));
  EXPECT_EQ(driver.heard, (Names{"config 7"}));
  EXPECT_EQ(device->status(), 0x0fu);
}

TEST_F(DriverConformance, DRV48IgnoresEventsBeforeInitialization) {
  attach();
  deliver(EventUsed{.vq_index = 0});
  deliver(EventConfig{.device_status = 0x4f, .generation = 8, .data = {}});
  device->start(now);
  deliver(EventConfig{.device_status = 0x4f, .generation = 8, .data = {}});
  pump();
  deliver(EventUsed{.vq_index = 0});
  pump();

  EXPECT_EQ(driver.heard, (Names{"was reset", "ready"}));
  EXPECT_EQ(device->dropped_events(), 4u);
}

TEST_F(DriverConformance, DRV48IgnoresEventsDuringAReset) {
  go_live();
  peer.polls_until_reset = 2;
  device->stop(now, nullptr);
  pump();
  deliver(EventUsed{.vq_index = 0});
  deliver(EventConfig{.device_status = 0x0f, .generation = 8, .data = {}});

  EXPECT_TRUE(driver.heard.empty());
  EXPECT_EQ(device->dropped_events(), 2u);
}

TEST_F(DriverConformance, DRV48IgnoresEventsAfterARemoval) {
  go_live();
  peer.present.clear();
  deliver(EventDevice{.dev_num = kNumber, .state = VIRTIO_MSG_DEVICE_REMOVED});
  deliver(EventUsed{.vq_index = 0});
  deliver(EventConfig{.device_status = 0x0f, .generation = 8, .data = {}});
  pump();

  EXPECT_EQ(driver.heard, (Names{"gone"}));
}

TEST_F(DriverConformance, DRV49ToleratesSpuriousAndRepeatedEvents) {
  go_live();
  for (int i = 0; i < 3; ++i) deliver(EventUsed{.vq_index = 0});
  for (int i = 0; i < 3; ++i) {
    deliver(EventConfig{.device_status = 0x0f, .generation = 7, .data = {}});
  }
  pump();

  // The first made us look; the others came while we did, and make us look once more.
  EXPECT_EQ(driver.heard, (Names{"used 0", "used 0", "used 0", "config 7", "config 7"}));
  EXPECT_EQ(device->state(), DriverState::kLive);
}

TEST_F(DriverConformance, DRV49AnOlderEventChangesNothing) {
  go_live();
  peer.generation = 9;
  deliver(EventConfig{.device_status = 0x0f, .generation = 9, .data = {}});
  pump();
  deliver(EventConfig{.device_status = 0x0b, .generation = 8, .data = {}});
  pump();

  EXPECT_EQ(driver.heard, (Names{"config 9", "config 9"}));
  EXPECT_EQ(device->state(), DriverState::kLive);
}

}  // namespace
}  // namespace vmsg
