// Numbers that others wrote: nothing but digits, inside the bounds, or nothing.
#include "xenbus-glue/numbers.hpp"

#include <gtest/gtest.h>

namespace vmsg::xen {
namespace {

TEST(Numbers, ReadsWholeDecimalNumbers) {
  EXPECT_EQ(parse_decimal<std::uint32_t>("0"), 0U);
  EXPECT_EQ(parse_decimal<std::uint32_t>("4294967295"), 4294967295U);
  EXPECT_EQ(parse_decimal<std::uint64_t>("18446744073709551615"), ~std::uint64_t{0});
}

TEST(Numbers, RefusesWhatIsNotAllDigits) {
  for (const char* text : {"", " ", "-1", "+1", " 1", "1 ", "1\n", "1,2", "0x10", "1e3", "one"}) {
    EXPECT_FALSE(parse_decimal<std::uint32_t>(text).has_value()) << '"' << text << '"';
  }
}

TEST(Numbers, RefusesAnEmbeddedNul) {
  EXPECT_FALSE(parse_decimal<std::uint32_t>(std::string_view("1\0", 2)).has_value());
}

TEST(Numbers, RefusesWhatDoesNotFitTheType) {
  EXPECT_FALSE(parse_decimal<std::uint32_t>("4294967296").has_value());
  EXPECT_FALSE(parse_decimal<std::uint8_t>("256").has_value());
  EXPECT_FALSE(parse_decimal<std::uint64_t>("18446744073709551616").has_value());
}

TEST(Numbers, RefusesALongRunOfZeroes) {
  EXPECT_FALSE(parse_decimal<std::uint32_t>("000000000000000000001").has_value());
}

TEST(Numbers, KeepsToTheBoundsGiven) {
  EXPECT_EQ(parse_decimal<std::uint32_t>("52", 52, 264), 52U);
  EXPECT_EQ(parse_decimal<std::uint32_t>("264", 52, 264), 264U);
  EXPECT_FALSE(parse_decimal<std::uint32_t>("51", 52, 264).has_value());
  EXPECT_FALSE(parse_decimal<std::uint32_t>("265", 52, 264).has_value());
}

TEST(Numbers, ReadsHexWithAndWithoutPrefix) {
  EXPECT_EQ(parse_hex<std::uint64_t>("1f"), 0x1fU);
  EXPECT_EQ(parse_hex<std::uint64_t>("0x1F"), 0x1fU);
  EXPECT_EQ(parse_hex<std::uint64_t>("ffffffffffffffff"), ~std::uint64_t{0});
}

TEST(Numbers, RefusesHexThatIsNone) {
  for (const char* text : {"", "0x", "0x0x1", "-1", "0x-1", "g", "1 ", "10000000000000000"}) {
    EXPECT_FALSE(parse_hex<std::uint64_t>(text).has_value()) << '"' << text << '"';
  }
}

}  // namespace
}  // namespace vmsg::xen
