// The nodes of a bus: what each side writes, what it believes, and what is left at the end.
#include "xenbus-glue/bus_nodes.hpp"

#include <atomic>
#include <cerrno>
#include <functional>
#include <thread>

#include "tests/xenbus-glue/xen_world.hpp"
#include "xenbus-glue/device_nodes.hpp"

namespace vmsg::xen {
namespace {

class BusNodesTest : public XenWorld {
 protected:
  std::unique_ptr<Store> toolstack = in_domain(0, [] { return opened(Store::open()); });
  std::unique_ptr<Store> device = in_domain(kDriverDomain, [] { return opened(Store::open()); });
  std::unique_ptr<Store> driver = in_domain(kGuest, [] { return opened(Store::open()); });
  std::unique_ptr<Store> stranger = in_domain(kOther, [] { return opened(Store::open()); });

  // The device side lives in a domain without privileges: what works there works in dom0 too.
  const BusId bus{.device_domain = kDriverDomain, .driver_domain = kGuest, .bus = 0};
  const Advertisement offer{.max_ring_page_order = 4,
                            .max_message_size = 1024,
                            .transport_features = 1,
                            .queue_event_channels = true,
                            .shared_regions = true};
  const Answers answers{.version = 1,
                        .ring_ref = 8,
                        .event_channel = RemotePort{11},
                        .max_message_size = 264,
                        .transport_features = 1,
                        .queue_event_channels = true,
                        .shared_regions = false};

  void create(const BusId& id) {
    const auto done =
        toolstack->transact([&](Transaction& transaction) { return create_bus(transaction, id); });
    ASSERT_TRUE(done.has_value()) << to_string(done.error());
  }
  void create() { create(bus); }

  void driver_writes(const char* node, std::string_view value) {
    ASSERT_TRUE(driver->write(*bus.driver_directory().child(node), value).has_value()) << node;
  }

