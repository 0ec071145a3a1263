// The bus messages of the Xen binding: queue event channels, shared regions, graceful removal.
#include "tests/support/bus_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Pair;
using ::testing::SizeIs;

// ---- queue event channels ----------------------------------------------------------------------

class QueueChannel : public BusConformance {
 protected:
  QueueChannel() {
    attach({5});
    FeatureSet selection = ProtocolDriver::basic_selection();
    selection.set(RingFeature::kRingReset);
    driver(5).to_live({0}, selection);
    sink.take();
  }

  std::uint16_t status_of(const QueueEventChannelRequest& request) {
    const auto answer = only<QueueEventChannelResponse>(send(request));
    EXPECT_EQ(answer.dev_num, request.dev_num);
    EXPECT_EQ(answer.vq_index, request.vq_index);
    return answer.status;
  }
};

TEST_F(QueueChannel, APortIsBoundToAQueue) {
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0, .port = 9}), VMSG_XEN_QEC_OK);

  EXPECT_THAT(host.ports, ElementsAre(Pair(Pair(5, 0), 9)));
}

TEST_F(QueueChannel, PortZeroTakesItAway) {
  status_of({.dev_num = 5, .vq_index = 0, .port = 9});

  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0, .port = 0}), VMSG_XEN_QEC_OK);

  EXPECT_THAT(host.ports, IsEmpty());
}

TEST_F(QueueChannel, AQueueThatIsConfiguredCanHaveOneOnceItIsEnabled) {
  auto request = ProtocolDriver::good_queue(1);
  request.flags = 0;
  driver(5).set_queue(request);
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 1, .port = 9}), VMSG_XEN_QEC_NOT_NOW);

  request.flags = VIRTIO_MSG_VQUEUE_ENABLE;
  driver(5).set_queue(request);

  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 1, .port = 9}), VMSG_XEN_QEC_OK);
}

TEST_F(QueueChannel, AnIdleQueueCannotHaveOneNow) {
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 1, .port = 9}), VMSG_XEN_QEC_NOT_NOW);
  EXPECT_THAT(host.ports, IsEmpty());
}

TEST_F(QueueChannel, NoSuchDeviceOrQueue) {
  EXPECT_EQ(status_of({.dev_num = 6, .vq_index = 0, .port = 9}), VMSG_XEN_QEC_NO_SUCH_QUEUE);
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 2, .port = 9}), VMSG_XEN_QEC_NO_SUCH_QUEUE);
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 3, .port = 9}), VMSG_XEN_QEC_NO_SUCH_QUEUE);
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0xffffffff, .port = 0}),
            VMSG_XEN_QEC_NO_SUCH_QUEUE);
}

// rules: HOSTILE-5
TEST_F(QueueChannel, WhatTheHostSaysIsTheStatus) {
  host.port_answer = PortAnswer::kNotBound;
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0, .port = 9}), VMSG_XEN_QEC_NOT_BOUND);
  host.port_answer = PortAnswer::kLimit;
  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0, .port = 9}), VMSG_XEN_QEC_NOT_NOW);
}

TEST_F(QueueChannel, ADeviceThatResetsTakesNone) {
  queues(5).is_slow = true;
  driver(5).send(SetDeviceStatusRequest{.status = 0});
  bus->answer_pending_reset(5);
  sink.take();

  EXPECT_EQ(status_of({.dev_num = 5, .vq_index = 0, .port = 9}), VMSG_XEN_QEC_NOT_NOW);
}

// The queue host gives up the port with the queue, so it must be asked about every queue that was
// configured.
TEST_F(QueueChannel, ResetsReachTheHostForConfiguredQueuesToo) {
  auto request = ProtocolDriver::good_queue(1);
  request.flags = 0;
  driver(5).set_queue(request);
  queues(5).is_slow = true;

  driver(5).send(ResetVqueueRequest{.index = 1});

  EXPECT_TRUE(queues(5).is_pending);
}

// ---- shared regions ----------------------------------------------------------------------------

class Regions : public BusConformance {
 protected:
  static ShareRegionRequest region(std::uint32_t id, std::uint32_t pages = 16,
                                   std::uint32_t reference = 0x1000) {
    return {.region = id, .pages = pages, .address = GrantAddress::of(reference).raw()};
  }

  std::uint32_t share(const ShareRegionRequest& request) {
    const auto answer = only<ShareRegionResponse>(send(request));
    EXPECT_EQ(answer.region, request.region);
    return answer.status;
  }
  std::uint32_t unshare(std::uint32_t id) {
    const auto answer = only<UnshareRegionResponse>(send(UnshareRegionRequest{.region = id}));
    EXPECT_EQ(answer.region, id);
    return answer.status;
  }
};

