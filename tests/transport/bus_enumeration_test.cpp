// GET_DEVICES: rules BUS-30 to BUS-35.
#include "tests/support/bus_conformance.hpp"

namespace vmsg::test {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

TEST_F(BusConformance, BUS30TheAnswerIsOffsetNextOffsetCount) {
  attach({0, 2, 5, 64});

  EXPECT_THAT(raw({0x02, 0x02, 0x00, 0x00, 0x02, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x10, 0x00}),  // V57
              ElementsAre(bytes({0x03, 0x02, 0x00, 0x00, 0x02, 0x00, 0x10, 0x00, 0x00, 0x00, 0x40,
                                 0x00, 0x10, 0x00, 0x25, 0x00})));  // V58
}

TEST_F(BusConformance, BUS31TheBitmapIsExactAndItsUnusedBitsAreZero) {
  attach({8, 9, 10, 11, 12});

  const auto answer = devices_from(8, 3);

  EXPECT_EQ(answer.offset, 8);
  EXPECT_EQ(answer.count, 3);
  EXPECT_EQ(answer.bitmap, bytes({0x07}));
  EXPECT_EQ(answer.frame_size, 15U);
}

TEST_F(BusConformance, BUS31TheCountIsShortenedToWhatFits) {
  attach({0, 1999, 2000});

  const auto answer = devices_from(0, 65535);

  EXPECT_EQ(answer.count, 2000);
  EXPECT_EQ(answer.frame_size, 264U);
  EXPECT_EQ(answer.bitmap.front(), std::byte{0x01});
  EXPECT_EQ(answer.bitmap.back(), std::byte{0x80});
  EXPECT_EQ(answer.next_offset, 2000);
}

TEST_F(BusConformance, BUS32NextOffsetIsZeroAtTheEnd) {
  attach({0, 15});

  EXPECT_EQ(devices_from(0, 16).next_offset, 0);
}

TEST_F(BusConformance, BUS32NextOffsetSkipsEmptyStretchesButNoDevice) {
  attach({3, 1003});

  const auto answer = devices_from(0, 16);

  EXPECT_EQ(answer.next_offset, 1000);
  EXPECT_EQ(devices_from(1000, 16).bitmap, bytes({0x08, 0x00}));
}

TEST_F(BusConformance, BUS32NextOffsetDoesNotFallBackIntoTheWindow) {
  attach({70});

  EXPECT_EQ(devices_from(0, 67).next_offset, 67);
  EXPECT_EQ(devices_from(0, 64).next_offset, 64);
}

TEST_F(BusConformance, BUS33AnEmptyWindowIsAllZero) {
  EXPECT_THAT(raw({0x02, 0x02, 0x00, 0x00, 0x02, 0x00, 0x0c, 0x00, 0x00, 0x00, 0x10, 0x00}),
              ElementsAre(bytes({0x03, 0x02, 0x00, 0x00, 0x02, 0x00, 0x10, 0x00, 0x00, 0x00, 0x00,
                                 0x00, 0x10, 0x00, 0x00, 0x00})));  // V59
}

TEST_F(BusConformance, BUS33AnEmptyWindowCanMoveForward) {
  attach({300});

  const auto answer = devices_from(0, 256);

  EXPECT_THAT(answer.bitmap, Each(std::byte{0}));
  EXPECT_THAT(answer.bitmap, SizeIs(32));
  EXPECT_EQ(answer.next_offset, 296);
}

TEST_F(BusConformance, BUS34TheLastNumberIsFoundAndTheEndIsTheEnd) {
  attach({65535});

  EXPECT_THAT(raw({0x02, 0x02, 0x00, 0x00, 0x02, 0x00, 0x0c, 0x00, 0xf8, 0xff, 0x10, 0x00}),
              ElementsAre(bytes({0x03, 0x02, 0x00, 0x00, 0x02, 0x00, 0x0f, 0x00, 0xf8, 0xff, 0x00,
                                 0x00, 0x08, 0x00, 0x80})));  // V62
  EXPECT_THAT(enumerate(256), ElementsAre(65535));
}

TEST_F(BusConformance, BUS35NoSlotsAreAnsweredWithNone) {
  attach({5});

  const auto answer = devices_from(3, 0);

  EXPECT_EQ(
      answer,
      (DevicesAnswer{.offset = 3, .next_offset = 0, .count = 0, .bitmap = {}, .frame_size = 14}));
}

// rules: BUS-35, L-14
TEST_F(BusConformance, BUS35AnyWindowSizeFindsAllDevices) {
  const std::vector<std::uint16_t> numbers{0, 1, 7, 8, 255, 256, 257, 4095, 30001, 65534, 65535};
  for (const std::uint16_t number : numbers) attach({number});

  EXPECT_EQ(enumerate(256), numbers);  // what Linux asks for
  EXPECT_EQ(enumerate(1), numbers);
  EXPECT_EQ(enumerate(13), numbers);
  EXPECT_EQ(enumerate(65535), numbers);
}

TEST_F(BusConformance, BUS35TheSmallestMaximumFindsAllDevicesToo) {
  BusOptions options = usual();
  options.max_message_size = 52;
  start(options);
  attach({0, 303, 304, 5000});

  EXPECT_EQ(devices_from(0, 65535).count, 304);
  EXPECT_THAT(enumerate(65535), ElementsAre(0, 303, 304, 5000));
}

}  // namespace
}  // namespace vmsg::test
