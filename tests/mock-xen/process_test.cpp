// The mock's shared libraries under programs that were linked to the real ones: several processes
// in several domains, and what a kill with SIGKILL leaves behind (nothing).
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <string>

#include "tests/mock-xen/handles_for_test.hpp"
#include "tests/mock-xen/process_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

class Processes : public MockWorld {
 protected:
  std::vector<std::string> environment(std::uint32_t domid) const {
    std::vector<std::string> variables = xen.environment(domid);
    variables.emplace_back("LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES);
    return variables;
  }
  std::unique_ptr<ChildProcess> start_actor(std::uint32_t domid) {
    auto actor = std::make_unique<ChildProcess>(std::vector<std::string>{VMSG_MOCK_ACTOR},
                                                environment(domid));
    EXPECT_EQ(actor->read_line(), "ready");
    return actor;
  }
  static evtchn_port_t port(int number) { return static_cast<evtchn_port_t>(number); }
};

TEST_F(Processes, TwoProgramsTalk) {
  const auto guest = start_actor(kGuest);
  const auto backend = start_actor(0);

  const std::string offered = guest->ask("offer 0");
  const std::string ref = guest->ask("share 0 1");
  guest->ask("put 42");
  const std::string bound = backend->ask("bind 3 " + offered);
  EXPECT_EQ(backend->ask("wait"), bound) << "the event of the connection itself";
  EXPECT_EQ(backend->ask("map 3 " + ref), "42");
  EXPECT_EQ(backend->ask("copy 3 " + ref), "0");
  EXPECT_EQ(guest->ask("notify " + offered), "0");
  EXPECT_EQ(backend->ask("wait"), bound);
  EXPECT_EQ(backend->ask("notify " + bound), "0");
  EXPECT_EQ(guest->ask("wait"), offered);
}

TEST_F(Processes, TheProgramReallyRunsOnTheMock) {
  const auto guest = start_actor(kGuest);

  EXPECT_THAT(xen.what_is_left(kGuest),
              Contains(HasSubstr("handle of process " + std::to_string(guest->pid()))));
}

TEST_F(Processes, AKilledProcessHoldsNothing) {
  const auto guest = start_actor(kGuest);
  const auto backend = start_actor(0);
  const std::string offered = guest->ask("offer 0");
  const std::string ref = guest->ask("share 0 4");
  backend->ask("bind 3 " + offered);
  backend->ask("map 3 " + ref);
  EXPECT_THAT(xen.what_is_left(0), Not(IsEmpty()));

  backend->kill();
  EXPECT_THAT(xen.what_is_left(0), IsEmpty());

  guest->kill();
  EXPECT_THAT(xen.what_is_left(), IsEmpty());
}

TEST_F(Processes, PagesOfAKilledGuestLiveWhileTheyAreMapped) {
  const auto guest = start_actor(kGuest);
  const std::string ref = guest->ask("share 0 1");
  guest->ask("put 7");
  const Gnttab backend = open_gnttab(0);
  auto* const mapped = static_cast<char*>(xengnttab_map_grant_ref(
      backend.get(), kGuest, static_cast<std::uint32_t>(std::stoul(ref)), PROT_READ));
  ASSERT_NE(mapped, nullptr);

  guest->kill();

  EXPECT_EQ(*mapped, 7);
  EXPECT_THAT(xen.what_is_left(kGuest), ElementsAre(HasSubstr("still in use")));
  EXPECT_EQ(xengnttab_unmap(backend.get(), mapped, 1), 0);
}

TEST_F(Processes, AKilledProcessIsToldByItsUnmapNotification) {
  const Evtchn guest = open_evtchn(kGuest);
  const Gntshr memory = open_gntshr(kGuest);
  const int offered = xenevtchn_bind_unbound_port(guest.get(), 0);
  std::uint32_t ref = 0;
  auto* const page = static_cast<char*>(xengntshr_share_pages(memory.get(), 0, 1, &ref, 1));
  *page = 9;
  const auto backend = start_actor(0);
  backend->ask("bind 3 " + std::to_string(offered));
  ASSERT_EQ(backend->ask("map-notify 3 " + std::to_string(ref)), "9");

  backend->kill();

  EXPECT_EQ(xenevtchn_pending(guest.get()), offered);
  EXPECT_EQ(*page, 0);
  EXPECT_THAT(xen.what_is_left(0), IsEmpty());
  EXPECT_EQ(xengntshr_unshare(memory.get(), page, 1), 0);
}

TEST_F(Processes, ASuccessorTakesOverFromAKilledBackend) {
  const Evtchn guest = open_evtchn(kGuest);
  const int offered = xenevtchn_bind_unbound_port(guest.get(), 0);

  // Killed at any moment of a flood of notifies, twenty times: the guest's port never gets stuck.
  for (int round = 0; round < 20; ++round) {
    const auto backend = start_actor(0);
    const std::string bound = backend->ask("bind 3 " + std::to_string(offered));
    ASSERT_THAT(bound, Not(HasSubstr("errno"))) << "round " << round;
    ASSERT_EQ(backend->ask("flood " + bound), "flooding");
    for (int i = 0; i < 100; ++i) {
      ASSERT_EQ(xenevtchn_pending(guest.get()), offered);
      ASSERT_EQ(xenevtchn_unmask(guest.get(), port(offered)), 0);
    }
    backend->kill();
    EXPECT_THAT(xen.what_is_left(0), IsEmpty());
    fired(guest.get());
    ASSERT_EQ(xenevtchn_unmask(guest.get(), port(offered)), 0);
    fired(guest.get());
    ASSERT_EQ(xenevtchn_unmask(guest.get(), port(offered)), 0);
  }
}

TEST_F(Processes, ACopierKilledInACopyReleasesThePage) {
  const Gntshr guest = open_gntshr(kGuest);

  for (int round = 0; round < 10; ++round) {
    std::uint32_t ref = 0;
    void* const page = xengntshr_share_pages(guest.get(), 0, 1, &ref, 1);
    const auto backend = start_actor(0);
    ASSERT_EQ(backend->ask("pound 3 " + std::to_string(ref)), "pounding");
    backend->kill();

    EXPECT_EQ(xengntshr_unshare(guest.get(), page, 1), 0);
    EXPECT_THAT(xen.what_is_left(kGuest), Not(Contains(HasSubstr("still in use"))));
  }
}

TEST_F(Processes, SharingEndsUnderARunningCopier) {
  const Gntshr guest = open_gntshr(kGuest);
  std::uint32_t ref = 0;
  void* const page = xengntshr_share_pages(guest.get(), 0, 1, &ref, 1);
  const auto backend = start_actor(0);
  ASSERT_EQ(backend->ask("pound 3 " + std::to_string(ref)), "pounding");

  EXPECT_EQ(xengntshr_unshare(guest.get(), page, 1), 0);

  // Its copies fail from now on, and it is ready for the next command.
  EXPECT_EQ(backend->ask("copy 3 " + std::to_string(ref)), std::to_string(GNTST_general_error));
}

TEST_F(Processes, AProgramWithoutAWorldIsTold) {
  ChildProcess lost({VMSG_MOCK_ACTOR},
                    {"XEN_MOCK=/nonexistent", "LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES});

  EXPECT_EQ(lost.read_line(), "errno " + std::to_string(ENOENT));
  EXPECT_EQ(lost.wait(), 1);
}

TEST_F(Processes, AProgramInADomainThatDoesNotExistIsTold) {
  ChildProcess lost({VMSG_MOCK_ACTOR}, environment(99));

  EXPECT_EQ(lost.read_line(), "errno " + std::to_string(ENXIO));
}

}  // namespace
}  // namespace vmsg::mock
