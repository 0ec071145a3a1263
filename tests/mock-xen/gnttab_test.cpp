// Grants of the mock, through xengnttab.h: sharing, mapping, unmapping, and what a mapping keeps
// the granting side from doing. The rules of Xen and of Linux's gntdev and gntalloc drivers.
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <span>

#include "tests/mock-xen/handles_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::Contains;
using testing::Each;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

constexpr std::size_t kPage = 4096;

class Grants : public MockWorld {
 protected:
  Grants() : guest(open_gntshr(kGuest)), backend(open_gnttab(0)) {}

  ~Grants() override {
    if (shared == nullptr) return;
    EXPECT_EQ(xengntshr_unshare(guest.get(), shared, shared_count), 0);
  }

  void share(int count, bool writable = true) {
    shared = static_cast<char*>(
        xengntshr_share_pages(guest.get(), 0, count, refs.data(), writable ? 1 : 0));
    ASSERT_NE(shared, nullptr);
    shared_count = static_cast<std::uint32_t>(count);
  }
  void unshare() {
    EXPECT_EQ(xengntshr_unshare(guest.get(), shared, shared_count), 0);
    shared = nullptr;
  }
  char* map(std::uint32_t count, int prot = PROT_READ | PROT_WRITE) {
    return static_cast<char*>(
        xengnttab_map_domain_grant_refs(backend.get(), count, kGuest, refs.data(), prot));
  }
  int unmap(char* pages, std::uint32_t count) {
    return xengnttab_unmap(backend.get(), pages, count);
  }

  Gntshr guest;
  Gnttab backend;
  char* shared = nullptr;
  std::uint32_t shared_count = 0;
  std::array<std::uint32_t, 2048> refs{};
};

using GrantsDeathTest = Grants;

TEST_F(Grants, BothSidesSeeTheSameBytes) {
  share(1);
  char* const mapped = map(1);
  ASSERT_NE(mapped, nullptr);

  std::strcpy(shared, "from the guest");
  EXPECT_STREQ(mapped, "from the guest");
  std::strcpy(mapped + 100, "from the backend");
  EXPECT_STREQ(shared + 100, "from the backend");

  EXPECT_EQ(unmap(mapped, 1), 0);
}

TEST_F(Grants, ReferencesOfOneSharingAreConsecutive) {
  share(3);

  EXPECT_EQ(refs[1], refs[0] + 1);
  EXPECT_EQ(refs[2], refs[0] + 2);
}

TEST_F(Grants, ScatteredReferencesAreNotConsecutiveAndMapContiguously) {
  xen.set_scattered_references(true);
  share(3);
  for (std::size_t i = 0; i < 3; ++i) shared[i * kPage] = static_cast<char>('a' + i);
  char* const mapped = map(3);

  EXPECT_NE(refs[1], refs[0] + 1);
  EXPECT_EQ(mapped[0], 'a');
  EXPECT_EQ(mapped[kPage], 'b');
  EXPECT_EQ(mapped[2 * kPage], 'c');
  EXPECT_EQ(unmap(mapped, 3), 0);
}

TEST_F(Grants, SharedPagesComeZeroed) {
  share(1);
  std::memset(shared, 0x5a, kPage);
  const std::uint32_t before = refs[0];
  unshare();

  share(1);

  EXPECT_EQ(refs[0], before);
  EXPECT_THAT(std::span(shared, kPage), Each(0));
}

// A sanitizer soon puts something of its own at an address that became free.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST_F(GrantsDeathTest, UseAfterUnmapFaults) {
  share(1);
  char* const mapped = map(1);
  ASSERT_EQ(unmap(mapped, 1), 0);

  EXPECT_DEATH(*static_cast<volatile char*>(mapped) = 1, "");
}
#endif

TEST_F(GrantsDeathTest, WriteToAReadOnlyMappingFaults) {
  share(1);
  char* const mapped = map(1, PROT_READ);
  ASSERT_NE(mapped, nullptr);

  EXPECT_DEATH(*static_cast<volatile char*>(mapped) = 1, "");
  EXPECT_EQ(unmap(mapped, 1), 0);
}

TEST_F(Grants, AReadOnlyGrantMapsReadOnly) {
  share(1, false);
  std::strcpy(shared, "look");

  char* const mapped = map(1, PROT_READ);

  ASSERT_NE(mapped, nullptr);
  EXPECT_STREQ(mapped, "look");
  EXPECT_EQ(unmap(mapped, 1), 0);
}

