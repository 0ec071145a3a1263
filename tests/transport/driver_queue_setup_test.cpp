// What the specification asks of a driver about queues, rule by rule: what it asks for, what it
// confirms, how it takes a queue back.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverConformance = DriverTest;

TEST_F(DriverConformance, DRV30FindsTheQueueIdleBeforeItSetsItUp) {
  start();
  peer.sent.clear();
  set_up_queue(1);
  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_names(), (Names{"GET_VQUEUE", "SET_VQUEUE", "GET_VQUEUE"}));

  set_up_queue(1);
  EXPECT_TRUE(failed_with(DriverFailure::kQueueInUse));
  EXPECT_EQ(sent_of<SetVqueueRequest>().size(), 1u);
}

TEST_F(DriverConformance, DRV31TheZeroSentinelIsNoQueue) {
  peer.queues.erase(1);
  start();
  set_up_queue(1);

  EXPECT_TRUE(failed_with(DriverFailure::kNoSuchQueue));
  EXPECT_EQ(device->state(), DriverState::kSetup);
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

struct Inconsistent : DriverTest {
  void look_at(const GetVqueueResponse& record) {
    start();
    peer.queues[0] = record;
    device->query_queue(0, now, keep<GetVqueueResponse>());
    pump();
  }
};

TEST_F(Inconsistent, DRV31SizeBeyondTheMaximumIsAFault) {
  look_at({0, 16, 32, 1, kDescriptorArea, kDriverArea, kDeviceArea});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
  EXPECT_EQ(device->state(), DriverState::kFailed);
  EXPECT_EQ(peer.status, 0x8bu);
}

TEST_F(Inconsistent, DRV31EnabledWithoutSizeIsAFault) {
  look_at({0, 16, 0, 1, 0, 0, 0});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31AddressWithoutSizeIsAFault) {
  look_at({0, 16, 0, 0, kDescriptorArea, 0, 0});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31SizeWithoutAddressIsAFault) {
  look_at({0, 16, 16, 0, kDescriptorArea, kDriverArea, 0});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31UnknownFlagIsAFault) {
  look_at({0, 16, 16, 3, kDescriptorArea, kDriverArea, kDeviceArea});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31MaximumThatIsNoPowerOfTwoIsAFault) {
  look_at({0, 48, 0, 0, 0, 0, 0});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31MaximumBeyondThePossibleIsAFault) {
  look_at({0, 65536, 0, 0, 0, 0, 0});
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Inconsistent, DRV31ConfiguredAndNotEnabledIsNone) {
  look_at({0, 16, 16, 0, kDescriptorArea, kDriverArea, kDeviceArea});
  EXPECT_TRUE(succeeded());
}

struct QueueSetup32 : DriverTest {
  void set_up(const SetVqueueRequest& setup) {
    start();
    device->setup_queue(setup, now, keep<void>());
    pump();
  }
};

TEST_F(QueueSetup32, DRV32SizeZeroIsNotSent) {
  set_up(queue_setup(0, 0));
  EXPECT_TRUE(failed_with(DriverFailure::kBadQueue));
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

TEST_F(QueueSetup32, DRV32SizeThatIsNoPowerOfTwoIsNotSentForASplitRing) {
  set_up(queue_setup(0, 100));
  EXPECT_TRUE(failed_with(DriverFailure::kBadQueue));
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

TEST_F(QueueSetup32, DRV32SizeThatIsNoPowerOfTwoIsSentForAPackedRing) {
  peer.offered.set(RingFeature::kRingPacked);
  driver.wanted.set(RingFeature::kRingPacked);
  set_up(queue_setup(0, 100));
  EXPECT_TRUE(succeeded());
}

TEST_F(QueueSetup32, DRV32SizeBeyondTheMaximumIsNotSent) {
  set_up(queue_setup(0, 512));
  EXPECT_TRUE(failed_with(DriverFailure::kBadQueue));
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

TEST_F(QueueSetup32, DRV32AddressZeroIsNotSent) {
  SetVqueueRequest setup = queue_setup();
  setup.driver_addr = 0;
  set_up(setup);
  EXPECT_TRUE(failed_with(DriverFailure::kBadQueue));
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

TEST_F(QueueSetup32, DRV32MisalignedAddressIsNotSent) {
  SetVqueueRequest setup = queue_setup();
  setup.descriptor_addr += 8;
  set_up(setup);
  EXPECT_TRUE(failed_with(DriverFailure::kBadQueue));
  EXPECT_TRUE(sent_of<SetVqueueRequest>().empty());
}

struct Confirmation33 : DriverTest {
  /// The second GET_VQUEUE of a set-up shows one byte differently.
  void set_up_with(std::size_t at, unsigned byte) {
    start();
    int looks = 0;
    peer.corrupt[TransportId::kGetVqueue] = [=](Bytes& response) mutable {
      if (++looks == 2) response.at(8 + at) = static_cast<std::byte>(byte);
    };
    device->setup_queue(queue_setup(0, 16), now, keep<void>());
    pump();
    EXPECT_FALSE(device->kick(0, 0));
  }
};

TEST_F(Confirmation33, DRV33AnotherMaximumIsNotWhatWasAskedFor) {
  set_up_with(4, 128);  // 256 becomes 384, which is no maximum at all
  EXPECT_TRUE(failed_with(DriverFailure::kInconsistent));
}

TEST_F(Confirmation33, DRV33AnotherSizeIsNotWhatWasAskedFor) {
  set_up_with(8, 8);
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(Confirmation33, DRV33NotEnabledIsNotWhatWasAskedFor) {
  set_up_with(12, 0);
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(Confirmation33, DRV33AnotherDescriptorAreaIsNotWhatWasAskedFor) {
  set_up_with(16, 0x10);
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(Confirmation33, DRV33AnotherDriverAreaIsNotWhatWasAskedFor) {
  set_up_with(24, 0x10);
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(Confirmation33, DRV33AnotherDeviceAreaIsNotWhatWasAskedFor) {
  set_up_with(32, 0x10);
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(DriverConformance, DRV33ARejectedSetupIsFoundByTheConfirmation) {
  peer.rejects_queues = true;
  start();
  set_up_queue();
  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
}

TEST_F(DriverConformance, DRV34NotifiesNoQueueBeforeItIsEnabledAndLive) {
  start();
  EXPECT_FALSE(device->kick(0, 0));
  set_up_queue();
  EXPECT_FALSE(device->kick(0, 0));

  device->go_live(now, nullptr);
  pump();
  EXPECT_TRUE(device->kick(0, 0));
  EXPECT_FALSE(device->kick(1, 0));
  EXPECT_EQ(sent_of<EventAvail>().size(), 1u);
}

TEST_F(DriverConformance, DRV35ResetsNoQueueWithoutRingReset) {
  driver.wanted = {9};
  go_live();
  device->reset_queue(0, now, keep<void>());
  pump();

  EXPECT_TRUE(failed_with(DriverFailure::kNotNow));
  EXPECT_TRUE(peer.sent.empty());
}

TEST_F(DriverConformance, DRV36FindsAResetQueueIdle) {
  go_live();
  device->reset_queue(0, now, keep<void>());
  pump();

  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_names(), (Names{"RESET_VQUEUE", "GET_VQUEUE"}));
  EXPECT_FALSE(device->kick(0, 0));
}

TEST_F(DriverConformance, DRV36AQueueThatIsNoLongerThereIsIdle) {
  go_live();
  peer.before[TransportId::kGetVqueue] = [&] { peer.queues.erase(0); };
  device->reset_queue(0, now, keep<void>());
  pump();
  EXPECT_TRUE(succeeded());
}

TEST_F(DriverConformance, DRV36AQueueThatStaysCostsAReset) {
  go_live();
  peer.rejects_queues = true;
  device->reset_queue(0, now, keep<void>());
  pump();

  EXPECT_TRUE(failed_with(DriverFailure::kNotApplied));
  EXPECT_EQ(driver.heard, (Names{"needs reset", "was reset", "ready"}));
}

TEST_F(DriverConformance, DRV36AResetQueueCanBeSetUpDifferently) {
  go_live();
  device->reset_queue(0, now, nullptr);
  device->setup_queue(queue_setup(0, 128), now, keep<void>());
  pump();

  EXPECT_TRUE(succeeded());
  EXPECT_TRUE(device->kick(0, 0));
  EXPECT_EQ(peer.queues[0].cur_size, 128u);
}

}  // namespace
}  // namespace vmsg
