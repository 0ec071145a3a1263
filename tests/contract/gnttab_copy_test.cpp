// Grant copy: what a segment may be, what the call reports, and what it leaves alone.
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <string>
#include <vector>

#include "tests/contract/grants.hpp"

namespace vmsg::contract {
namespace {

using Segment = xengnttab_grant_copy_segment_t;

// A status no segment ends with: a segment that was not looked at keeps it.
constexpr std::int16_t kUntouched = 77;

class GnttabCopyContract : public GnttabContract {
 protected:
  static Segment segment(std::size_t length, unsigned flags) {
    Segment one{};
    one.len = static_cast<std::uint16_t>(length);
    one.flags = static_cast<std::uint16_t>(flags);
    one.status = kUntouched;
    return one;
  }
  static decltype(Segment::source) grant(std::uint32_t reference, std::size_t offset,
                                         std::uint32_t domain = guest().domain()) {
    decltype(Segment::source) side{};
    side.foreign.ref = reference;
    side.foreign.offset = static_cast<std::uint16_t>(offset);
    side.foreign.domid = static_cast<std::uint16_t>(domain);
    return side;
  }
  static decltype(Segment::source) local(void* address) {
    decltype(Segment::source) side{};
    side.virt = address;
    return side;
  }
  static Segment from_guest(decltype(Segment::source) source, void* to, std::size_t length) {
    Segment one = segment(length, GNTCOPY_source_gref);
    one.source = source;
    one.dest = local(to);
    return one;
  }
  static Segment to_guest(void* from, decltype(Segment::source) dest, std::size_t length) {
    Segment one = segment(length, GNTCOPY_dest_gref);
    one.source = local(from);
    one.dest = dest;
    return one;
  }
  // 0 or the errno of the call; the statuses are in the segments.
  int copy(std::span<Segment> segments) {
    errno = 0;
    return xengnttab_grant_copy(gnttab.get(), static_cast<std::uint32_t>(segments.size()),
                                segments.data()) == 0
               ? 0
               : errno;
  }
  int copy(Segment& one) { return copy({&one, 1}); }
  // The status of a segment in a call that must work as a call.
  int status_of(Segment one) {
    EXPECT_EQ(copy(one), 0);
    return one.status;
  }

  std::string buffer = std::string(4 * kPageSize, '.');
};

TEST_F(GnttabCopyContract, CopyFromAGrant) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 10, 3, 'c');

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 10), buffer.data() + 2, 3)), GNTST_okay);

  EXPECT_EQ(buffer.substr(0, 7), "..ccc..");
}

TEST_F(GnttabCopyContract, CopyToAGrantWritesThoseBytesAndNoOther) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 16, '.');
  buffer.replace(0, 3, "abc");

  EXPECT_EQ(status_of(to_guest(buffer.data(), grant(page.references[0], 5), 3)), GNTST_okay);

  EXPECT_EQ(guest().peek(page, 0, 16), ".....abc........");
}

TEST_F(GnttabCopyContract, AWholePageCopiesInOneSegment) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, kPageSize, 'w');

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), kPageSize)),
            GNTST_okay);

  EXPECT_EQ(buffer.substr(0, kPageSize), std::string(kPageSize, 'w'));
  EXPECT_EQ(buffer[kPageSize], '.');
}

TEST_F(GnttabCopyContract, LocalSideMayCrossPages) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, kPageSize, 'x');
  const auto misalignment = reinterpret_cast<std::uintptr_t>(buffer.data()) % kPageSize;  // NOLINT
  char* const across = buffer.data() + (kPageSize - misalignment) + 2000;

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), across, kPageSize)), GNTST_okay);

  EXPECT_EQ(std::string(across, kPageSize), std::string(kPageSize, 'x'));
  EXPECT_EQ(across[-1], '.');
  EXPECT_EQ(across[kPageSize], '.');
}

TEST_F(GnttabCopyContract, CopyThatCrossesAGrantPageIsRefused) {
  const PeerArea pages = guest().share(self(), 2);
  Segment from = from_guest(grant(pages.references[0], 4000), buffer.data(), 97);
  Segment to = to_guest(buffer.data(), grant(pages.references[0], 4000), 97);

  EXPECT_EQ(copy(from), EINVAL);
  EXPECT_EQ(copy(to), EINVAL);
}

TEST_F(GnttabCopyContract, CopyMayEndAtTheEndOfTheGrantPage) {
  const PeerArea page = guest().share(self(), 1);

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 4000), buffer.data(), 96)), GNTST_okay);
}

TEST_F(GnttabCopyContract, CopyFromLocalToLocalIsRefused) {
  Segment one = segment(16, 0);
  one.source = local(buffer.data());
  one.dest = local(buffer.data() + 64);

  EXPECT_EQ(copy(one), EINVAL);
}

