// Mapping a guest's pages: what a reference allows, what a mapping keeps alive, what unmap
// promises.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/contract/abi/ports.hpp"
#include "tests/contract/grants.hpp"

namespace vmsg::contract {
namespace {

TEST_F(GnttabContract, MappedPageShowsTheGuestsBytes) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 100, 8, 'g');

  const auto mapping = map(page);

  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->read(100, 8), "gggggggg");
}

TEST_F(GnttabContract, WhatTheGuestWritesLaterIsSeenThroughTheMapping) {
  const PeerArea page = guest().share(self(), 1);
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());

  guest().fill(page, 0, 4, 'l');

  EXPECT_EQ(mapping->read(0, 4), "llll");
}

TEST_F(GnttabContract, WhatWeWriteReachesTheGuest) {
  const PeerArea page = guest().share(self(), 1);
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());

  std::ranges::copy(std::string("hello"), mapping->bytes().begin() + 4091);

  EXPECT_EQ(guest().peek(page, 4091, 5), "hello");
}

TEST_F(GnttabContract, FreshlySharedPagesAreZero) {
  const PeerArea page = guest().share(self(), 1);

  const auto mapping = map(page);

  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->read(0, kPageSize), std::string(kPageSize, '\0'));
}

TEST_F(GnttabContract, ReferencesMapContiguouslyInTheOrderGiven) {
  PeerArea pages = guest().share(self(), 4);
  for (std::size_t i = 0; i < 4; ++i) guest().fill(pages, i * kPageSize, 1, '0' + unsigned(i));
  std::ranges::reverse(pages.references);

  const auto mapping = map(pages);

  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->read(0 * kPageSize, 1), "3");
  EXPECT_EQ(mapping->read(1 * kPageSize, 1), "2");
  EXPECT_EQ(mapping->read(2 * kPageSize, 1), "1");
  EXPECT_EQ(mapping->read(3 * kPageSize, 1), "0");
}

TEST_F(GnttabContract, SixtyFourPagesMapInOneCall) {
  const PeerArea pages = guest().share(self(), 64);
  guest().fill(pages, 63 * kPageSize, 1, 'z');

  auto mapping = map(pages);

  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->read(63 * kPageSize, 1), "z");
  EXPECT_EQ(mapping->release(), 0);
}

TEST_F(GnttabContract, SameReferenceCanBeMappedTwice) {
  const PeerArea page = guest().share(self(), 1);
  const auto first = map(page);
  const auto second = map(page);
  ASSERT_TRUE(first.has_value());
  ASSERT_TRUE(second.has_value());

  first->bytes()[7] = 'x';

  EXPECT_NE(first->bytes().data(), second->bytes().data());
  EXPECT_EQ(second->read(7, 1), "x");
}

TEST_F(GnttabContract, OneMappingMayNameTheSameReferenceTwice) {
  const PeerArea page = guest().share(self(), 1);

  const auto mapping = map(guest().domain(), {page.references[0], page.references[0]}, kReadWrite);

  ASSERT_TRUE(mapping.has_value());
  mapping->bytes()[3] = 'y';
  EXPECT_EQ(mapping->read(kPageSize + 3, 1), "y");
}

TEST_F(GnttabContract, ReadOnlyGrantMapsReadOnly) {
  const PeerArea page = guest().share(self(), 1, "ro");
  guest().fill(page, 0, 2, 'r');

  const auto mapping = map(page, kReadOnly);

  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(mapping->read(0, 2), "rr");
}

TEST_F(GnttabContract, ReadOnlyGrantRefusesAWritableMapping) {
  const PeerArea page = guest().share(self(), 1, "ro");

  EXPECT_EQ(map_error(page, kReadWrite), EINVAL);
}

TEST_F(GnttabContract, WritableGrantCanBeMappedReadOnly) {
  const PeerArea page = guest().share(self(), 1, "rw");

  EXPECT_EQ(map_error(page, kReadOnly), 0);
}

TEST_F(GnttabContract, WriteThroughAReadOnlyMappingFaults) {
  const PeerArea page = guest().share(self(), 1, "rw");
  const auto mapping = map(page, kReadOnly);
  ASSERT_TRUE(mapping.has_value());

  EXPECT_TRUE(write_faults(mapping->bytes().data()));
  EXPECT_EQ(guest().peek(page, 0, 1), std::string(1, '\0'));
}

