// Sharing pages of our own: the guest's side of grants, seen from where the tests run, with the
// guest as the one who maps.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <string>
#include <system_error>
#include <vector>

#include "tests/contract/abi/ports.hpp"
#include "tests/contract/grants.hpp"

namespace vmsg::contract {
namespace {

class GntshrContract : public ContractTest {
 protected:
  GntshrContract() : gntshr(xengntshr_open(nullptr, 0)) {
    if (!gntshr) throw std::system_error(errno, std::generic_category(), "xengntshr_open");
  }

  char* share(std::span<std::uint32_t> references, bool writable = true) {
    errno = 0;
    return static_cast<char*>(xengntshr_share_pages(gntshr.get(), guest().domain(),
                                                    static_cast<int>(references.size()),
                                                    references.data(), writable ? 1 : 0));
  }
  int unshare(char* pages, std::uint32_t count) {
    errno = 0;
    return xengntshr_unshare(gntshr.get(), pages, count) == 0 ? 0 : errno;
  }

  GntshrHandle gntshr;
};

TEST_F(GntshrContract, EveryPageHasItsOwnReference) {
  std::vector<std::uint32_t> references(16);

  char* const pages = share(references);

  ASSERT_NE(pages, nullptr);
  EXPECT_EQ(std::set(references.begin(), references.end()).size(), 16U);
  EXPECT_EQ(unshare(pages, 16), 0);
}

TEST_F(GntshrContract, SharedPagesStartZeroed) {
  std::vector<std::uint32_t> references(2);

  char* const pages = share(references);

  ASSERT_NE(pages, nullptr);
  EXPECT_EQ(std::string(pages, 2 * kPageSize), std::string(2 * kPageSize, '\0'));
  EXPECT_EQ(unshare(pages, 2), 0);
}

TEST_F(GntshrContract, TheOtherSideSeesWhatWeWriteAndWeSeeWhatItWrites) {
  std::vector<std::uint32_t> references(1);
  char* const page = share(references);
  ASSERT_NE(page, nullptr);
  const PeerArea mapped = guest().map(self(), references[0]);

  std::ranges::copy(std::string("ours"), page);
  EXPECT_EQ(guest().peek(mapped, 0, 4), "ours");

  guest().fill(mapped, 8, 4, 't');
  EXPECT_EQ(std::string(page + 8, 4), "tttt");

  guest().release(mapped);
  EXPECT_EQ(unshare(page, 1), 0);
}

TEST_F(GntshrContract, AReadOnlyShareRefusesAWritableMapping) {
  std::vector<std::uint32_t> references(1);
  char* const page = share(references, false);
  ASSERT_NE(page, nullptr);

  EXPECT_EQ(guest().call("map", self(), references[0], "rw", -1, -1).error, EINVAL);
  EXPECT_EQ(guest().call("map", self(), references[0], "ro", -1, -1).error, 0);

  EXPECT_EQ(unshare(page, 1), 0);
}

TEST_F(GntshrContract, UnshareTakesTheMemoryAndTheReferenceAway) {
  std::vector<std::uint32_t> references(1);
  char* const page = share(references);
  ASSERT_NE(page, nullptr);

  EXPECT_EQ(unshare(page, 1), 0);

  EXPECT_TRUE(read_faults(page));
  EXPECT_EQ(guest().call("map", self(), references[0], "rw", -1, -1).error, EINVAL);
}

TEST_F(GntshrContract, UnshareSucceedsWhileTheOtherSideHasItMapped) {
  std::vector<std::uint32_t> references(1);
  char* const page = share(references);
  ASSERT_NE(page, nullptr);
  std::ranges::copy(std::string("kept"), page);
  const PeerArea mapped = guest().map(self(), references[0]);

  EXPECT_EQ(unshare(page, 1), 0);

  EXPECT_EQ(guest().peek(mapped, 0, 4), "kept");
}

TEST_F(GntshrContract, SharingNoPagesIsEinval) {
  EXPECT_EQ(share({}), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(GntshrContract, MoreThanTheLimitIsEnospc) {
  std::vector<std::uint32_t> references(1025);

  EXPECT_EQ(share(references), nullptr);
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(GntshrContract, ClosingTheHandleDoesNotUnshare) {
  std::vector<std::uint32_t> references(1);
  char* const page = share(references);
  ASSERT_NE(page, nullptr);

  gntshr.reset();

  EXPECT_FALSE(read_faults(page));
  EXPECT_EQ(guest().call("map", self(), references[0], "rw", -1, -1).error, 0);
  munmap(page, kPageSize);
}

TEST_F(GntshrContract, UnshareNotifyClearsTheByteOfTheOtherSide) {
  Ports ports;
  const Port offered = ports.offer_to(guest().domain()).value();
  const Port guests = guest().bind(self(), offered);
  ASSERT_EQ(guest().must("next-event").at(0), std::to_string(guests));
  guest().must("unmask", guests);
  std::uint32_t reference = 0;
  char* const page = static_cast<char*>(
      xengntshr_share_page_notify(gntshr.get(), guest().domain(), &reference, 1, 9, offered));
  ASSERT_NE(page, nullptr);
  const PeerArea mapped = guest().map(self(), reference);
  std::memset(page, 's', 16);

  EXPECT_EQ(unshare(page, 1), 0);

  EXPECT_EQ(guest().must("next-event").at(0), std::to_string(guests));
  EXPECT_EQ(guest().peek(mapped, 0, 16), "sssssssss" + std::string(1, '\0') + "ssssss");
}

TEST_F(GntshrContract, AKilledSharerClearsTheByteOfTheOtherSide) {
  const auto words = guest().must("share-notify", self(), 3, -1);
  const std::uint32_t reference = static_cast<std::uint32_t>(std::stoul(words.at(1)));
  const GnttabHandle gnttab(xengnttab_open(nullptr, 0));
  char* const page = static_cast<char*>(
      xengnttab_map_grant_ref(gnttab.get(), guest().domain(), reference, kReadWrite));
  ASSERT_NE(page, nullptr);
  Mapping mapping(gnttab.get(), page, 1);
  std::memset(page, 'a', 8);

  guest().die();

  EXPECT_EQ(mapping.read(0, 8), "aaa" + std::string(1, '\0') + "aaaa");
}

}  // namespace
}  // namespace vmsg::contract