  NodeError answers_refused() {
    const auto read = read_answers(*device, bus, offer);
    EXPECT_FALSE(read.has_value());
    return read.has_value() ? NodeError{} : read.error();
  }
};

NodeError wrong(NodeFault fault, std::string_view node) { return {fault, node, std::nullopt}; }

TEST_F(BusNodesTest, ACreatedBusIsSeenByBothSides) {
  create();

  EXPECT_EQ(*list_buses(*device, kDriverDomain), std::vector{bus});
  EXPECT_TRUE(check_device_directory(*device, bus).has_value());
  EXPECT_TRUE(*read_online(*device, bus));
  EXPECT_EQ(*read_state(*device, bus.driver_directory()), XenbusState::kInitialising);
  EXPECT_EQ(*list_driver_buses(*driver, kGuest), std::vector<std::uint32_t>{0});
  EXPECT_EQ(*read_driver_directory(*driver, kGuest, 0), bus);
  EXPECT_EQ(*read_state(*driver, bus.device_directory()), XenbusState::kInitialising);
}

TEST_F(BusNodesTest, ABusIsCreatedOnce) {
  create();

  const auto again =
      toolstack->transact([&](Transaction& transaction) { return create_bus(transaction, bus); });

  EXPECT_EQ(again.error().error, EEXIST);
}

TEST_F(BusNodesTest, EachSideOwnsItsDirectoryAndReadsTheOther) {
  create();

  EXPECT_EQ(*toolstack->permissions(bus.device_directory() / "state"),
            Permissions::owned_by(kDriverDomain).readable_by(kGuest));
  EXPECT_EQ(*toolstack->permissions(bus.driver_directory() / "state"),
            Permissions::owned_by(kGuest).readable_by(kDriverDomain));
  EXPECT_TRUE(write_state(*device, bus.device_directory(), XenbusState::kInitWait).has_value());
  EXPECT_TRUE(write_state(*driver, bus.driver_directory(), XenbusState::kInitialised).has_value());
  EXPECT_EQ(write_state(*driver, bus.device_directory(), XenbusState::kClosed).error().error,
            EACCES);
  EXPECT_EQ(write_state(*device, bus.driver_directory(), XenbusState::kClosed).error().error,
            EACCES);
}

TEST_F(BusNodesTest, AGuestDoesNotSeeTheDevicesParameters) {
  create();
  const DeviceNodeId id{bus, 1};
  ASSERT_TRUE(toolstack
                  ->transact([&](Transaction& transaction) {
                    return create_device(transaction, id, "blk", {{"path", "/srv/secret"}});
                  })
                  .has_value());

  EXPECT_EQ(driver->read(id.directory() / "path").error().error, EACCES);
  EXPECT_EQ(driver->list(bus.devices_directory()).error().error, EACCES);
  EXPECT_EQ(stranger->read(bus.device_directory() / "state").error().error, EACCES);
  EXPECT_TRUE(device->read(id.directory() / "path").has_value());
}

TEST_F(BusNodesTest, TheOfferArrivesAsItWasMade) {
  create();
  ASSERT_TRUE(write_advertisement(*device, bus, offer).has_value());

  EXPECT_EQ(*read_advertisement(*driver, bus), offer);
}

TEST_F(BusNodesTest, TheDriverSideRefusesOffersThatItCannotTake) {
  create();
  const auto refused = [&](const char* node, std::string_view value) {
    EXPECT_TRUE(write_advertisement(*device, bus, offer).has_value());
    EXPECT_TRUE(device->write(*bus.device_directory().child(node), value).has_value());
    const auto read = read_advertisement(*driver, bus);
    EXPECT_FALSE(read.has_value()) << node << '=' << value;
    return read.has_value() ? NodeError{} : read.error();
  };

  EXPECT_EQ(refused("versions", "2,3"), wrong(NodeFault::kMismatch, "versions"));
  EXPECT_EQ(refused("versions", "1;2"), wrong(NodeFault::kMalformed, "versions"));
  EXPECT_EQ(refused("versions", ""), wrong(NodeFault::kMismatch, "versions"));
  EXPECT_EQ(refused("revisions", "2"), wrong(NodeFault::kMismatch, "revisions"));
  EXPECT_EQ(refused("max-ring-page-order", "32"),
            wrong(NodeFault::kOutOfRange, "max-ring-page-order"));
  EXPECT_EQ(refused("max-message-size", "263"), wrong(NodeFault::kOutOfRange, "max-message-size"));
  EXPECT_EQ(refused("max-message-size", "65536"),
            wrong(NodeFault::kOutOfRange, "max-message-size"));
  EXPECT_EQ(refused("transport-features", "x"), wrong(NodeFault::kMalformed, "transport-features"));
  EXPECT_EQ(refused("feature-shared-regions", "yes"),
            wrong(NodeFault::kMalformed, "feature-shared-regions"));
}

TEST_F(BusNodesTest, AnotherVersionBesideOursDoesNotMatter) {
  create();
  ASSERT_TRUE(write_advertisement(*device, bus, offer).has_value());
  ASSERT_TRUE(device->write(bus.device_directory() / "versions", "3,1,2").has_value());

  EXPECT_TRUE(read_advertisement(*driver, bus).has_value());
}

TEST_F(BusNodesTest, AnOrderBeyondTheInterfacePageIsTakenAsTheLargestThatFits) {
  create();
  Advertisement large = offer;
  large.max_ring_page_order = 12;
  ASSERT_TRUE(write_advertisement(*device, bus, large).has_value());

  EXPECT_EQ(read_advertisement(*driver, bus)->max_ring_page_order, 9U);
}

TEST_F(BusNodesTest, TheAnswersArriveAsTheyWereGiven) {
  create();
  ASSERT_TRUE(write_answers(*driver, bus, answers).has_value());

  EXPECT_EQ(*read_answers(*device, bus, offer), answers);
}

TEST_F(BusNodesTest, EachAnswerThatIsMissingIsNamed) {
  create();
  for (const std::string_view node :
       {"version", "ring-ref", "event-channel", "max-message-size", "transport-features"}) {
    ASSERT_TRUE(write_answers(*driver, bus, answers).has_value());
    ASSERT_TRUE(driver->remove(*bus.driver_directory().child(node)).has_value());

    EXPECT_EQ(answers_refused(), wrong(NodeFault::kMissing, node));
  }
}

TEST_F(BusNodesTest, RequestsThatAreMissingAreNo) {
  create();
  ASSERT_TRUE(write_answers(*driver, bus, answers).has_value());
  ASSERT_TRUE(driver->remove(bus.driver_directory() / "request-queue-event-channels").has_value());

  EXPECT_FALSE(read_answers(*device, bus, offer)->queue_event_channels);
}

TEST_F(BusNodesTest, EachAnswerThatCannotBeIsNamed) {
  create();
  const auto refused = [&](const char* node, std::string_view value) {
    EXPECT_TRUE(write_answers(*driver, bus, answers).has_value());
    driver_writes(node, value);
    return answers_refused();
  };

  EXPECT_EQ(refused("version", "2"), wrong(NodeFault::kMismatch, "version"));
  EXPECT_EQ(refused("version", "one"), wrong(NodeFault::kMalformed, "version"));
  EXPECT_EQ(refused("ring-ref", "4294967296"), wrong(NodeFault::kOutOfRange, "ring-ref"));
  EXPECT_EQ(refused("ring-ref", "-1"), wrong(NodeFault::kMalformed, "ring-ref"));
  EXPECT_EQ(refused("ring-ref", "8 "), wrong(NodeFault::kMalformed, "ring-ref"));
  EXPECT_EQ(refused("ring-ref", std::string(1000, '8')), wrong(NodeFault::kMalformed, "ring-ref"));
  EXPECT_EQ(refused("event-channel", "0"), wrong(NodeFault::kOutOfRange, "event-channel"));
  EXPECT_EQ(refused("event-channel", "2147483648"), wrong(NodeFault::kOutOfRange, "event-channel"));
  EXPECT_EQ(refused("max-message-size", "51"), wrong(NodeFault::kOutOfRange, "max-message-size"));
  EXPECT_EQ(refused("max-message-size", "1025"), wrong(NodeFault::kOutOfRange, "max-message-size"));
  EXPECT_EQ(refused("transport-features", "3"), wrong(NodeFault::kMismatch, "transport-features"));
  EXPECT_EQ(refused("request-shared-regions", "2"),
            wrong(NodeFault::kMalformed, "request-shared-regions"));
}

TEST_F(BusNodesTest, AFeatureThatWasNotOfferedCannotBeRequested) {
  create();
  ASSERT_TRUE(write_answers(*driver, bus, answers).has_value());
  driver_writes("request-shared-regions", "1");
  Advertisement less = offer;
  less.shared_regions = false;

  EXPECT_EQ(read_answers(*device, bus, less).error(),
            wrong(NodeFault::kMismatch, "request-shared-regions"));
}

TEST_F(BusNodesTest, ADirectoryOfAnotherDomainIsNotBelieved) {
  create();
  ASSERT_TRUE(device->write(bus.device_directory() / "frontend-id", "4").has_value());
  EXPECT_EQ(check_device_directory(*device, bus).error(),
            wrong(NodeFault::kMismatch, "frontend-id"));

  ASSERT_TRUE(device->write(bus.device_directory() / "frontend-id", "3").has_value());
  ASSERT_TRUE(
      device->write(bus.device_directory() / "frontend", "/local/domain/4/device/virtio-msg/0")
          .has_value());
  EXPECT_EQ(check_device_directory(*device, bus).error(), wrong(NodeFault::kMismatch, "frontend"));

  ASSERT_TRUE(device->remove(bus.device_directory() / "frontend").has_value());
  EXPECT_EQ(check_device_directory(*device, bus).error(), wrong(NodeFault::kMissing, "frontend"));
}

TEST_F(BusNodesTest, ADriverSideDoesNotBelieveABackendPathOfAnotherBus) {
  create();
  driver_writes("backend", "/local/domain/9/backend/virtio-msg/3/1");

  EXPECT_EQ(read_driver_directory(*driver, kGuest, 0).error(),
            wrong(NodeFault::kMismatch, "backend"));
}

TEST_F(BusNodesTest, AStateThatIsNoneIsUnknown) {
  create();
  for (const std::string_view text :
       {"", "9", "4 ", "Connected", "44444444444444444444444444444"}) {
    driver_writes("state", text);
    EXPECT_EQ(*read_state(*device, bus.driver_directory()), XenbusState::kUnknown) << text;
  }
  ASSERT_TRUE(driver->remove(bus.driver_directory() / "state").has_value());
  EXPECT_EQ(*read_state(*device, bus.driver_directory()), XenbusState::kUnknown);
}

TEST_F(BusNodesTest, AStateHiddenByItsOwnerIsUnknown) {
  create();
  ASSERT_TRUE(
      driver->set_permissions(bus.driver_directory() / "state", Permissions::owned_by(kGuest))
          .has_value());

  EXPECT_EQ(*read_state(*device, bus.driver_directory()), XenbusState::kUnknown);
}

TEST_F(BusNodesTest, OnlyAOneIsOnline) {
  create();
  for (const std::string_view text : {"0", "", "11", "yes", "11111111111111111111111111111"}) {
    ASSERT_TRUE(toolstack->write(bus.device_directory() / "online", text).has_value());
    EXPECT_FALSE(*read_online(*device, bus)) << text;
  }
  ASSERT_TRUE(set_online(*toolstack, bus, true).has_value());
  EXPECT_TRUE(*read_online(*device, bus));
}

TEST_F(BusNodesTest, AnErrorIsOnePrintableLine) {
  create();
  ASSERT_TRUE(
      write_bus_error(*device, bus, "ring-ref:\nbad\x7f\xff" + std::string(500, 'x')).has_value());

  const std::string line = *driver->read(bus.device_directory() / "error");
  EXPECT_EQ(line.size(), 256U);
  EXPECT_TRUE(line.starts_with("ring-ref:?bad??xxx")) << line;

  ASSERT_TRUE(clear_bus_error(*device, bus).has_value());
  EXPECT_FALSE(*device->exists(bus.device_directory() / "error"));
}

TEST_F(BusNodesTest, TheDeviceSideRemovesAllThatIsIts) {
  create();
  ASSERT_TRUE(write_advertisement(*device, bus, offer).has_value());

  const auto removed = remove_device_side(*device, bus);
  ASSERT_TRUE(removed.has_value()) << to_string(removed.error());

  EXPECT_FALSE(*toolstack->exists(Path::domain(kDriverDomain) / "backend" / "virtio-msg"));
  EXPECT_FALSE(*toolstack->exists(Path::domain(kDriverDomain) / "virtio-msg"));
  EXPECT_TRUE(*toolstack->exists(bus.driver_directory()));
}

TEST_F(BusNodesTest, RemovingOneBusLeavesTheOthers) {
  BusId second = bus;
  second.bus = 1;
  BusId elsewhere = bus;
  elsewhere.driver_domain = kOther;
  create();
  create(second);
  create(elsewhere);

  ASSERT_TRUE(remove_device_side(*device, bus).has_value());

  EXPECT_EQ(*list_buses(*device, kDriverDomain), (std::vector{second, elsewhere}));
  EXPECT_EQ(*list_buses_of(*device, kDriverDomain, kOther), std::vector{elsewhere});
  EXPECT_EQ(*list_buses_of(*device, kDriverDomain, bus.driver_domain), std::vector{second});
  EXPECT_TRUE(*device->exists(second.devices_directory()));
}

TEST_F(BusNodesTest, TheToolstackRemovesBothSides) {
  create();

  ASSERT_TRUE(remove_bus(*toolstack, bus).has_value());

  EXPECT_FALSE(*toolstack->exists(bus.driver_directory()));
  EXPECT_FALSE(*toolstack->exists(bus.device_directory()));
}

TEST_F(BusNodesTest, ABusIsOrphanedWhenItsGuestIsGone) {
  BusId elsewhere = bus;
  elsewhere.driver_domain = kOther;
  create();
  create(elsewhere);
  EXPECT_TRUE(list_orphaned_buses(*device, kDriverDomain)->empty());

  xen.destroy_domain(kOther);
  // What the toolstack does next; only this can be seen from a domain without privileges.
  ASSERT_TRUE(toolstack->remove(Path::domain(kOther)).has_value());

  EXPECT_EQ(*list_orphaned_buses(*device, kDriverDomain), std::vector{elsewhere});
}

TEST_F(BusNodesTest, InDom0ABusIsOrphanedAsSoonAsItsGuestIsGone) {
  const BusId here{.device_domain = 0, .driver_domain = kGuest, .bus = 0};
  const BusId elsewhere{.device_domain = 0, .driver_domain = kOther, .bus = 0};
  create(here);
  create(elsewhere);
  EXPECT_TRUE(list_orphaned_buses(*toolstack, 0)->empty());

  xen.destroy_domain(kOther);

  EXPECT_EQ(*list_orphaned_buses(*toolstack, 0), std::vector{elsewhere});
}

TEST_F(BusNodesTest, WhenXenstoreDoesNotAnswerNoBusIsOrphaned) {
  const BusId here{.device_domain = 0, .driver_domain = kGuest, .bus = 0};
  create(here);
  fail(0, mock::Call::kXsIsDomainIntroduced, EIO);

  EXPECT_EQ(list_orphaned_buses(*toolstack, 0).error().error, EIO);
}

TEST_F(BusNodesTest, WhatTheToolstackHasRemovedIsRemoved) {
  create();
  ASSERT_TRUE(remove_bus(*toolstack, bus).has_value());

  // With what was above it, which it may not even look at when it is gone.
  const auto done = remove_device_side(*device, bus);

  EXPECT_TRUE(done.has_value()) << to_string(done.error());
}

// ---- devices ------------------------------------------------------------------------------------

class DeviceNodesTest : public BusNodesTest {
 protected:
  using Parameters = std::map<std::string, std::string, std::less<>>;
  const DeviceNodeId id{bus, 5};