TEST_F(GnttabContract, AccessAfterUnmapFaults) {
  const PeerArea page = guest().share(self(), 1);
  auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());
  char* const address = mapping->bytes().data();
  ASSERT_FALSE(read_faults(address));

  ASSERT_EQ(mapping->release(), 0);

  EXPECT_TRUE(read_faults(address));
}

TEST_F(GnttabContract, MapOfAReferenceNeverGrantedFails) {
  EXPECT_EQ(map_error(guest().domain(), {8000}, kReadWrite), EINVAL);
}

TEST_F(GnttabContract, MapOfAReferenceBeyondTheTableFails) {
  EXPECT_EQ(map_error(guest().domain(), {0xfffffff0U}, kReadWrite), EINVAL);
}

TEST_F(GnttabContract, MapOfARevokedReferenceFails) {
  const PeerArea page = guest().share(self(), 1);

  guest().release(page);

  EXPECT_EQ(map_error(page), EINVAL);
}

TEST_F(GnttabContract, MapOfAReferenceGrantedToAnotherDomainFails) {
  const PeerArea page = guest().share(world().nobody(), 1);

  EXPECT_EQ(map_error(page), EINVAL);
}

TEST_F(GnttabContract, MapFromADomainThatDoesNotExistFails) {
  EXPECT_EQ(map_error(world().nobody(), {8}, kReadWrite), EINVAL);
}

TEST_F(GnttabContract, MapOfNoReferencesIsEinval) {
  EXPECT_EQ(map_error(guest().domain(), {}, kReadWrite), EINVAL);
}

TEST_F(GnttabContract, OneBadReferenceRefusesTheWholeRange) {
  const PeerArea pages = guest().share(self(), 2);

  EXPECT_EQ(
      map_error(guest().domain(), {pages.references[0], 8000, pages.references[1]}, kReadWrite),
      EINVAL);
}

TEST_F(GnttabContract, ARefusedRangeLeavesNothingMapped) {
  const PeerArea page = guest().share(self(), 1);
  ASSERT_NE(map_error(guest().domain(), {page.references[0], 8000}, kReadWrite), 0);

  guest().release(page);

  EXPECT_EQ(map_error(page), EINVAL);
}

TEST_F(GnttabContract, MappingOutlivesTheGuestsUnshare) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 4, 'k');
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());

  guest().release(page);

  EXPECT_EQ(mapping->read(0, 4), "kkkk");
  EXPECT_FALSE(write_faults(mapping->bytes().data()));
}

TEST_F(GnttabContract, MappingKeepsTheGranterFromEndingAccess) {
  const PeerArea page = guest().share(self(), 1);
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());

  guest().release(page);

  EXPECT_EQ(map_error(page), 0) << "the reference is still good";
}

TEST_F(GnttabContract, AccessEndsWhenTheLastMappingGoes) {
  const PeerArea page = guest().share(self(), 1);
  auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());
  guest().release(page);

  ASSERT_EQ(mapping->release(), 0);

  EXPECT_TRUE(is_revoked_in_time(page));
}

TEST_F(GnttabContract, MappingOutlivesTheKilledGuestProcess) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 4, 'd');
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());

  guest().die();

  EXPECT_EQ(mapping->read(0, 4), "dddd");
}

TEST_F(GnttabContract, AReferenceOfAKilledGuestProcessIsRevoked) {
  const PeerArea page = guest().share(self(), 1);
  ASSERT_EQ(map_error(page), 0);

  guest().die();

  EXPECT_TRUE(is_revoked_in_time(page));
}

TEST_F(GnttabContract, AccessCanEndAtOnceAfterUnmapReturned) {
  const PeerArea page = guest().share(self(), 1);
  auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());
  mapping->bytes()[0] = 1;  // touched by the processor only: nobody else holds the page

  ASSERT_EQ(mapping->release(), 0);
  guest().release(page);

  EXPECT_EQ(map_error(page), EINVAL);
}

