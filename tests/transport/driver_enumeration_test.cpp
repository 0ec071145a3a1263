// What the specification asks of a bus, for the driver side: which devices there are, by
// enumeration and by announcements.
#include <gtest/gtest.h>

#include "tests/transport/driver_fixture.hpp"
#include "tests/transport/vectors.hpp"

namespace vmsg {
namespace {

using namespace test;

using DriverBusConformance = DriverTest;

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

}  // namespace
}  // namespace vmsg