TEST_F(Regions, ARegionIsShared) {
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_OK);

  ASSERT_THAT(host.regions, SizeIs(1));
  EXPECT_EQ(host.regions.at(7),
            (FakeBusHost::Region{.address = GrantAddress::of(0x1000), .pages = 16}));
}

TEST_F(Regions, ARegionIsUnshared) {
  share(region(7));

  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_OK);
  EXPECT_THAT(host.regions, IsEmpty());
  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_UNKNOWN);
}

TEST_F(Regions, RangesThatAreNotGrantsAreRefused) {
  auto request = region(7);
  request.address &= ~(std::uint64_t{1} << 63);
  EXPECT_EQ(share(request), VMSG_XEN_REGION_BAD_RANGE);
  request = region(7);
  request.address += 8;  // not at a page
  EXPECT_EQ(share(request), VMSG_XEN_REGION_BAD_RANGE);
  EXPECT_EQ(share(region(7, 0)), VMSG_XEN_REGION_BAD_RANGE);
  EXPECT_EQ(share(region(7, 2, 0xffffffff)), VMSG_XEN_REGION_BAD_RANGE);
  EXPECT_EQ(share(region(7, 0xffffffff, 2)), VMSG_XEN_REGION_BAD_RANGE);

  EXPECT_EQ(host.shares, 0);
}

TEST_F(Regions, TheLastReferenceCanBeShared) {
  EXPECT_EQ(share(region(7, 1, 0xffffffff)), VMSG_XEN_REGION_OK);
}

// rules: HOSTILE-5
TEST_F(Regions, ThereIsALimitOfRegions) {
  BusOptions options = usual();
  options.max_regions = 2;
  start(options);
  EXPECT_EQ(share(region(1)), VMSG_XEN_REGION_OK);
  EXPECT_EQ(share(region(2)), VMSG_XEN_REGION_OK);

  EXPECT_EQ(share(region(3)), VMSG_XEN_REGION_LIMIT);

  unshare(1);
  EXPECT_EQ(share(region(3)), VMSG_XEN_REGION_OK);
}

// rules: HOSTILE-5
TEST_F(Regions, ThereIsALimitOfPages) {
  BusOptions options = usual();
  options.max_region_pages = 100;
  start(options);
  EXPECT_EQ(share(region(1, 101)), VMSG_XEN_REGION_LIMIT);
  EXPECT_EQ(share(region(1, 60)), VMSG_XEN_REGION_OK);
  EXPECT_EQ(share(region(2, 41)), VMSG_XEN_REGION_LIMIT);
  EXPECT_EQ(share(region(2, 40)), VMSG_XEN_REGION_OK);

  unshare(1);
  EXPECT_EQ(share(region(3, 60)), VMSG_XEN_REGION_OK);
}

TEST_F(Regions, ANumberThatIsTakenIsRefusedUnlessItIsTheSameAgain) {
  share(region(7));

  EXPECT_EQ(share(region(7, 8)), VMSG_XEN_REGION_BAD_RANGE);
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_OK);  // asked twice, mapped once
  EXPECT_EQ(host.shares, 1);
}

TEST_F(Regions, WhatTheHostSaysIsTheStatus) {
  host.region_answer = RegionAnswer::kNotMapped;
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_NOT_MAPPED);
  host.region_answer = RegionAnswer::kLimit;
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_LIMIT);
  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_UNKNOWN);

  host.region_answer = RegionAnswer::kShared;
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_OK);
}

// rules: BUS-16
TEST_F(Regions, AnswersMayComeLater) {
  host.region_answer = RegionAnswer::kPending;
  host.unshare_answer = Release::kPending;
  EXPECT_THAT(send(region(7), 3), IsEmpty());
  EXPECT_THAT(send(region(8), 4), IsEmpty());

  bus->region_shared(8, RegionAnswer::kShared);
  bus->region_shared(7, RegionAnswer::kNotMapped);
  auto frames = sink.take();
  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(frames[0][4], std::byte{4});  // the token of its request
  EXPECT_EQ(only<ShareRegionResponse>({frames[0]}).status, VMSG_XEN_REGION_OK);
  EXPECT_EQ(frames[1][4], std::byte{3});
  EXPECT_EQ(only<ShareRegionResponse>({frames[1]}).status, VMSG_XEN_REGION_NOT_MAPPED);

  EXPECT_THAT(send(UnshareRegionRequest{.region = 8}, 5), IsEmpty());
  bus->region_unshared(8);
  frames = sink.take();
  ASSERT_THAT(frames, SizeIs(1));
  EXPECT_EQ(frames[0][4], std::byte{5});
  EXPECT_EQ(only<UnshareRegionResponse>(frames).status, VMSG_XEN_REGION_OK);
  EXPECT_EQ(bus->counters().bus_requests, bus->counters().bus_responses);
}