TEST_F(GnttabCopyContract, CopyBetweenTwoGrants) {
  const PeerArea pages = guest().share(self(), 2);
  guest().fill(pages, 0, 8, 't');
  Segment one = segment(8, GNTCOPY_source_gref | GNTCOPY_dest_gref);
  one.source = grant(pages.references[0], 0);
  one.dest = grant(pages.references[1], 100);

  EXPECT_EQ(status_of(one), GNTST_okay);

  EXPECT_EQ(guest().peek(pages, kPageSize + 100, 8), "tttttttt");
}

TEST_F(GnttabCopyContract, ReadOnlyGrantCanBeCopiedFromButNotTo) {
  const PeerArea page = guest().share(self(), 1, "ro");
  guest().fill(page, 0, 4, 'r');

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 4)), GNTST_okay);
  EXPECT_EQ(status_of(to_guest(buffer.data() + 100, grant(page.references[0], 0), 4)),
            GNTST_general_error);

  EXPECT_EQ(buffer.substr(0, 4), "rrrr");
  EXPECT_EQ(guest().peek(page, 0, 4), "rrrr");
}

TEST_F(GnttabCopyContract, CopyOfAReferenceNeverGrantedReportsBadReference) {
  EXPECT_EQ(status_of(from_guest(grant(8000, 0), buffer.data(), 4)), GNTST_bad_gntref);
}

TEST_F(GnttabCopyContract, CopyOfAReferenceBeyondTheTableReportsBadReference) {
  EXPECT_EQ(status_of(from_guest(grant(0xfffffff0U, 0), buffer.data(), 4)), GNTST_bad_gntref);
}

TEST_F(GnttabCopyContract, CopyOfARevokedReferenceIsRefusedAndMovesNothing) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 4, 's');

  guest().release(page);

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 4)),
            GNTST_general_error);
  EXPECT_EQ(buffer.substr(0, 4), "....");
}

TEST_F(GnttabCopyContract, CopyOfAReferenceGrantedToAnotherDomainIsRefused) {
  const PeerArea page = guest().share(world().nobody(), 1);

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 4)),
            GNTST_general_error);
}

TEST_F(GnttabCopyContract, CopyFromADomainThatDoesNotExistReportsBadDomain) {
  EXPECT_EQ(status_of(from_guest(grant(8, 0, world().nobody()), buffer.data(), 4)),
            GNTST_bad_domain);
}

TEST_F(GnttabCopyContract, CopyReportsAStatusPerSegment) {
  const PeerArea pages = guest().share(self(), 2);
  guest().fill(pages, 0, 2 * kPageSize, 'p');
  std::vector<Segment> segments{
      from_guest(grant(pages.references[0], 0), buffer.data(), 4),
      from_guest(grant(8000, 0), buffer.data() + 10, 4),
      from_guest(grant(pages.references[1], 0), buffer.data() + 20, 4),
  };

  EXPECT_EQ(copy(segments), 0) << "a bad segment is no error of the call";

  EXPECT_EQ(segments[0].status, GNTST_okay);
  EXPECT_EQ(segments[1].status, GNTST_bad_gntref);
  EXPECT_EQ(segments[2].status, GNTST_okay);
  EXPECT_EQ(buffer.substr(0, 30), "pppp................pppp......");
}

TEST_F(GnttabCopyContract, ASegmentThatIsNoCopyRefusesTheWholeCall) {
  const PeerArea page = guest().share(self(), 1);
  std::vector<Segment> segments{
      from_guest(grant(page.references[0], 0), buffer.data(), 4),
      from_guest(grant(page.references[0], 4095), buffer.data() + 10, 2),  // crosses the page
      from_guest(grant(page.references[0], 0), buffer.data() + 20, 4),
  };

  EXPECT_EQ(copy(segments), EINVAL);

  EXPECT_EQ(segments[2].status, kUntouched);
  EXPECT_EQ(buffer.substr(20, 4), "....");
}

TEST_F(GnttabCopyContract, AnEmptySegmentIsOkayWhateverItNames) {
  const PeerArea page = guest().share(self(), 1);

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 0)), GNTST_okay);
  EXPECT_EQ(status_of(from_guest(grant(8000, 0), buffer.data(), 0)), GNTST_okay);
}

TEST_F(GnttabCopyContract, ACallWithoutSegmentsSucceeds) {
  EXPECT_EQ(copy(std::span<Segment>{}), 0);
}

TEST_F(GnttabCopyContract, SeventeenSegmentsInOneCall) {
  const PeerArea page = guest().share(self(), 1);
  guest().fill(page, 0, 17, 'm');
  std::vector<Segment> segments;
  segments.reserve(17);
  for (std::size_t i = 0; i < 17; ++i)
    segments.push_back(from_guest(grant(page.references[0], i), buffer.data() + 2 * i, 1));

  ASSERT_EQ(copy(segments), 0);

  for (const Segment& one : segments) EXPECT_EQ(one.status, GNTST_okay);
  EXPECT_EQ(buffer.substr(0, 36), "m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m.m...");
}

