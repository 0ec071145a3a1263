// What the specification asks of a driver, rule by rule: reset, recovery, removal.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverConformance = DriverTest;

// rules: DRV-40
TEST_F(DriverConformance, DRV38ResetIsCompleteWhenZeroWasRead) {
  go_live();
  peer.polls_until_reset = 3;
  device->stop(now, keep<void>());
  pump();
  EXPECT_EQ(sent_names(), (Names{"SET_DEVICE_STATUS 0x00"}));

  for (int i = 0; i < 3; ++i) {
    advance(9ms);
    EXPECT_EQ(completions, 0);
    advance(1ms);
  }
  EXPECT_EQ(completions, 0);
  advance(10ms);

  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_names(), (Names{"SET_DEVICE_STATUS 0x00", "GET_DEVICE_STATUS", "GET_DEVICE_STATUS",
                                 "GET_DEVICE_STATUS", "GET_DEVICE_STATUS"}));
}

TEST_F(DriverConformance, DRV38TheWaitForAResetIsBounded) {
  go_live();
  peer.polls_until_reset = 1'000'000;
  const Instant begun = now;
  device->stop(now, keep<void>());
  pump();
  pass_time(9990ms);
  EXPECT_EQ(completions, 0);
  pass_time(10ms);

  EXPECT_TRUE(failed_with(DriverFailure::kResetTimedOut));
  EXPECT_EQ(now, begun + 10s);
  // Of no use until it was removed and added again.
  device->restart(now);
  pump();
  EXPECT_EQ(device->state(), DriverState::kFailed);
  EXPECT_EQ(sent_names().back(), "GET_DEVICE_STATUS");
}

TEST_F(DriverConformance, DRV38ALostResponseToTheResetIsFoundByPolling) {
  go_live();
  peer.before[TransportId::kSetDeviceStatus] = [&] { peer.status = 0; };
  peer.corrupt[TransportId::kSetDeviceStatus] = [](Bytes& response) { response[2] = std::byte{9}; };
  device->stop(now, keep<void>());
  pass_time(1s);

  EXPECT_TRUE(succeeded());
  EXPECT_EQ(sent_names(), (Names{"SET_DEVICE_STATUS 0x00", "GET_DEVICE_STATUS"}));
}

TEST_F(DriverConformance, DRV39QueueMemoryIsFreeOnlyAfterTheReset) {
  go_live();
  peer.polls_until_reset = 1;
  device->stop(now, nullptr);
  pump();
  EXPECT_TRUE(driver.heard.empty());

  advance(10ms);
  EXPECT_TRUE(driver.heard.empty());
  advance(10ms);
  EXPECT_EQ(driver.heard, (Names{"was reset"}));
}

TEST_F(DriverConformance, DRV39QueueMemoryIsNotFreeWhenTheResetIsNotConfirmed) {
  go_live();
  peer.silent_on = {TransportId::kSetDeviceStatus, TransportId::kGetDeviceStatus};
  device->stop(now, keep<void>());
  pass_time(60s);

  EXPECT_TRUE(failed_with(DriverFailure::kResetTimedOut));
  EXPECT_TRUE(driver.heard.empty());
}

TEST_F(DriverConformance, DRV40SendsNothingElseWhileAResetRuns) {
  go_live();
  peer.polls_until_reset = 5;
  device->stop(now, nullptr);
  pump();
  Bytes buffer(8);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  EXPECT_FALSE(device->kick(0, 0));
  deliver(EventConfig{.device_status = 0x0f, .generation = 9, .data = {}});
  pass_time(1s);

  auto names = sent_names();
  names.erase(names.begin());
  EXPECT_EQ(names, Names(6, "GET_DEVICE_STATUS"));
}

// FAILED would be a write to a device whose reset may still run.
TEST_F(DriverConformance, DRV40ARecoveryWhoseResetNeverEndsSendsNoFailed) {
  go_live();
  peer.polls_until_reset = 1'000'000;
  peer.status |= kStatusNeedsReset;
  deliver(EventConfig{.device_status = 0x4f, .generation = 7, .data = {}});
  pass_time(11s);

  EXPECT_EQ(device->state(), DriverState::kFailed);
  auto names = sent_names();
  ASSERT_GE(names.size(), 3u);
  EXPECT_EQ(names[1], "SET_DEVICE_STATUS 0x00");
  names.erase(names.begin(), names.begin() + 2);
  EXPECT_EQ(names, Names(names.size(), "GET_DEVICE_STATUS"));
}

