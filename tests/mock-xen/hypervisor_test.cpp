// What happens when a client dies between two instructions: the broker's side of the mock, driven
// without a broker, with the shared segment as the dead client would have left it.
#include "tests/mock-xen/hypervisor.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <vector>

#include "tests/mock-xen/event_bits.hpp"
#include "tests/mock-xen/event_reader.hpp"
#include "tests/mock-xen/handles_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

constexpr std::uint32_t kGuest = 3;

class DeadClient : public testing::Test {
 protected:
  DeadClient() : hypervisor(Hypervisor::create()) {
    EXPECT_EQ(hypervisor->create_domain(kGuest), 0);
  }

  Hypervisor::Opened open(Service service, std::uint32_t domid) {
    return hypervisor->open_handle(service, domid, 1);
  }
  Reply ask(Handle& handle, const Request& request) {
    return hypervisor->serve(handle, request, {}).reply;
  }
  std::atomic<std::uint64_t>& port_word(std::uint32_t domid, std::uint32_t port) {
    return hypervisor->segment().find_domain(domid)->ports[port];
  }

  /// What a client that polls the handle finds.
  std::vector<std::uint32_t> take_events(const Handle& handle) {
    ::fcntl(handle.bell.get(), F_SETFL, O_NONBLOCK);
    EventReader reader(UniqueFd(::dup(handle.numbers.get())), UniqueFd(::dup(handle.bell.get())),
                       hypervisor->segment().handles[handle.slot].bell, handle.id);
    std::vector<std::uint32_t> ports;
    std::uint32_t port = 0;
    while (is_readable(reader.fd()) && reader.next(port)) ports.push_back(port);
    return ports;
  }

  std::unique_ptr<Hypervisor> hypervisor;
};

/// A backend that fires the guest's port and dies in the middle of it.
class DeadNotifier : public DeadClient {
 protected:
  DeadNotifier() {
    offered = ask(*guest.handle, {.op = Op::kBindUnbound, .domid = 0}).value;
    ask(*backend.handle, {.op = Op::kBindInterdomain, .domid = kGuest, .port = offered});
    Segment& segment = hypervisor->segment();
    segment.handles[backend.handle->slot].notifying =
        hazard_of(segment.slot_of(*segment.find_domain(kGuest)), offered);
    std::uint64_t seen = port_word(kGuest, offered).load();
    Raised raised = Raised::kDropped;
    EXPECT_TRUE(try_raise(port_word(kGuest, offered), seen, raised));
    EXPECT_EQ(raised, Raised::kMustWake);
  }

  void die() { hypervisor->close_handle(backend.handle->id); }

  Hypervisor::Opened guest = open(Service::kEvtchn, kGuest);
  Hypervisor::Opened backend = open(Service::kEvtchn, 0);
  std::uint32_t offered = 0;
};

TEST_F(DeadNotifier, WhatWasMaskedAndNotPostedIsPosted) {
  die();

  EXPECT_THAT(take_events(*guest.handle), testing::ElementsAre(offered));
}

TEST_F(DeadNotifier, WhatWasPostedAndHasNotRungRings) {
  const Handle& handle = *guest.handle;
  ASSERT_EQ(::write(handle.numbers.get(), &offered, sizeof(offered)), sizeof(offered));
  hypervisor->segment().handles[handle.slot].bell = rung_bell(handle.id);
  ASSERT_FALSE(is_readable(handle.bell.get()));

  die();

  EXPECT_THAT(take_events(handle), testing::Contains(offered));
  EXPECT_TRUE(take_events(handle).empty());
  EXPECT_EQ(hypervisor->segment().handles[handle.slot].bell, quiet_bell(handle.id))
      << "the next one rings";
}

TEST_F(DeadClient, ACopyUnderWayKeepsThePageUntilTheCopierIsGone) {
  const Hypervisor::Opened guest = open(Service::kGntshr, kGuest);
  const Hypervisor::Opened copier = open(Service::kGnttab, 0);
  Request share{.op = Op::kShare, .domid = 0};
  share.count = 1;
  const Hypervisor::Answer shared = hypervisor->serve(*guest.handle, share, {});
  std::uint32_t ref = 0;
  std::memcpy(&ref, shared.payload.data(), sizeof(ref));
  Segment& segment = hypervisor->segment();
  segment.handles[copier.handle->slot].hazards[0] =
      hazard_of(segment.slot_of(*segment.find_domain(kGuest)), ref);

  Request unshare{.op = Op::kUnshare};
  unshare.id = shared.reply.id;
  EXPECT_EQ(ask(*guest.handle, unshare).error, 0);

  EXPECT_THAT(hypervisor->held(kGuest), Contains(HasSubstr("still in use")));
  EXPECT_TRUE(hypervisor->settle()) << "it wants to try again";

  hypervisor->close_handle(copier.handle->id);

  EXPECT_FALSE(hypervisor->settle());
  EXPECT_THAT(hypervisor->held(kGuest), Not(Contains(HasSubstr("still in use"))));
}

TEST_F(DeadClient, HandlesAreReusedWithNewNames) {
  const std::uint32_t first = open(Service::kGnttab, 0).handle->id;
  hypervisor->close_handle(first);

  EXPECT_NE(open(Service::kGnttab, 0).handle->id, first);
}

TEST_F(DeadClient, RequestsOfAnotherKindOfHandleAreRefused) {
  const Hypervisor::Opened copier = open(Service::kGnttab, 0);

  EXPECT_EQ(ask(*copier.handle, {.op = Op::kBindUnbound}).error, ENOTTY);
}

}  // namespace
}  // namespace vmsg::mock