TEST_F(Regions, ARegionThatComesOrGoesIsNotTouched) {
  host.region_answer = RegionAnswer::kPending;
  host.unshare_answer = Release::kPending;
  EXPECT_THAT(send(region(7)), IsEmpty());
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_LIMIT);
  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_UNKNOWN);
  bus->region_shared(7, RegionAnswer::kShared);
  sink.take();

  EXPECT_THAT(send(UnshareRegionRequest{.region = 7}), IsEmpty());
  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_UNKNOWN);
  EXPECT_EQ(share(region(7)), VMSG_XEN_REGION_LIMIT);
  bus->region_unshared(7);
  EXPECT_THAT(sink.take(), SizeIs(1));
}

TEST_F(Regions, AnAnswerWithoutRoomWaits) {
  host.region_answer = RegionAnswer::kPending;
  EXPECT_THAT(send(region(7)), IsEmpty());
  sink.room = 0;
  bus->region_shared(7, RegionAnswer::kShared);
  EXPECT_TRUE(bus->wants_room());

  sink.room = 16;
  EXPECT_TRUE(bus->flush());

  EXPECT_EQ(only<ShareRegionResponse>(sink.take()).status, VMSG_XEN_REGION_OK);
  EXPECT_FALSE(bus->wants_room());
}

TEST_F(Regions, NewsOfRegionsThatWaitForNothingIsIgnored) {
  share(region(7));

  bus->region_shared(7, RegionAnswer::kNotMapped);
  bus->region_unshared(7);
  bus->region_unshared(99);

  EXPECT_THAT(sink.frames, IsEmpty());
  EXPECT_EQ(unshare(7), VMSG_XEN_REGION_OK);
}

// ---- graceful removal --------------------------------------------------------------------------

class Removal : public BusConformance {
 protected:
  Removal() { attach({5}); }
};

TEST_F(Removal, EjectAsksTheDriverSide) {
  EXPECT_TRUE(bus->eject(5, 30));

  EXPECT_THAT(
      sink.take(),
      ElementsAre(bytes({0x02, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x05, 0x00, 0x1e, 0x00})));
}

TEST_F(Removal, EjectedIsAnsweredBeforeTheDeviceGoes) {
  host.on_ejected = [this](std::uint16_t number, bool is_done) {
    if (is_done) bus->detach(number, now);
  };

  const auto frames = send(EjectedRequest{.dev_num = 5, .status = 0});

  ASSERT_THAT(frames, SizeIs(2));
  EXPECT_EQ(frames[0], bytes({0x03, 0x83, 0, 0, 2, 0, 0x0c, 0, 5, 0, 0, 0}));
  EXPECT_EQ(only<EventDevice>({frames[1]}).state, VIRTIO_MSG_DEVICE_REMOVED);
  EXPECT_EQ(bus->device_count(), 0U);
}

TEST_F(Removal, ARefusalIsHandedOnAndTheDeviceStays) {
  only<EjectedResponse>(send(EjectedRequest{.dev_num = 5, .status = 1}));
  only<EjectedResponse>(send(EjectedRequest{.dev_num = 5, .status = 77}));

  EXPECT_THAT(host.ejections, ElementsAre(Pair(5, false), Pair(5, false)));
  EXPECT_EQ(driver(5).status(), 0U);
}

TEST_F(Removal, EjectedForAnAbsentDeviceIsAnsweredAndNothingElse) {
  EXPECT_EQ(only<EjectedResponse>(send(EjectedRequest{.dev_num = 6, .status = 0})).dev_num, 6);

  EXPECT_THAT(host.ejections, IsEmpty());
}

TEST_F(Removal, EjectFromTheDriverSideIsDropped) {
  EXPECT_THAT(raw({0x02, 0xc0, 0, 0, 0, 0, 0x0c, 0, 5, 0, 1, 0}), IsEmpty());
  EXPECT_EQ(bus->counters().dropped.of(DropReason::kDirection), 1U);
}

}  // namespace
}  // namespace vmsg::test