// rules: DRV-39
TEST_F(DriverConformance, DRV41RecoversFromNeedsReset) {
  go_live();
  peer.status |= kStatusNeedsReset;
  deliver(EventConfig{.device_status = 0x4f, .generation = 7, .data = {}});
  pump();

  EXPECT_EQ(driver.heard, (Names{"needs reset", "was reset", "ready"}));
  EXPECT_EQ(sent_names(),
            (Names{"GET_DEVICE_STATUS", "SET_DEVICE_STATUS 0x00", "SET_DEVICE_STATUS 0x01",
                   "SET_DEVICE_STATUS 0x03", "GET_DEVICE_FEATURES", "SET_DRIVER_FEATURES",
                   "SET_DEVICE_STATUS 0x0b", "GET_DEVICE_STATUS"}));
  EXPECT_EQ(device->state(), DriverState::kSetup);
}

TEST_F(DriverConformance, DRV41OperationsThatWaitFailWithNeedsReset) {
  go_live();
  Bytes buffer(8);
  peer.status |= kStatusNeedsReset;
  device->refresh(now);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  pump();

  EXPECT_TRUE(failed_with(DriverFailure::kNeedsReset));
  EXPECT_EQ(device->state(), DriverState::kSetup);
}

TEST_F(DriverConformance, DRV41GivesUpADeviceThatNeverRecovers) {
  attach();
  peer.before[TransportId::kGetDeviceStatus] = [&] { peer.status |= kStatusNeedsReset; };
  device->start(now);
  pump();
  pass_time(60s);

  EXPECT_EQ(driver.failure, DriverFailure::kNeedsReset);
  EXPECT_EQ(std::ranges::count(driver.heard, "needs reset"), 4);
  EXPECT_EQ(device->state(), DriverState::kFailed);
}

TEST_F(DriverConformance, DRV41RecoversADeviceThatLostItsState) {
  go_live();
  peer.status = 0;
  device->refresh(now);
  pump();

  EXPECT_EQ(driver.heard, (Names{"needs reset", "was reset", "ready"}));
}

TEST_F(DriverConformance, DRV42AfterARemovalNothingIsSent) {
  go_live();
  Bytes buffer(8);
  device->read_config(0, buffer, now, keep<std::uint32_t>());
  peer.sent.clear();
  peer.present.clear();

  deliver(EventDevice{.dev_num = kNumber, .state = VIRTIO_MSG_DEVICE_REMOVED});
  EXPECT_TRUE(failed_with(DriverFailure::kGone));
  EXPECT_EQ(driver.heard, (Names{"gone"}));
  EXPECT_EQ(device->status(), 0u);

  EXPECT_FALSE(device->kick(0, 0));
  device->stop(now, keep<void>());
  EXPECT_TRUE(failed_with(DriverFailure::kGone));
  device->restart(now);
  device->refresh(now);
  pass_time(60s);
  EXPECT_EQ(sent_names(), (Names{"GET_DEVICES"}));
}

TEST_F(DriverConformance, DRV42AKickThatWaitsForRoomIsForgotten) {
  go_live();
  peer.is_full = true;
  EXPECT_TRUE(device->kick(0, 0));
  peer.sent.clear();
  peer.present.clear();
  deliver(EventDevice{.dev_num = kNumber, .state = VIRTIO_MSG_DEVICE_REMOVED});

  peer.is_full = false;
  EXPECT_TRUE(bus->flush(now));
  pump();
  EXPECT_EQ(sent_names(), (Names{"GET_DEVICES"}));
}

TEST_F(DriverConformance, DRV42ARemovalEndsAResetThatIsPolled) {
  go_live();
  peer.polls_until_reset = 100;
  device->stop(now, keep<void>());
  pump();
  advance(10ms);

  deliver(EventDevice{.dev_num = kNumber, .state = VIRTIO_MSG_DEVICE_REMOVED});

  EXPECT_TRUE(failed_with(DriverFailure::kGone));
  EXPECT_EQ(device->state(), DriverState::kGone);
}

}  // namespace
}  // namespace vmsg