  void SetUp() override {
    BusNodesTest::SetUp();
    create();
  }

  int attach(std::string_view type, const Parameters& parameters) {
    const auto done = toolstack->transact(
        [&](Transaction& transaction) { return create_device(transaction, id, type, parameters); });
    return done.has_value() ? 0 : done.error().error;
  }

  DeviceNode read() {
    const auto node = read_device(*device, id);
    EXPECT_TRUE(node.has_value() && node->has_value());
    return node.has_value() && node->has_value() ? **node : DeviceNode{};
  }
};

TEST_F(DeviceNodesTest, AnAttachedDeviceIsRead) {
  ASSERT_EQ(attach("blk", {{"path", "/srv/disk.img"}, {"mode", "w"}}), 0);

  EXPECT_EQ(*list_devices(*device, bus), std::vector<std::uint16_t>{5});
  const DeviceNode node = read();
  EXPECT_EQ(node.type, "blk");
  EXPECT_EQ(node.parameters, (Parameters{{"path", "/srv/disk.img"}, {"mode", "w"}}));
  EXPECT_EQ(node.detach, DetachRequest::kNone);
  EXPECT_EQ(node.status, AttachStatus::kNone);
}

TEST_F(DeviceNodesTest, NoDeviceIsAValue) { EXPECT_FALSE(read_device(*device, id)->has_value()); }

TEST_F(DeviceNodesTest, ADeviceThatIsRemovedMeanwhileIsSeenWholeOrNotAtAll) {
  for (int round = 0; round < 100; ++round) {
    ASSERT_EQ(attach("blk", {{"path", "/srv/disk.img"}, {"mode", "w"}}), 0);
    ASSERT_TRUE(write_device_status(*toolstack, id, AttachStatus::kFailed, "no disk").has_value());
    ASSERT_TRUE(request_detach(*toolstack, id, DetachRequest::kForce).has_value());

    int partial = 0;
    int whole = 0;
    std::atomic<bool> has_read = false;
    std::thread reader([&] {
      for (auto node = read_device(*device, id); !node || *node; node = read_device(*device, id)) {
        const bool is_whole = node && (*node)->detach == DetachRequest::kForce &&
                              (*node)->parameters.size() == 2 && (*node)->error == "no disk";
        ++(is_whole ? whole : partial);
        has_read = true;
        has_read.notify_one();
      }
    });
    has_read.wait(false);
    EXPECT_TRUE(remove_device(*toolstack, id).has_value());
    reader.join();

    ASSERT_GT(whole, 0);
    ASSERT_EQ(partial, 0) << "in round " << round;
  }
}

TEST_F(DeviceNodesTest, ANumberIsTakenOnce) {
  ASSERT_EQ(attach("blk", {}), 0);

  EXPECT_EQ(attach("net", {}), EEXIST);
}

TEST_F(DeviceNodesTest, ParametersThatCannotBeAreRefusedAndNothingIsLeft) {
  EXPECT_EQ(attach("", {}), EINVAL);
  EXPECT_EQ(attach("b/k", {}), EINVAL);
  EXPECT_EQ(attach(std::string(33, 'b'), {}), EINVAL);
  EXPECT_EQ(attach("blk", {{"a/b", ""}}), EINVAL);
  EXPECT_EQ(attach("blk", {{"a", "1"}, {"status", "attached"}}), EINVAL);
  EXPECT_EQ(attach("blk", {{"a", "1"}, {"b", std::string(1025, 'x')}}), E2BIG);
  Parameters many;
  for (int i = 0; i < 65; ++i) many.emplace(std::to_string(i), "");
  EXPECT_EQ(attach("blk", many), E2BIG);

  EXPECT_TRUE(list_devices(*device, bus)->empty());
}

TEST_F(DeviceNodesTest, TheDeviceSideSaysHowItGoes) {
  ASSERT_EQ(attach("blk", {}), 0);
  for (const AttachStatus status :
       {AttachStatus::kAttaching, AttachStatus::kAttached, AttachStatus::kDetaching}) {
    ASSERT_TRUE(write_device_status(*device, id, status).has_value());
    EXPECT_EQ(read().status, status);
  }

  ASSERT_TRUE(write_device_status(*device, id, AttachStatus::kFailed, "no such\nfile").has_value());
  EXPECT_EQ(read().status, AttachStatus::kFailed);
  EXPECT_EQ(read().error, "no such?file");

  ASSERT_TRUE(write_device_status(*device, id, AttachStatus::kAttached).has_value());
  EXPECT_EQ(read().error, "");
}

TEST_F(DeviceNodesTest, DetachingIsAskedForGentlyOrByForce) {
  ASSERT_EQ(attach("blk", {}), 0);

  ASSERT_TRUE(request_detach(*toolstack, id, DetachRequest::kGraceful).has_value());
  EXPECT_EQ(read().detach, DetachRequest::kGraceful);
  ASSERT_TRUE(request_detach(*toolstack, id, DetachRequest::kForce).has_value());
  EXPECT_EQ(read().detach, DetachRequest::kForce);
  ASSERT_TRUE(request_detach(*toolstack, id, DetachRequest::kNone).has_value());
  EXPECT_EQ(read().detach, DetachRequest::kNone);
}

TEST_F(DeviceNodesTest, ARequestToLookAgainIsAnsweredAndGone) {
  ASSERT_EQ(attach("blk", {}), 0);
  ASSERT_FALSE(read().wants_refresh);

  ASSERT_TRUE(request_refresh(*toolstack, id).has_value());
  EXPECT_TRUE(read().wants_refresh);
  ASSERT_TRUE(answer_refresh(*device, id, "the file is gone").has_value());
  EXPECT_FALSE(read().wants_refresh);
  EXPECT_EQ(read().error, "the file is gone");

  ASSERT_TRUE(answer_refresh(*device, id, "").has_value());
  EXPECT_EQ(read().error, "");
}

TEST_F(DeviceNodesTest, PublishedFactsAreNoParameters) {
  ASSERT_EQ(attach("console", {{"output", "pty"}}), 0);

  ASSERT_TRUE(write_published(*device, id, {{"tty", "/dev/pts/3"}, {"old", "x"}}).has_value());
  ASSERT_TRUE(write_published(*device, id, {{"tty", "/dev/pts/4"}}).has_value());

  EXPECT_EQ(read().published, (Parameters{{"tty", "/dev/pts/4"}}));
  EXPECT_EQ(read().parameters, (Parameters{{"output", "pty"}}));
}

TEST_F(DeviceNodesTest, ADeviceWithoutAGoodTypeIsMalformed) {
  ASSERT_TRUE(toolstack->write(id.directory() / "path", "/x").has_value());
  EXPECT_EQ(read_device(*device, id).error(), wrong(NodeFault::kMissing, "type"));

  ASSERT_TRUE(toolstack->write(id.directory() / "type", "b l k").has_value());
  EXPECT_EQ(read_device(*device, id).error(), wrong(NodeFault::kMalformed, "type"));
}

TEST_F(DeviceNodesTest, AnOverlongParameterIsMalformed) {
  ASSERT_EQ(attach("blk", {}), 0);
  ASSERT_TRUE(toolstack->write(id.directory() / "path", std::string(DeviceNode::kMaxValue + 1, 'x'))
                  .has_value());

  EXPECT_EQ(read_device(*device, id).error(), wrong(NodeFault::kMalformed, "parameters"));
}

TEST_F(DeviceNodesTest, ARemovedDeviceIsGone) {
  ASSERT_EQ(attach("blk", {{"path", "/x"}}), 0);

  ASSERT_TRUE(remove_device(*device, id).has_value());

  EXPECT_TRUE(list_devices(*toolstack, bus)->empty());
}

}  // namespace
}  // namespace vmsg::xen
