// The address form of the bus: docs/virtio-msg-xen.md, "Addresses".
#include "transport/grant_address.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace vmsg {
namespace {

constexpr std::uint64_t kGrantBit = std::uint64_t{1} << 63;

std::vector<PagePiece> pieces_of(GrantAddress address, std::uint32_t length) {
  std::vector<PagePiece> all;
  for (PagePieces pieces(address, length); const auto piece = pieces.next();) all.push_back(*piece);
  return all;
}

TEST(GrantAddress, AcceptsBit63WithReferenceAndOffset) {
  const auto address = GrantAddress::parse(kGrantBit | (0x12345ULL << 12) | 0x678);

  ASSERT_TRUE(address.has_value());
  EXPECT_EQ(address->reference(), 0x12345U);
  EXPECT_EQ(address->offset(), 0x678U);
}

TEST(GrantAddress, RefusesAnAddressWithoutBit63) {
  EXPECT_FALSE(GrantAddress::parse(0x1000).has_value());
}

TEST(GrantAddress, RefusesAnyOfBits62To44) {
  EXPECT_FALSE(GrantAddress::parse(kGrantBit | (std::uint64_t{1} << 62)).has_value());
  EXPECT_FALSE(GrantAddress::parse(kGrantBit | (std::uint64_t{1} << 44)).has_value());
  EXPECT_TRUE(GrantAddress::parse(kGrantBit | (std::uint64_t{1} << 43)).has_value());
}

TEST(GrantAddress, AreaMayEndExactlyAtTheLastReference) {
  const auto last = GrantAddress::of(0xffffffffU, 0);

  EXPECT_TRUE(last.holds(4096));
  EXPECT_FALSE(last.holds(4097));
  EXPECT_FALSE(last.holds(~std::uint64_t{0}));
}

TEST(GrantAddress, CheckedAddStopsAtTheLastByte) {
  const auto last = GrantAddress::of(0xffffffffU, 4094);

  EXPECT_EQ(last.checked_add(1), GrantAddress::of(0xffffffffU, 4095));
  EXPECT_FALSE(last.checked_add(2).has_value());
  EXPECT_FALSE(last.checked_add(~std::uint64_t{0}).has_value());
}

TEST(GrantAddress, CountsThePagesThatARangeTouches) {
  EXPECT_EQ(GrantAddress::of(7, 0).pages(0), 0U);
  EXPECT_EQ(GrantAddress::of(7, 4095).pages(1), 1U);
  EXPECT_EQ(GrantAddress::of(7, 4095).pages(2), 2U);
  EXPECT_EQ(GrantAddress::of(7, 1).pages(8192), 3U);
}

TEST(PagePieces, SplitsARangeAtPageBordersWithConsecutiveReferences) {
  const std::vector<PagePiece> expected{{7, 4000, 96}, {8, 0, 4096}, {9, 0, 8}};

  EXPECT_EQ(pieces_of(GrantAddress::of(7, 4000), 96 + 4096 + 8), expected);
}

TEST(PagePieces, AnEmptyRangeHasNoPieces) {
  EXPECT_TRUE(pieces_of(GrantAddress::of(7, 100), 0).empty());
}

}  // namespace
}  // namespace vmsg
