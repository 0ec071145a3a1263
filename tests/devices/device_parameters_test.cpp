// What administrators write about devices: values that can be, and what they are told about others.
#include "devices/device_parameters.hpp"

#include <gmock/gmock.h>

#include "devices/device_types.hpp"

namespace vmsg {
namespace {

using ::testing::HasSubstr;

std::string complaint(ParameterReader& reader) {
  const auto read = reader.finish();
  return read ? std::string{} : read.error();
}

TEST(ParseSize, TakesPlainNumbersAndSuffixes) {
  EXPECT_EQ(parse_size("0"), 0u);
  EXPECT_EQ(parse_size("512"), 512u);
  EXPECT_EQ(parse_size("4k"), 4096u);
  EXPECT_EQ(parse_size("3M"), 3u << 20);
  EXPECT_EQ(parse_size("2G"), std::uint64_t{2} << 30);
  EXPECT_EQ(parse_size("1T"), std::uint64_t{1} << 40);
}

TEST(ParseSize, RefusesWhatIsNoSize) {
  EXPECT_FALSE(parse_size(""));
  EXPECT_FALSE(parse_size("K"));
  EXPECT_FALSE(parse_size("-1"));
  EXPECT_FALSE(parse_size("1KB"));
  EXPECT_FALSE(parse_size("0x10"));
  EXPECT_FALSE(parse_size("99999999999T"));  // overflows
}

TEST(ParameterReader, AnUnknownParameterNamesThoseThatAre) {
  const DeviceParameters parameters{{"spede", "1"}};
  ParameterReader reader(parameters);

  static_cast<void>(reader.number("speed", 0, {}));

  EXPECT_EQ(complaint(reader), "no parameter 'spede'; there are: speed");
}

TEST(ParameterReader, ANumberOutOfRangeNamesTheRange) {
  const DeviceParameters parameters{{"queues", "9"}};
  ParameterReader reader(parameters);

  EXPECT_EQ(reader.number("queues", 1, {.least = 1, .most = 8}), 1u);
  EXPECT_EQ(complaint(reader), "queues='9': a number from 1 to 8 is allowed");
}

TEST(ParameterReader, AMissingParameterIsSaid) {
  const DeviceParameters parameters;
  ParameterReader reader(parameters);

  EXPECT_EQ(reader.required_text("target"), "");
  EXPECT_EQ(complaint(reader), "target=... is missing");
}

TEST(ParameterReader, FlagsAndChoicesTakeTheirWordsOnly) {
  const DeviceParameters parameters{{"a", "on"}, {"b", "no"}, {"access", "rw"}, {"c", "perhaps"}};
  ParameterReader reader(parameters);

  EXPECT_TRUE(reader.flag("a", false));
  EXPECT_FALSE(reader.flag("b", true));
  EXPECT_EQ(reader.choice("access", 0, {"ro", "rw"}), 1u);
  EXPECT_TRUE(reader.flag("c", true));
  EXPECT_EQ(complaint(reader), "c='perhaps': on or off is allowed");
}

TEST(CheckParameters, JudgesByType) {
  EXPECT_TRUE(check_parameters("rng", {{"rate", "1M"}}).has_value());

  const auto unknown = check_parameters("fridge", {});
  ASSERT_FALSE(unknown.has_value());
  EXPECT_THAT(unknown.error(),
              HasSubstr("no device type 'fridge'; there are: blk, console, net, rng"));
}

}  // namespace
}  // namespace vmsg