TEST_F(GnttabCopyContract, AThousandAndMoreSegmentsInOneCall) {
  const PeerArea pages = guest().share(self(), 2);
  guest().fill(pages, 0, 2 * kPageSize, 'k');
  constexpr std::size_t kCount = 1200;
  std::vector<Segment> segments;
  segments.reserve(kCount);
  for (std::size_t i = 0; i < kCount; ++i)
    segments.push_back(from_guest(grant(pages.references[i % 2], 3 * i), buffer.data() + 3 * i, 3));

  ASSERT_EQ(copy(segments), 0);

  for (const Segment& one : segments) ASSERT_EQ(one.status, GNTST_okay);
  EXPECT_EQ(buffer.substr(0, 3 * kCount), std::string(3 * kCount, 'k'));
  EXPECT_EQ(buffer[3 * kCount], '.');
}

TEST_F(GnttabCopyContract, ABadSegmentFarBackIsReportedWhereItIs) {
  const PeerArea page = guest().share(self(), 1);
  std::vector<Segment> segments;
  segments.reserve(1200);
  for (std::size_t i = 0; i < 1200; ++i)
    segments.push_back(from_guest(grant(page.references[0], i), buffer.data() + i, 1));
  segments[1100] = from_guest(grant(8000, 0), buffer.data(), 1);

  ASSERT_EQ(copy(segments), 0);

  for (std::size_t i = 0; i < 1200; ++i)
    ASSERT_EQ(segments[i].status, i == 1100 ? GNTST_bad_gntref : GNTST_okay) << i;
}

TEST_F(GnttabCopyContract, BothDirectionsInOneCall) {
  const PeerArea pages = guest().share(self(), 2);
  guest().fill(pages, 0, 4, 'i');
  buffer.replace(100, 4, "oooo");
  std::vector<Segment> segments{
      from_guest(grant(pages.references[0], 0), buffer.data(), 4),
      to_guest(buffer.data() + 100, grant(pages.references[1], 0), 4),
  };

  ASSERT_EQ(copy(segments), 0);

  EXPECT_EQ(buffer.substr(0, 4), "iiii");
  EXPECT_EQ(guest().peek(pages, kPageSize, 4), "oooo");
}

TEST_F(GnttabCopyContract, SegmentsAreDoneInTheOrderGiven) {
  const PeerArea page = guest().share(self(), 1);
  buffer.replace(0, 2, "12");
  std::vector<Segment> segments;
  segments.reserve(80);
  for (int i = 0; i < 40; ++i) {
    segments.push_back(to_guest(buffer.data() + 1, grant(page.references[0], 0), 1));
    segments.push_back(to_guest(buffer.data() + 0, grant(page.references[0], 0), 1));
  }

  ASSERT_EQ(copy(segments), 0);

  EXPECT_EQ(guest().peek(page, 0, 1), "1");
}

TEST_F(GnttabCopyContract, CopyWorksOnAPageThatIsAlsoMapped) {
  const PeerArea page = guest().share(self(), 1);
  const auto mapping = map(page);
  ASSERT_TRUE(mapping.has_value());
  mapping->bytes()[0] = 'q';

  EXPECT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 1)), GNTST_okay);

  EXPECT_EQ(buffer[0], 'q');
}

TEST_F(GnttabCopyContract, CopyLeavesNothingBehindThatKeepsAccessAlive) {
  const PeerArea page = guest().share(self(), 1);
  ASSERT_EQ(status_of(from_guest(grant(page.references[0], 0), buffer.data(), 8)), GNTST_okay);

  guest().release(page);

  EXPECT_EQ(map_error(page), EINVAL);
}

TEST_F(GnttabCopyContract, CopyToMemoryThatIsNotThereIsEfault) {
  const PeerArea page = guest().share(self(), 1);
  void* const gone =
      mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(gone, MAP_FAILED);
  ASSERT_EQ(munmap(gone, kPageSize), 0);
  Segment one = from_guest(grant(page.references[0], 0), gone, 8);

  EXPECT_EQ(copy(one), EFAULT);
}

TEST_F(GnttabCopyContract, CopyToMemoryThatIsReadOnlyIsEfault) {
  const PeerArea page = guest().share(self(), 1);
  void* const read_only = mmap(nullptr, kPageSize, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(read_only, MAP_FAILED);
  Segment one = from_guest(grant(page.references[0], 0), read_only, 8);

  EXPECT_EQ(copy(one), EFAULT);

  munmap(read_only, kPageSize);
}

}  // namespace
}  // namespace vmsg::contract