TEST_F(GnttabContract, KilledMapperLosesItsMappings) {
  const PeerArea page = guest().share(self(), 1);
  neighbour().map(guest().domain(), page.references[0]);
  guest().release(page);
  ASSERT_EQ(map_error(page), 0) << "the neighbour's mapping keeps the reference good";

  neighbour().die();

  EXPECT_TRUE(is_revoked_in_time(page));
}

TEST_F(GnttabContract, UnmapOfMemoryThatIsNoMappingIsEinval) {
  std::vector<char> ours(2 * kPageSize);

  EXPECT_EQ(Mapping(gnttab.get(), ours.data(), 1).release(), EINVAL);
}

TEST_F(GnttabContract, UnmapTwiceIsEinval) {
  const PeerArea page = guest().share(self(), 1);
  auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());
  char* const address = mapping->bytes().data();
  ASSERT_EQ(mapping->release(), 0);

  EXPECT_EQ(Mapping(gnttab.get(), address, 1).release(), EINVAL);
}

TEST_F(GnttabContract, UnmapOfPartOfARangeIsEinvalAndLeavesItMapped) {
  const PeerArea pages = guest().share(self(), 2);
  const auto mapping = map(pages);
  ASSERT_TRUE(mapping.has_value());

  EXPECT_EQ(Mapping(gnttab.get(), mapping->bytes().data(), 1).release(), EINVAL);

  EXPECT_FALSE(read_faults(mapping->bytes().data()));
  EXPECT_FALSE(read_faults(mapping->bytes().data() + kPageSize));
}

TEST_F(GnttabContract, UnmapNotifyClearsTheByte) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 16, 'n');
  auto mapping = map_notifying(page, 5, -1);
  ASSERT_TRUE(mapping.has_value());
  EXPECT_EQ(guest().peek(page, 0, 16), std::string(16, 'n'));

  ASSERT_EQ(mapping->release(), 0);

  EXPECT_EQ(guest().peek(page, 0, 16), "nnnnn" + std::string(1, '\0') + "nnnnnnnnnn");
}

TEST_F(GnttabContract, UnmapNotifySendsTheEvent) {
  const PeerArea page = guest().share(self(), 1);
  Ports ports;
  const Port offered = guest().offer(self());
  const Port bound = ports.bind(guest().domain(), offered).value();
  auto mapping = map_notifying(page, -1, static_cast<int>(bound));
  ASSERT_TRUE(mapping.has_value());
  ASSERT_EQ(guest().must("event-fired").at(0), "none");

  ASSERT_EQ(mapping->release(), 0);

  EXPECT_EQ(guest().must("next-event").at(0), std::to_string(offered));
}

TEST_F(GnttabContract, UnmapNotifyCanReachTheMapperItself) {
  const PeerArea page = guest().share(self(), 1);
  Ports ports;
  const Port offered = ports.offer_to(self()).value();
  const Port bound = ports.bind(self(), offered).value();
  ASSERT_EQ(ports.next_event(), bound);
  ASSERT_EQ(ports.unmask(bound), 0);
  auto mapping = map_notifying(page, -1, static_cast<int>(offered));
  ASSERT_TRUE(mapping.has_value());

  ASSERT_EQ(mapping->release(), 0);

  EXPECT_EQ(ports.next_event(), bound);
}

TEST_F(GnttabContract, UnmapNotifyWithAPortThatIsNotOursRefusesTheMapping) {
  const PeerArea page = guest().share(self(), 1);

  const auto mapping = map_notifying(page, -1, 999);

  EXPECT_FALSE(mapping.has_value());
}

TEST_F(GnttabContract, KilledMapperClearsTheByteAndSendsTheEvent) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 1, 'n');
  const Port offered = guest().offer(self());
  const Port bound = neighbour().bind(guest().domain(), offered);
  neighbour().map(guest().domain(), page.references[0], "rw", 0, static_cast<int>(bound));

  neighbour().die();

  EXPECT_EQ(guest().must("next-event").at(0), std::to_string(offered));
  EXPECT_EQ(guest().peek(page, 0, 1), std::string(1, '\0'));
}

}  // namespace
}  // namespace vmsg::contract