TEST_F(Grants, AWritableMappingOfAReadOnlyGrantIsRefused) {
  share(1, false);

  EXPECT_EQ(map(1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, PagesOfSeveralDomainsMapContiguously) {
  xen.create_domain(5);
  const Gntshr other = open_gntshr(5);
  std::uint32_t other_ref = 0;
  auto* const other_page =
      static_cast<char*>(xengntshr_share_pages(other.get(), 0, 1, &other_ref, 1));
  share(1);
  *shared = 'g';
  *other_page = 'o';
  std::array<std::uint32_t, 2> domids = {5, kGuest};
  std::array<std::uint32_t, 2> mixed = {other_ref, refs[0]};

  auto* const mapped = static_cast<char*>(xengnttab_map_grant_refs(
      backend.get(), 2, domids.data(), mixed.data(), PROT_READ | PROT_WRITE));

  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(mapped[0], 'o');
  EXPECT_EQ(mapped[kPage], 'g');
  EXPECT_EQ(unmap(mapped, 2), 0);
  EXPECT_EQ(xengntshr_unshare(other.get(), other_page, 1), 0);
}

TEST_F(Grants, OneGrantCanBeMappedTwice) {
  share(1);
  char* const first = map(1);
  char* const second = map(1);

  *first = 'x';
  EXPECT_NE(first, second);
  EXPECT_EQ(*second, 'x');

  EXPECT_EQ(unmap(first, 1), 0);
  EXPECT_EQ(*second, 'x');
  EXPECT_EQ(unmap(second, 1), 0);
}

// --- Refusals --------------------------------------------------------------------------------

TEST_F(Grants, MapOfAReferenceNeverGrantedIsRefused) {
  refs[0] = 300;

  EXPECT_EQ(map(1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, MapOfAReferenceBeyondTheTableIsRefused) {
  refs[0] = 0xffffffff;

  EXPECT_EQ(map(1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, MapOfARevokedReferenceIsRefused) {
  share(1);
  unshare();

  EXPECT_EQ(map(1), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, MapOfAReferenceGrantedToAnotherDomainIsRefused) {
  xen.create_domain(5);
  const Gnttab stranger = open_gnttab(5);
  share(1);

  EXPECT_EQ(xengnttab_map_grant_ref(stranger.get(), kGuest, refs[0], PROT_READ), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, MapFromADomainThatDoesNotExistIsRefused) {
  EXPECT_EQ(xengnttab_map_grant_ref(backend.get(), 99, 8, PROT_READ), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, MapOfNothingIsRefused) {
  EXPECT_EQ(map(0), nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Grants, OneBadReferenceRefusesTheWholeMapping) {
  share(2);
  refs[1] = 300;

  EXPECT_EQ(map(2), nullptr);

  EXPECT_THAT(xen.what_is_left(0), Not(Contains(HasSubstr("mapping"))));
}

TEST_F(Grants, MaptrackIsLimited) {
  xen.set_limit(0, Limit::kMaptrack, 1);
  share(2);
  char* const mapped = map(1);
  ASSERT_NE(mapped, nullptr);

  EXPECT_EQ(map(2), nullptr);
  EXPECT_EQ(errno, EINVAL);
  EXPECT_EQ(unmap(mapped, 1), 0);
}

TEST_F(Grants, SharedPagesAreLimited) {
  share(1000);

  EXPECT_EQ(xengntshr_share_pages(guest.get(), 0, 25, refs.data(), 1), nullptr);
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(Grants, TheGrantTableIsLimited) {
  xen.set_limit(kGuest, Limit::kGrantEntries, 64);

  EXPECT_EQ(xengntshr_share_pages(guest.get(), 0, 64, refs.data(), 1), nullptr);
  EXPECT_EQ(errno, ENOSPC);
}

TEST_F(Grants, UnmapOfAnotherNumberOfPagesIsRefused) {
  share(2);
  char* const mapped = map(2);

  EXPECT_THAT(unmap(mapped, 1), FailsWith(EINVAL));
  EXPECT_THAT(unmap(mapped + kPage, 1), FailsWith(EINVAL));

  EXPECT_EQ(unmap(mapped, 2), 0);
}

TEST_F(Grants, UnmapTwiceIsRefused) {
  share(1);
  char* const mapped = map(1);
  EXPECT_EQ(unmap(mapped, 1), 0);

  EXPECT_THAT(unmap(mapped, 1), FailsWith(EINVAL));
}

TEST_F(Grants, SetMaxGrantsIsAcceptedAndMeansNothing) {
  share(2);
  EXPECT_EQ(xengnttab_set_max_grants(backend.get(), 1), 0);

  char* const mapped = map(2);

  ASSERT_NE(mapped, nullptr);
  EXPECT_EQ(unmap(mapped, 2), 0);
}

// --- Who keeps whom --------------------------------------------------------------------------

TEST_F(Grants, AMappingKeepsThePageGranted) {
  share(1);
  const std::uint32_t ref = refs[0];
  char* const mapped = map(1);
  *mapped = 'k';

  unshare();

  EXPECT_THAT(xen.what_is_left(kGuest), Contains(HasSubstr("still in use")));
  EXPECT_EQ(*mapped, 'k');
  share(1);
  EXPECT_NE(refs[0], ref) << "the page was given away while it was mapped";
  EXPECT_EQ(unmap(mapped, 1), 0);
  EXPECT_THAT(xen.what_is_left(kGuest), Not(Contains(HasSubstr("still in use"))));
}

TEST_F(Grants, ClosingAHandleDoesNotUnmap) {
  share(1);
  char* const mapped = map(1);
  *mapped = 'm';

  backend.reset();

  EXPECT_EQ(*mapped, 'm');
  EXPECT_THAT(xen.what_is_left(0), ElementsAre(HasSubstr("mapping of reference")));
  xen.destroy_domain(kGuest);
  EXPECT_TRUE(xen.is_dying(kGuest));
  shared = nullptr;
  guest.reset();
  // Only the end of the process gives it back: this world ends with something left, on purpose.
  leaks_on_purpose = true;
}

TEST_F(Grants, ADestroyedDomainIsDyingWhileItsPagesAreMapped) {
  share(1);
  char* const mapped = map(1);
  *mapped = 'z';

  xen.destroy_domain(kGuest);
  shared = nullptr;

  EXPECT_TRUE(xen.is_dying(kGuest));
  EXPECT_EQ(*mapped, 'z');
  EXPECT_EQ(map(1), nullptr) << "its grants are gone";
  EXPECT_EQ(unmap(mapped, 1), 0);
  EXPECT_FALSE(xen.is_dying(kGuest));
}

TEST_F(Grants, ADestroyedDomainLosesWhatItHadMapped) {
  share(1);
  xen.create_domain(5);
  const Gntshr own = open_gntshr(0);
  const Gnttab mapper = open_gnttab(5);
  std::uint32_t ref = 0;
  void* const page = xengntshr_share_pages(own.get(), 5, 1, &ref, 1);
  ASSERT_NE(xengnttab_map_grant_ref(mapper.get(), 0, ref, PROT_READ), nullptr);

  xen.destroy_domain(5);

  EXPECT_EQ(xengntshr_unshare(own.get(), page, 1), 0);
  EXPECT_THAT(xen.what_is_left(0), Not(Contains(HasSubstr("still in use"))));
}

TEST_F(Grants, DomainNumbersCanBeUsedAgain) {
  share(1);
  const std::uint32_t old_ref = refs[0];
  xen.destroy_domain(kGuest);
  shared = nullptr;
  xen.create_domain(kGuest);

  refs[0] = old_ref;
  EXPECT_EQ(map(1), nullptr);
}

TEST_F(Grants, CountersTellWhatWasDone) {
  share(3);
  char* const mapped = map(3);
  unmap(mapped, 3);

  EXPECT_EQ(xen.stats(kGuest).share_calls, 1U);
  EXPECT_EQ(xen.stats(kGuest).shared_pages, 3U);
  EXPECT_EQ(xen.stats(0).map_calls, 1U);
  EXPECT_EQ(xen.stats(0).mapped_pages, 3U);
  EXPECT_EQ(xen.stats(0).unmap_calls, 1U);
  EXPECT_EQ(xen.stats(0).unmapped_pages, 3U);
}

// --- Unmap notification ----------------------------------------------------------------------

class UnmapNotification : public Grants {
 protected:
  UnmapNotification() : guest_events(open_evtchn(kGuest)), backend_events(open_evtchn(0)) {
    guest_port = xenevtchn_bind_unbound_port(guest_events.get(), 0);
    backend_port = xenevtchn_bind_interdomain(backend_events.get(), kGuest,
                                              static_cast<evtchn_port_t>(guest_port));
    fired(backend_events.get());
    xenevtchn_unmask(backend_events.get(), static_cast<evtchn_port_t>(backend_port));
  }

  char* map_with_notify(std::uint32_t offset) {
    return static_cast<char*>(
        xengnttab_map_grant_ref_notify(backend.get(), kGuest, refs[0], PROT_READ | PROT_WRITE,
                                       offset, static_cast<evtchn_port_t>(backend_port)));
  }

  Evtchn guest_events;
  Evtchn backend_events;
  int guest_port = -1;
  int backend_port = -1;
};

TEST_F(UnmapNotification, UnmapClearsTheByteAndSendsTheEvent) {
  share(1);
  std::strcpy(shared, "abc");
  char* const mapped = map_with_notify(1);
  ASSERT_NE(mapped, nullptr);

  EXPECT_EQ(unmap(mapped, 1), 0);

  EXPECT_EQ(shared[0], 'a');
  EXPECT_EQ(shared[1], 0);
  EXPECT_EQ(shared[2], 'c');
  EXPECT_THAT(fired(guest_events.get()), ElementsAre(guest_port));
}

TEST_F(UnmapNotification, TheEventIsSentEvenWhenThePortWasClosedBefore) {
  share(1);
  char* const mapped = map_with_notify(0);
  backend_events.reset();

  EXPECT_EQ(unmap(mapped, 1), 0);

  EXPECT_THAT(fired(guest_events.get()), ElementsAre(guest_port));
}

TEST_F(UnmapNotification, APortThatDoesNotExistIsRefusedAndNothingIsMapped) {
  share(1);

  EXPECT_EQ(xengnttab_map_grant_ref_notify(backend.get(), kGuest, refs[0], PROT_READ | PROT_WRITE,
                                           0, 1000),
            nullptr);

  EXPECT_EQ(errno, EINVAL);
  EXPECT_THAT(xen.what_is_left(0), Not(Contains(HasSubstr("mapping"))));
}

TEST_F(UnmapNotification, AByteOfAReadOnlyMappingCannotBeCleared) {
  share(1);

  EXPECT_EQ(xengnttab_map_grant_ref_notify(backend.get(), kGuest, refs[0], PROT_READ, 0,
                                           static_cast<evtchn_port_t>(-1)),
            nullptr);
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(UnmapNotification, UnshareClearsTheByteAndSendsTheEvent) {
  std::uint32_t ref = 0;
  auto* const page = static_cast<char*>(xengntshr_share_page_notify(
      guest.get(), 0, &ref, 1, 7, static_cast<evtchn_port_t>(guest_port)));
  ASSERT_NE(page, nullptr);
  std::memset(page, 'x', 16);
  refs[0] = ref;
  char* const mapped = map(1);

  EXPECT_EQ(xengntshr_unshare(guest.get(), page, 1), 0);

  EXPECT_EQ(mapped[6], 'x');
  EXPECT_EQ(mapped[7], 0);
  EXPECT_THAT(fired(backend_events.get()), ElementsAre(backend_port));
  EXPECT_EQ(unmap(mapped, 1), 0);
}

// --- Deferred unmap --------------------------------------------------------------------------

TEST_F(UnmapNotification, ADeferredUnmapSucceedsButKeepsTheGrant) {
  share(1);
  char* const mapped = map_with_notify(0);
  *mapped = 's';
  xen.set_deferred_unmap(true);

  EXPECT_EQ(unmap(mapped, 1), 0);

  EXPECT_THAT(xen.what_is_left(0), Contains(HasSubstr("deferred unmap of reference")));
  EXPECT_EQ(*shared, 0) << "the byte is cleared when the unmap begins";
  EXPECT_THAT(fired(guest_events.get()), IsEmpty()) << "the event comes when it is done";
  unshare();
  EXPECT_THAT(xen.what_is_left(kGuest), Contains(HasSubstr("still in use")));

  EXPECT_EQ(xen.complete_deferred_unmaps(), 1U);

  EXPECT_THAT(fired(guest_events.get()), ElementsAre(guest_port));
  EXPECT_THAT(xen.what_is_left(kGuest), Not(Contains(HasSubstr("still in use"))));
}

TEST_F(UnmapNotification, TurningDeferredUnmapOffCompletesWhatWaits) {
  share(1);
  char* const mapped = map(1);
  xen.set_deferred_unmap(true);
  unmap(mapped, 1);

  xen.set_deferred_unmap(false);

  EXPECT_THAT(xen.what_is_left(0), Not(Contains(HasSubstr("deferred"))));
}

// --- What is not mocked ----------------------------------------------------------------------

TEST_F(Grants, DmaBuffersAreNotMocked) {
  std::uint32_t out = 0;

  EXPECT_THAT(xengnttab_dmabuf_exp_from_refs(backend.get(), kGuest, 0, 1, refs.data(), &out),
              FailsWith(ENOSYS));
  EXPECT_THAT(xengnttab_dmabuf_exp_wait_released(backend.get(), 0, 1), FailsWith(ENOSYS));
  EXPECT_THAT(xengnttab_dmabuf_imp_to_refs(backend.get(), kGuest, 0, 1, refs.data()),
              FailsWith(ENOSYS));
  EXPECT_THAT(xengnttab_dmabuf_imp_release(backend.get(), 0), FailsWith(ENOSYS));
}

}  // namespace
}  // namespace vmsg::mock
