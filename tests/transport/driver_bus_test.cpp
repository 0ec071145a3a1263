// What the specification asks of a bus, for the driver side: tokens, completion, time limits,
// PING, and the messages of the Xen binding. Which devices there are is in
// driver_enumeration_test.cpp.
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
  EXPECT_TRUE(bus->send_event(6, EventAvail{.vq_index = 0, .next_offset = 0}));  // nothing waits
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

// ---- the Xen binding ---------------------------------------------------------------------------

struct XenMessages : DriverTest {
  void SetUp() override {
    discover();
    owner.heard.clear();
    peer.sent.clear();
  }
};

TEST_F(XenMessages, EjectReachesTheOwnerOfAPresentDevice) {
  deliver(Eject{.dev_num = kNumber, .seconds = 30});
  deliver(Eject{.dev_num = 77, .seconds = 30});

  EXPECT_EQ(owner.heard, (Names{"eject 5 30"}));
}

TEST_F(XenMessages, EjectedIsAnswered) {
  Ended<void> ejected;
  ASSERT_TRUE(bus->ejected(kNumber, VMSG_XEN_EJECTED_DONE, now, ejected.note()).has_value());
  pump();

  EXPECT_TRUE(ejected.succeeded());
  EXPECT_EQ(sent_of<EjectedRequest>().at(0).dev_num, kNumber);
}

TEST_F(XenMessages, QueueEventChannelReportsItsStatus) {
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

TEST_F(XenMessages, QueueEventChannelOfAnotherQueueIsABadResponse) {
  Ended<std::uint16_t> bound;
  ASSERT_TRUE(bus->queue_event_channel(kNumber, 1, 77, now, bound.note()).has_value());
  deliver(QueueEventChannelResponse{kNumber, 0, 2}, {.token = header_of(0).token});
  EXPECT_TRUE(bound.failed_with(RequestFailure::kBadResponse));
}

TEST_F(XenMessages, RegionsReportTheirStatus) {
  std::vector<std::uint32_t> statuses;
  const auto note = [&](const auto& result) { statuses.push_back(result.value()); };
  ASSERT_TRUE(bus->share_region(1, 64, kDescriptorArea, now, note).has_value());
  ASSERT_TRUE(bus->unshare_region(1, now, note).has_value());
  pump();

  EXPECT_EQ(statuses, (std::vector<std::uint32_t>{VMSG_XEN_REGION_LIMIT, VMSG_XEN_REGION_UNKNOWN}));
}

}  // namespace
}  // namespace vmsg
