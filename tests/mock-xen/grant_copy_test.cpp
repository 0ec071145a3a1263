// Grant copy of the mock, through xengnttab_grant_copy: what Xen reports per segment, and what
// Linux's gntdev refuses as a whole.
#include <array>
#include <cerrno>
#include <cstring>
#include <string>
#include <vector>

#include "tests/mock-xen/handles_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::Each;

constexpr std::size_t kPage = 4096;
using Segment = xengnttab_grant_copy_segment_t;

class GrantCopy : public MockWorld {
 protected:
  GrantCopy() : guest(open_gntshr(kGuest)), backend(open_gnttab(0)) {
    page = share(guest.get(), 0, true, ref);
  }
  ~GrantCopy() override { EXPECT_EQ(xengntshr_unshare(guest.get(), page, 1), 0); }

  static char* share(xengntshr_handle* handle, std::uint32_t domid, bool writable,
                     std::uint32_t& granted) {
    void* const shared = xengntshr_share_pages(handle, domid, 1, &granted, writable ? 1 : 0);
    EXPECT_NE(shared, nullptr);
    return static_cast<char*>(shared);
  }

  /// A segment that copies from the guest's page to `to`.
  Segment from_guest(void* to, std::size_t length, std::size_t offset = 0) const {
    Segment segment{};
    segment.flags = GNTCOPY_source_gref;
    segment.source.foreign.domid = kGuest;
    segment.source.foreign.ref = ref;
    segment.source.foreign.offset = static_cast<std::uint16_t>(offset);
    segment.dest.virt = to;
    segment.len = static_cast<std::uint16_t>(length);
    segment.status = kUntouched;
    return segment;
  }
  /// A segment that copies from `from` to the guest's page.
  Segment to_guest(const void* from, std::size_t length, std::size_t offset = 0) const {
    Segment segment{};
    segment.flags = GNTCOPY_dest_gref;
    segment.source.virt = const_cast<void*>(from);
    segment.dest.foreign.domid = kGuest;
    segment.dest.foreign.ref = ref;
    segment.dest.foreign.offset = static_cast<std::uint16_t>(offset);
    segment.len = static_cast<std::uint16_t>(length);
    segment.status = kUntouched;
    return segment;
  }
  int copy(Segment& segment) { return xengnttab_grant_copy(backend.get(), 1, &segment); }
  int copy(std::vector<Segment>& segments) {
    return xengnttab_grant_copy(backend.get(), static_cast<std::uint32_t>(segments.size()),
                                segments.data());
  }

  static constexpr std::int16_t kUntouched = 77;

  Gntshr guest;
  Gnttab backend;
  char* page = nullptr;
  std::uint32_t ref = 0;
  std::array<char, 3 * kPage> buffer{};
};

TEST_F(GrantCopy, CopiesFromAndToAGrant) {
  std::strcpy(page + 10, "hello");
  Segment read = from_guest(buffer.data(), 6, 10);
  Segment write = to_guest("there", 6, 100);

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(copy(write), 0);

  EXPECT_EQ(read.status, GNTST_okay);
  EXPECT_STREQ(buffer.data(), "hello");
  EXPECT_EQ(write.status, GNTST_okay);
  EXPECT_STREQ(page + 100, "there");
}

TEST_F(GrantCopy, CopiesNothingBesideTheSegment) {
  buffer.fill('.');
  std::memset(page, 'x', kPage);
  Segment read = from_guest(&buffer[100], 3);

  copy(read);

  EXPECT_EQ(std::string(&buffer[99], 5), ".xxx.");
}

TEST_F(GrantCopy, TheLocalSideMayCrossPages) {
  for (std::size_t i = 0; i < kPage; ++i) page[i] = static_cast<char>(i % 251);
  Segment read = from_guest(&buffer[kPage / 2 + 3], kPage);

  EXPECT_EQ(copy(read), 0);

  EXPECT_EQ(read.status, GNTST_okay);
  EXPECT_EQ(std::memcmp(&buffer[kPage / 2 + 3], page, kPage), 0);
}

TEST_F(GrantCopy, CopiesFromOneGuestToAnother) {
  xen.create_domain(5);
  const Gntshr other = open_gntshr(5);
  std::uint32_t other_ref = 0;
  char* const other_page = share(other.get(), 0, true, other_ref);
  std::strcpy(page, "across");
  Segment across = from_guest(nullptr, 7);
  across.flags = GNTCOPY_source_gref | GNTCOPY_dest_gref;
  across.dest.foreign.domid = 5;
  across.dest.foreign.ref = other_ref;
  across.dest.foreign.offset = 1;

  EXPECT_EQ(copy(across), 0);

  EXPECT_EQ(across.status, GNTST_okay);
  EXPECT_STREQ(other_page + 1, "across");
  EXPECT_EQ(xengntshr_unshare(other.get(), other_page, 1), 0);
}

TEST_F(GrantCopy, ALengthOfZeroIsOkay) {
  Segment read = from_guest(buffer.data(), 0);

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_okay);
}

// --- Status per segment ----------------------------------------------------------------------

TEST_F(GrantCopy, AReferenceBeyondTheTableIsABadReference) {
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.ref = 0xffffffff;

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_bad_gntref);
}

TEST_F(GrantCopy, AReferenceThatIsNotGrantedIsAGeneralError) {
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.ref = ref + 1;

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_general_error);
}

TEST_F(GrantCopy, ARevokedReferenceIsAGeneralError) {
  std::uint32_t revoked = 0;
  char* const other = share(guest.get(), 0, true, revoked);
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.ref = revoked;
  ASSERT_EQ(copy(read), 0);
  ASSERT_EQ(read.status, GNTST_okay);
  EXPECT_EQ(xengntshr_unshare(guest.get(), other, 1), 0);

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_general_error);
}

