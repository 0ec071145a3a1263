// What the specification asks of a bus, for the driver side: tokens, completion, time limits,
// enumeration, announcements, PING, and the messages of the Xen binding.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"
#include "tests/transport/vectors.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverBusConformance = DriverTest;

/// Remembers how a bus request ended.
template <typename T>
struct Ended {
  int times = 0;
  std::optional<RequestFailure> failure;

  DriverBus::Done<T> note() {
    return [this](const Result<T, RequestFailure>& result) {
      ++times;
      failure = result ? std::optional<RequestFailure>() : result.error();
    };
  }
  [[nodiscard]] bool succeeded() const { return times == 1 && !failure; }
  [[nodiscard]] bool failed_with(RequestFailure why) const { return times == 1 && failure == why; }
};

// ---- numbers, tokens, completion ---------------------------------------------------------------

TEST_F(DriverBusConformance, BUS8WorksWithoutDevices) {
  peer.present.clear();
  discover();

  EXPECT_EQ(owner.heard, (Names{"enumerated"}));
  EXPECT_FALSE(bus->has_device(0));
}

TEST_F(DriverBusConformance, BUS9NumberZeroIsADevice) {
  peer.present = {0, 5};
  discover();
  EXPECT_EQ(owner.heard, (Names{"appeared 0", "appeared 5", "enumerated"}));
}