TEST_F(GrantCopy, AGrantToAnotherDomainIsAGeneralError) {
  xen.create_domain(5);
  const Gnttab stranger = open_gnttab(5);
  Segment read = from_guest(buffer.data(), 1);

  EXPECT_EQ(xengnttab_grant_copy(stranger.get(), 1, &read), 0);
  EXPECT_EQ(read.status, GNTST_general_error);
}

TEST_F(GrantCopy, ADomainThatDoesNotExistIsABadDomain) {
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.domid = 99;

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_bad_domain);
}

TEST_F(GrantCopy, ADestroyedDomainIsABadDomain) {
  xen.create_domain(5);
  const Gntshr other = open_gntshr(5);
  std::uint32_t other_ref = 0;
  share(other.get(), 0, true, other_ref);
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.domid = 5;
  read.source.foreign.ref = other_ref;
  ASSERT_EQ(copy(read), 0);
  ASSERT_EQ(read.status, GNTST_okay);

  xen.destroy_domain(5);

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(read.status, GNTST_bad_domain);
}

TEST_F(GrantCopy, AReadOnlyGrantIsReadButNotWritten) {
  std::uint32_t read_only = 0;
  char* const other = share(guest.get(), 0, false, read_only);
  *other = 'r';
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.ref = read_only;
  Segment write = to_guest("w", 1);
  write.dest.foreign.ref = read_only;

  EXPECT_EQ(copy(read), 0);
  EXPECT_EQ(copy(write), 0);

  EXPECT_EQ(read.status, GNTST_okay);
  EXPECT_EQ(buffer[0], 'r');
  EXPECT_EQ(write.status, GNTST_general_error);
  EXPECT_EQ(*other, 'r');
  EXPECT_EQ(xengntshr_unshare(guest.get(), other, 1), 0);
}

TEST_F(GrantCopy, OneBadSegmentLeavesTheOthersAlone) {
  std::strcpy(page, "abc");
  std::vector<Segment> segments = {from_guest(&buffer[0], 1, 0), from_guest(&buffer[1], 1, 1),
                                   from_guest(&buffer[2], 1, 2)};
  segments[1].source.foreign.ref = 0xffffffff;

  EXPECT_EQ(copy(segments), 0) << "the call succeeds: each status has to be looked at";

  EXPECT_EQ(segments[0].status, GNTST_okay);
  EXPECT_EQ(segments[1].status, GNTST_bad_gntref);
  EXPECT_EQ(segments[2].status, GNTST_okay);
  EXPECT_EQ(buffer[0], 'a');
  EXPECT_EQ(buffer[2], 'c');
}

// --- What the driver refuses -----------------------------------------------------------------

TEST_F(GrantCopy, TheGrantSideMayNotCrossAPage) {
  Segment read = from_guest(buffer.data(), 100, kPage - 99);
  Segment write = to_guest(buffer.data(), 100, kPage - 99);

  EXPECT_THAT(copy(read), FailsWith(EINVAL));
  EXPECT_THAT(copy(write), FailsWith(EINVAL));
}

TEST_F(GrantCopy, LocalToLocalIsRefused) {
  Segment local = from_guest(buffer.data(), 1);
  local.flags = 0;
  local.source.virt = &buffer[1];

  EXPECT_THAT(copy(local), FailsWith(EINVAL));
}

// gntdev collects 16 pieces before it asks Xen, and forgets them when a later segment is refused.
TEST_F(GrantCopy, ARefusedSegmentLosesThePiecesOfItsBatch) {
  std::memset(page, 'n', kPage);
  std::vector<Segment> segments;
  for (std::size_t i = 0; i < 17; ++i) segments.push_back(from_guest(&buffer[i], 1));
  segments.push_back(from_guest(buffer.data(), 2, kPage - 1));

  EXPECT_THAT(copy(segments), FailsWith(EINVAL));

  EXPECT_EQ(std::string(buffer.data(), 16), std::string(16, 'n'));
  EXPECT_EQ(buffer[16], 0);
  EXPECT_EQ(segments[16].status, GNTST_okay) << "although it was not done";
  EXPECT_EQ(segments[17].status, kUntouched);
}

TEST_F(GrantCopy, ADestroyedDomainCopiesNothing) {
  xen.create_domain(5);
  const Gnttab mapper = open_gnttab(5);
  std::uint32_t for_five = 0;
  char* const other = share(guest.get(), 5, true, for_five);
  Segment read = from_guest(buffer.data(), 1);
  read.source.foreign.ref = for_five;
  ASSERT_EQ(xengnttab_grant_copy(mapper.get(), 1, &read), 0);
  ASSERT_EQ(read.status, GNTST_okay);

  xen.destroy_domain(5);

  EXPECT_THAT(xengnttab_grant_copy(mapper.get(), 1, &read), FailsWith(ENXIO));
  EXPECT_EQ(xengntshr_unshare(guest.get(), other, 1), 0);
}

TEST_F(GrantCopy, CountersTellWhatWasDone) {
  std::vector<Segment> segments = {from_guest(&buffer[0], 10), from_guest(&buffer[50], 20)};
  segments[1].source.foreign.ref = ref + 1;
  copy(segments);

  EXPECT_EQ(xen.stats(0).copy_calls, 1U);
  EXPECT_EQ(xen.stats(0).copy_segments, 2U);
  EXPECT_EQ(xen.stats(0).copy_bytes, 10U);
  EXPECT_EQ(xen.stats(0).copy_failures, 1U);
}

}  // namespace
}  // namespace vmsg::mock