TEST_F(DriverBusConformance, BUS10SendsNothingToAnAbsentNumber) {
  discover();
  peer.sent.clear();

  const auto begun = bus->begin(6, GetDeviceInfoRequest{}, now, [](const auto&) {});
  EXPECT_EQ(begun.error(), RequestFailure::kDeviceGone);
  EXPECT_EQ(bus->ejected(6, 0, now, nullptr).error(), RequestFailure::kDeviceGone);
  EXPECT_EQ(bus->queue_event_channel(6, 0, 1, now, nullptr).error(), RequestFailure::kDeviceGone);
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(DriverBusConformance, BUS10DropsEventsFromAnAbsentNumber) {
  discover();
  deliver(EventUsed{.vq_index = 0}, {.dev_num = 6});
  EXPECT_EQ(bus->counters().dropped, 1u);
}

TEST_F(DriverBusConformance, BUS15TokensOfOutstandingRequestsDiffer) {
  std::set<std::uint16_t> tokens;
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
  for (std::size_t i = 0; i < 64; ++i) tokens.insert(header_of(i).token);

  EXPECT_EQ(tokens.size(), 64u);
  EXPECT_FALSE(tokens.contains(0));
  EXPECT_FALSE(tokens.contains(1));
}

TEST_F(DriverBusConformance, BUS15TokensGoRoundAndLeaveOutZeroAndOne) {
  std::set<std::uint16_t> tokens;
  for (int i = 0; i < 65534; ++i) {
    ASSERT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
    tokens.insert(header_of(0).token);
    pump();
    peer.sent.clear();
  }
  EXPECT_EQ(tokens.size(), 65534u);
  EXPECT_EQ(*tokens.begin(), 2);

  ASSERT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
  EXPECT_EQ(header_of(0).token, 2);
}

TEST_F(DriverBusConformance, BUS15AnExpiredTokenRestsForItsQuarantine) {
  peer.bus_is_silent = true;
  ASSERT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
  const std::uint16_t rests = header_of(0).token;
  advance(5s);
  peer.bus_is_silent = false;

  const auto is_used_in_a_round = [&] {
    bool is_used = false;
    for (int i = 0; i < 65534; ++i) {
      peer.sent.clear();
      EXPECT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
      is_used |= header_of(0).token == rests;
      pump();
    }
    return is_used;
  };
  advance(14999ms);
  EXPECT_FALSE(is_used_in_a_round());
  advance(1ms);
  EXPECT_TRUE(is_used_in_a_round());
}

TEST_F(DriverBusConformance, BUS15RefusesMoreRequestsThanItHasPlacesFor) {
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
  EXPECT_EQ(bus->ping(0, now, [](const auto&) {}).error(), RequestFailure::kRefused);

  pump();
  EXPECT_TRUE(bus->ping(0, now, [](const auto&) {}).has_value());
}

// rules: BUS-19
TEST_F(DriverBusConformance, BUS16EveryRequestEndsExactlyOnce) {
  Ended<void> answered;
  Ended<void> expired;
  ASSERT_TRUE(bus->ping(1, now, answered.note()).has_value());
  pump();
  const Bytes answer = FakeDeviceSide::encoded({.token = header_of(0).token}, PingResponse{1});
  deliver_bytes(answer);
  peer.bus_is_silent = true;
  ASSERT_TRUE(bus->ping(2, now, expired.note()).has_value());
  pass_time(60s);

  EXPECT_TRUE(answered.succeeded());
  EXPECT_TRUE(expired.failed_with(RequestFailure::kTimedOut));
  EXPECT_EQ(bus->outstanding(), 0u);
}

// The failure of a request is a call, not a frame that looks like the device's.
TEST_F(DriverBusConformance, BUS17AFailureIsNoResponse) {
  discover();
  std::optional<Result<Frame, RequestFailure>> told;
  ASSERT_TRUE(bus->begin(kNumber, GetDeviceInfoRequest{}, now, [&](const auto& r) { told = r; })
                  .has_value());
  peer.silent_on = {TransportId::kGetDeviceInfo};
  pass_time(5s);

  ASSERT_TRUE(told.has_value());
  EXPECT_EQ(told->error(), RequestFailure::kTimedOut);
}

TEST_F(DriverBusConformance, BUS18TheTimeToCompletionIsBounded) {
  Ended<void> ping;
  peer.bus_is_silent = true;
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  EXPECT_EQ(bus->next_deadline(), now + 5s);

  advance(4999ms);
  EXPECT_EQ(ping.times, 0);
  advance(1ms);
  EXPECT_TRUE(ping.failed_with(RequestFailure::kTimedOut));
  EXPECT_EQ(bus->next_deadline(), std::nullopt);
}

TEST_F(DriverBusConformance, BUS18TimeSpentWaitingForRoomCounts) {
  Ended<void> ping;
  peer.is_full = true;
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  EXPECT_TRUE(bus->wants_room());
  advance(5s);
  EXPECT_TRUE(ping.failed_with(RequestFailure::kTimedOut));

  peer.is_full = false;
  EXPECT_TRUE(bus->flush(now));
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(DriverBusConformance, BUS19ResponsesThatMatchNothingAreDropped) {
  deliver(PingResponse{1}, {.token = 77});
  deliver(GetDeviceStatusResponse{0}, {.dev_num = kNumber, .token = 78});

  EXPECT_EQ(bus->counters().late_responses, 2u);
  EXPECT_EQ(bus->counters().dropped, 2u);
}

TEST_F(DriverBusConformance, BUS19ResponsesThatMatchNothingEndNoRequest) {
  Ended<void> first;
  Ended<void> second;
  peer.bus_is_silent = true;
  ASSERT_TRUE(bus->ping(1, now, first.note()).has_value());
  ASSERT_TRUE(bus->ping(1, now, second.note()).has_value());
  deliver(PingResponse{1}, {.token = 77});
  EXPECT_EQ(bus->outstanding(), 2u);
  EXPECT_EQ(bus->counters().late_responses, 1u);

  // The second is answered, and once more: its token matches nothing any longer.
  deliver(PingResponse{1}, {.token = header_of(1).token});
  deliver(PingResponse{1}, {.token = header_of(1).token});
  EXPECT_TRUE(second.succeeded());
  EXPECT_EQ(first.times, 0);
  EXPECT_EQ(bus->outstanding(), 1u);
  EXPECT_EQ(bus->counters().late_responses, 2u);
}

TEST_F(DriverBusConformance, BUS20RequestsLeaveInTheirOrder) {
  peer.is_full = true;
  for (std::uint32_t i = 0; i < 10; ++i) {
    ASSERT_TRUE(bus->ping(i, now, [](const auto&) {}).has_value());
  }
  peer.is_full = false;
  bus->flush(now);

  const auto pings = sent_of<PingRequest>();
  ASSERT_EQ(pings.size(), 10u);
  for (std::uint32_t i = 0; i < 10; ++i) EXPECT_EQ(pings[i].data, i);
}

// rules: BUS-14
TEST_F(DriverBusConformance, BUS21ResponsesMayComeInAnyOrder) {
  Ended<void> first;
  Ended<void> second;
  ASSERT_TRUE(bus->ping(1, now, first.note()).has_value());
  ASSERT_TRUE(bus->ping(2, now, second.note()).has_value());

  deliver(PingResponse{2}, {.token = header_of(1).token});
  EXPECT_EQ(first.times, 0);
  EXPECT_TRUE(second.succeeded());
  deliver(PingResponse{1}, {.token = header_of(0).token});
  EXPECT_TRUE(first.succeeded());
}

TEST_F(DriverBusConformance, BUS22NothingIsSentForAnEvent) {
  go_live();
  deliver(EventUsed{.vq_index = 0});
  deliver(EventUsed{.vq_index = 99});
  deliver(EventUsed{.vq_index = 0}, {.dev_num = 77});
  deliver_bytes(vector_bytes("V79"));
  deliver_bytes(vector_bytes("V88"));

  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(DriverBusConformance, BUS23ASilentDeviceDoesNotHoldUpAnother) {
  peer.present = {5, 6};
  discover();
  Ended<void> ping;
  ASSERT_TRUE(bus->begin(6, GetDeviceInfoRequest{}, now, [](const auto&) {}).has_value());
  peer.silent_on = {TransportId::kGetDeviceInfo};
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  pump();

  EXPECT_TRUE(ping.succeeded());
  EXPECT_EQ(bus->outstanding(), 1u);
}

TEST_F(DriverBusConformance, BUS24MalformedFramesMakeNoTraffic) {
  discover();
  peer.sent.clear();
  const std::uint64_t before = bus->counters().dropped;
  for (const char* id : {"V70", "V71", "V72", "V79", "V81", "V83", "V87", "X24", "X28"}) {
    deliver_bytes(vector_bytes(id));
  }

  EXPECT_EQ(bus->counters().dropped, before + 9);
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(DriverBusConformance, BUS27LosingTheLinkFailsEverythingAndStartsAnew) {
  go_live();
  Ended<void> ping;
  Bytes buffer(8);
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  owner.heard.clear();

  bus->lose_link(now);

  EXPECT_TRUE(ping.failed_with(RequestFailure::kLinkLost));
  EXPECT_TRUE(failed_with(DriverFailure::kLinkLost));
  EXPECT_EQ(driver.heard, (Names{"gone"}));
  EXPECT_EQ(owner.heard, (Names{"gone 5"}));
  EXPECT_EQ(bus->outstanding(), 0u);

  device.reset();
  peer.replies.clear();
  go_live();
  EXPECT_EQ(device->state(), DriverState::kLive);
}

TEST_F(DriverBusConformance, BUS28SendsBusMessagesWithNumberZeroAndCleanTypeBits) {
  discover();
  ASSERT_TRUE(bus->ping(1, now, [](const auto&) {}).has_value());
  ASSERT_TRUE(bus->queue_event_channel(kNumber, 0, 9, now, [](const auto&) {}).has_value());

  for (std::size_t i = 0; i < peer.sent.size(); ++i) {
    EXPECT_EQ(peer.sent[i][0], std::byte{VIRTIO_MSG_TYPE_BUS});
    EXPECT_EQ(header_of(i).dev_num, 0);
  }
}

TEST_F(DriverBusConformance, BUS28DropsBusMessagesWithADeviceNumber) {
  deliver_bytes(vector_bytes("V83"));
  EXPECT_TRUE(peer.sent.empty());
  EXPECT_EQ(bus->counters().dropped, 1u);
}

TEST_F(DriverBusConformance, BUS29DropsBusMessagesItDoesNotHave) {
  deliver_bytes(vector_bytes("V57"));  // GET_DEVICES is asked of the device side
  deliver_bytes(vector_bytes("X01"));
  deliver_bytes(vector_bytes("X25"));

  EXPECT_TRUE(peer.sent.empty());
  EXPECT_EQ(bus->counters().dropped, 3u);
}

// ---- enumeration -------------------------------------------------------------------------------

struct Enumeration : DriverTest {
  /// Answers with these, one after the other; the last one again and again.
  void enumerate(std::vector<GetDevicesResponse> answers) {
    std::size_t next = 0;
    peer.answer_devices = [this, answers = std::move(answers), next](const auto& request) mutable {
      asked.push_back(request);
      return answers[std::min(next++, answers.size() - 1)];
    };
    discover();
  }
  std::vector<GetDevicesRequest> asked;
  const Bytes none = Bytes(32);
};

TEST_F(Enumeration, BUS36StartsAtZeroInMultiplesOfEight) {
  enumerate({{0, 0, 256, none}});
  ASSERT_EQ(asked.size(), 1u);
  EXPECT_EQ(asked[0].offset, 0);
  EXPECT_EQ(asked[0].count, 256);
}

TEST_F(Enumeration, BUS36FollowsAnUnalignedNextOffset) {
  const Bytes one{std::byte{1}};
  enumerate({{0, 300, 0, {}}, {300, 0, 1, one}});

  ASSERT_EQ(asked.size(), 2u);
  EXPECT_EQ(asked[1].offset, 300);
  EXPECT_EQ(owner.heard, (Names{"appeared 300", "enumerated"}));
}

TEST_F(Enumeration, BUS36AnotherOffsetIsAProtocolError) {
  enumerate({{8, 0, 256, none}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kWrongEcho);
}

TEST_F(Enumeration, BUS36MoreSlotsThanAskedForIsAProtocolError) {
  const Bytes more(33);
  enumerate({{0, 0, 257, more}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kTooManySlots);
}

TEST_F(Enumeration, BUS36SurplusIsAProtocolErrorHere) {
  const Bytes more(33);
  enumerate({{0, 0, 256, more}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kWrongSize);
}

TEST_F(Enumeration, BUS36AnOldPeerIsRecognized) {
  enumerate({{0, 256, 0, none}});  // offset, count, next_offset as in earlier drafts
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kOldFieldOrder);
}

TEST_F(Enumeration, BUS36SlotsBeyondTheNumberSpaceAreAProtocolError) {
  const Bytes all(2, std::byte{0xff});
  enumerate({{0, 65530, 0, {}}, {65530, 0, 16, all}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kTooManySlots);
}

TEST_F(Enumeration, BUS37StandingStillIsAProtocolError) {
  enumerate({{0, 100, 0, {}}, {100, 100, 0, {}}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kNoProgress);
}

TEST_F(Enumeration, BUS37GoingBackIsAProtocolError) {
  enumerate({{0, 100, 0, {}}, {100, 99, 0, {}}});
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kNoProgress);
}

TEST_F(Enumeration, BUS37StopsAfterEightThousandWindows) {
  peer.answer_devices = [this](const GetDevicesRequest& request) {
    asked.push_back(request);
    return GetDevicesResponse{
        request.offset, static_cast<std::uint16_t>(request.offset + 1), 0, {}};
  };
  discover();

  EXPECT_EQ(asked.size(), 8192u);
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kTooManyWindows);
}

TEST_F(Enumeration, BUS33UnderstandsBothShapesOfAnEmptyWindow) {
  const Bytes eight{std::byte{0x80}};
  enumerate({{0, 256, 256, none}, {256, 600, 0, {}}, {600, 0, 8, eight}});

  EXPECT_EQ(owner.heard, (Names{"appeared 607", "enumerated"}));
}

TEST_F(DriverBusConformance, BUS34FindsTheLastNumber) {
  peer.present = {3, 65535};
  discover();
  EXPECT_EQ(owner.heard, (Names{"appeared 3", "appeared 65535", "enumerated"}));
}

TEST_F(DriverBusConformance, BUS34FindsEveryNumber) {
  for (std::uint32_t i = 0; i < 65536; ++i) peer.present.insert(static_cast<std::uint16_t>(i));
  discover();
  EXPECT_EQ(owner.heard.size(), 65537u);
  EXPECT_EQ(owner.heard.back(), "enumerated");
}

TEST_F(Enumeration, BUS37AFailedEnumerationChangesNothing) {
  discover();
  owner.heard.clear();
  enumerate({{8, 0, 256, none}});

  EXPECT_EQ(owner.heard, (Names{"enumeration failed"}));
  EXPECT_TRUE(bus->has_device(kNumber));
}

TEST_F(DriverBusConformance, BUS18EnumerationEndsWithoutAnAnswer) {
  peer.bus_is_silent = true;
  discover();
  pass_time(5s);
  EXPECT_EQ(owner.enumeration_error, EnumerationError::kNoAnswer);
}

// ---- PING --------------------------------------------------------------------------------------

TEST_F(DriverBusConformance, BUS38RepeatsTheDataOfAPing) {
  deliver_bytes(vector_bytes("V63"));
  ASSERT_EQ(peer.sent.size(), 1u);
  EXPECT_EQ(peer.sent[0], vector_bytes("V64"));
}

TEST_F(DriverBusConformance, BUS38APingThatComesBackChangedHasFailed) {
  Ended<void> ping;
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  deliver(PingResponse{2}, {.token = header_of(0).token});
  EXPECT_TRUE(ping.failed_with(RequestFailure::kBadResponse));
}

// Nothing that the peer sends may make us store without bound, nor make us stop taking.
TEST_F(DriverBusConformance, BUS38PingsBeyondAFewAreGivenUpWhileThereIsNoRoom) {
  peer.is_full = true;
  for (std::uint32_t i = 0; i < 100; ++i) deliver(PingRequest{i}, {.token = 3});
  EXPECT_EQ(bus->counters().pings_dropped, 92u);
  EXPECT_TRUE(bus->wants_room());

  peer.is_full = false;
  bus->flush(now);
  const auto answers = sent_of<PingResponse>();
  ASSERT_EQ(answers.size(), 8u);
  for (std::uint32_t i = 0; i < 8; ++i) EXPECT_EQ(answers[i].data, i);
}

TEST_F(DriverBusConformance, BUS39AFailedPingChangesNoDevice) {
  go_live();
  Ended<void> ping;
  peer.bus_is_silent = true;
  ASSERT_TRUE(bus->ping(1, now, ping.note()).has_value());
  pass_time(5s);

  EXPECT_TRUE(ping.failed_with(RequestFailure::kTimedOut));
  EXPECT_EQ(device->state(), DriverState::kLive);
  EXPECT_TRUE(driver.heard.empty());
}

// ---- announcements -----------------------------------------------------------------------------

struct Announcements : DriverTest {
  void announce(std::uint16_t number, std::uint16_t state) {
    deliver(EventDevice{.dev_num = number, .state = state});
  }
  void SetUp() override {
    discover();
    owner.heard.clear();
    peer.sent.clear();
  }
};

TEST_F(Announcements, BUS40AfterRemovedOutstandingRequestsFail) {
  std::optional<RequestFailure> failure;
  ASSERT_TRUE(bus->begin(kNumber, GetDeviceInfoRequest{}, now,
                         [&](const auto& result) { failure = result.error(); })
                  .has_value());
  peer.present.clear();
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);

  EXPECT_EQ(failure, RequestFailure::kDeviceGone);
  EXPECT_FALSE(bus->has_device(kNumber));
  EXPECT_EQ(owner.heard, (Names{"gone 5"}));
}

TEST_F(Announcements, BUS41AddedIsLookedAtBeforeItIsBelieved) {
  announce(9, VIRTIO_MSG_DEVICE_ADDED);
  EXPECT_TRUE(owner.heard.empty());
  pump();
  EXPECT_EQ(owner.heard, (Names{"enumerated"}));

  peer.present.insert(9);
  announce(9, VIRTIO_MSG_DEVICE_ADDED);
  pump();
  EXPECT_EQ(owner.heard, (Names{"enumerated", "appeared 9", "enumerated"}));
}

TEST_F(Announcements, BUS41DuplicatesAreTolerated) {
  peer.present = {9};
  announce(9, VIRTIO_MSG_DEVICE_ADDED);
  announce(9, VIRTIO_MSG_DEVICE_ADDED);
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);
  pump();

  EXPECT_EQ(std::ranges::count(owner.heard, "appeared 9"), 1);
  EXPECT_EQ(std::ranges::count(owner.heard, "gone 5"), 1);
}

// REMOVED of an old device that comes after ADDED of a new one under its number: what is there is
// found, as a new device.
TEST_F(Announcements, BUS41AnyOrderEndsWithWhatIsThere) {
  announce(kNumber, VIRTIO_MSG_DEVICE_ADDED);
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);
  pump();

  EXPECT_TRUE(bus->has_device(kNumber));
  EXPECT_EQ(owner.heard, (Names{"gone 5", "enumerated", "appeared 5", "enumerated"}));
}

TEST_F(Announcements, BUS41ReservedStatesAreIgnored) {
  deliver_bytes(vector_bytes("V88"));
  announce(kNumber, 0);
  announce(kNumber, 0x7fff);
  announce(kNumber, 0x8000);

  EXPECT_TRUE(peer.sent.empty());
  EXPECT_TRUE(owner.heard.empty());
}

// What was announced while an enumeration ran is newer than what it has found.
TEST_F(Announcements, BUS41RemovedWhileLookingIsNotUndoneByWhatWasSeenBefore) {
  bus->discover(now);
  ASSERT_TRUE(peer.serve_one());  // sees number 5 present
  peer.present.clear();
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);
  pump();

  EXPECT_FALSE(bus->has_device(kNumber));
  EXPECT_EQ(owner.heard, (Names{"gone 5", "enumerated", "enumerated"}));
}

TEST_F(Announcements, BUS42NoAnnouncementGoesToTheDeviceSide) {
  peer.present.clear();
  announce(kNumber, VIRTIO_MSG_DEVICE_REMOVED);
  pump();
  bus->lose_link(now);

  EXPECT_TRUE(sent_of<EventDevice>().empty());
}

// ---- the Xen binding ---------------------------------------------------------------------------

TEST_F(Announcements, EjectReachesTheOwnerOfAPresentDevice) {
  deliver(Eject{.dev_num = kNumber, .seconds = 30});
  deliver(Eject{.dev_num = 77, .seconds = 30});

  EXPECT_EQ(owner.heard, (Names{"eject 5 30"}));
}

TEST_F(Announcements, EjectedIsAnswered) {
  Ended<void> ejected;
  ASSERT_TRUE(bus->ejected(kNumber, VMSG_XEN_EJECTED_DONE, now, ejected.note()).has_value());
  pump();

  EXPECT_TRUE(ejected.succeeded());
  EXPECT_EQ(sent_of<EjectedRequest>().at(0).dev_num, kNumber);
}

TEST_F(Announcements, QueueEventChannelReportsItsStatus) {
  std::optional<std::uint16_t> status;
  ASSERT_TRUE(bus->queue_event_channel(kNumber, 1, 77, now,
                                       [&](const auto& result) { status = result.value(); })
                  .has_value());
  const auto request = sent_of<QueueEventChannelRequest>().at(0);
  EXPECT_EQ(request.vq_index, 1u);
  EXPECT_EQ(request.port, 77u);

  deliver(QueueEventChannelResponse{kNumber, VMSG_XEN_QEC_NOT_BOUND, 1},
          {.token = header_of(0).token});
  EXPECT_EQ(status, VMSG_XEN_QEC_NOT_BOUND);
}

TEST_F(Announcements, QueueEventChannelOfAnotherQueueIsABadResponse) {
  Ended<std::uint16_t> bound;
  ASSERT_TRUE(bus->queue_event_channel(kNumber, 1, 77, now, bound.note()).has_value());
  deliver(QueueEventChannelResponse{kNumber, 0, 2}, {.token = header_of(0).token});
  EXPECT_TRUE(bound.failed_with(RequestFailure::kBadResponse));
}

TEST_F(Announcements, RegionsReportTheirStatus) {
  std::vector<std::uint32_t> statuses;
  const auto note = [&](const auto& result) { statuses.push_back(result.value()); };
  ASSERT_TRUE(bus->share_region(1, 64, kDescriptorArea, now, note).has_value());
  ASSERT_TRUE(bus->unshare_region(1, now, note).has_value());
  pump();

  EXPECT_EQ(statuses, (std::vector<std::uint32_t>{VMSG_XEN_REGION_LIMIT, VMSG_XEN_REGION_UNKNOWN}));
}

}  // namespace
}  // namespace vmsg
