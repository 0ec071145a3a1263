// The queues of virtio-net (virtio 1.3, "Device Operation" of the network device) on every kind of
// ring, with a host side that the test plays.
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>

#include "devices/net/net_control_queue.hpp"
#include "devices/net/net_device.hpp"
#include "devices/net/net_receive_queue.hpp"
#include "devices/net/net_transmit_queue.hpp"
#include "tests/devices/fake_net_host.hpp"
#include "tests/support/service_bench.hpp"

namespace vmsg::net {
namespace {

using test::RingOptions;

constexpr MacAddress kMac{{0x00, 0x16, 0x3e, 0, 0, 1}};
constexpr Nanoseconds kSecond = 1'000'000'000;

NetOptions with_pairs(std::uint32_t pairs) {
  NetOptions options;
  options.queues = pairs;
  return options;
}

class NetQueueTest : public ::testing::TestWithParam<RingOptions> {
 protected:
  NetQueueTest() : bench(GetParam()) {
    for (const NetFeature feature :
         {NetFeature::kMrgRxbuf, NetFeature::kCtrlVq, NetFeature::kCtrlRx, NetFeature::kCtrlVlan,
          NetFeature::kCtrlRxExtra, NetFeature::kCtrlMacAddr}) {
      add(features, feature);
    }
  }

  /// The device with these options; its queue `index` is on the bench.
  void start(std::uint32_t index, const NetOptions& options = {}) {
    auto made = std::make_unique<FakeNetHost>();
    made->can_offload = offloads;
    host = made.get();
    device.emplace(options, kMac, std::move(made));
    device->features_negotiated(features);
    setup_.index = index;
    setup_.size = GetParam().size;
    setup_.features = features;
    bench.serve(device->open_queue({setup_, no_io(), bench.waker}));
  }
  ~NetQueueTest() override { bench.abandon(); }

  test::TestDriver& driver() { return bench.queues.driver; }

  static std::vector<std::byte> frame(std::size_t size, const MacAddress& to = kMac) {
    std::vector<std::byte> bytes = test::bytes(size);
    std::memcpy(bytes.data(), to.bytes.data(), std::min<std::size_t>(size, to.bytes.size()));
    bytes[12] = std::byte{0x08};
    bytes[13] = std::byte{0};
    return bytes;
  }
  static std::vector<std::byte> with_header(const std::vector<std::byte>& frame,
                                            const NetHeader& header = {}) {
    std::vector<std::byte> all(kHeaderSize);
    std::memcpy(all.data(), &header, sizeof(header));
    all.insert(all.end(), frame.begin(), frame.end());
    return all;
  }
  static NetHeader header_of(std::span<const std::byte> bytes) {
    NetHeader header;
    std::memcpy(&header, bytes.data(), sizeof(header));
    return header;
  }

  FeatureSet features;
  FeatureSet offloads;
  FakeNetHost* host = nullptr;
  std::optional<NetDevice> device;
  test::ServiceBench bench;

 private:
  static IoRing& no_io() {
    static const std::unique_ptr<IoRing> ring = IoRing::create(4).value();
    return *ring;
  }
  QueueSetup setup_;
};

INSTANTIATE_TEST_SUITE_P(Rings, NetQueueTest, ::testing::ValuesIn(test::all_ring_options()),
                         [](const auto& ring) { return test::name_of(ring.param); });

// ---- receiving ----------------------------------------------------------------------------------

TEST_P(NetQueueTest, AFrameGoesIntoABuffer) {
  start(0);
  driver().chain().writable(200).publish();
  host->arrive(frame(100));

  EXPECT_EQ(bench.turn(), std::nullopt);

  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->written, kHeaderSize + 100);
  EXPECT_EQ(header_of(used->data).num_buffers, Le16(1));
  EXPECT_TRUE(std::ranges::equal(std::span(used->data).subspan(kHeaderSize, 100), frame(100)));
}

TEST_P(NetQueueTest, AFrameGoesIntoSeveralBuffersOfAnyShape) {
  start(0);
  driver().chain().writable(5).writable(20).add();
  driver().chain().writable(40).add();
  driver().chain().writable(100).publish();
  host->arrive(frame(60));

  EXPECT_EQ(bench.turn(), std::nullopt);

  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 3U);
  EXPECT_EQ(used[0].written, 25U);
  EXPECT_EQ(used[1].written, 40U);
  EXPECT_EQ(used[2].written, 7U);
  EXPECT_EQ(header_of(used[0].data).num_buffers, Le16(3));
  std::vector<std::byte> got;
  for (const auto& part : used) {
    got.insert(got.end(), part.data.begin(), part.data.begin() + part.written);
  }
  got.erase(got.begin(), got.begin() + kHeaderSize);
  EXPECT_EQ(got, frame(60));
}

TEST_P(NetQueueTest, WithoutBuffersTheHostIsAskedForNothing) {
  start(0);
  host->arrive(frame(60));

  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_EQ(host->most_requested, 0U);
  EXPECT_EQ(host->incoming.size(), 1U);
}

TEST_P(NetQueueTest, AFrameWaitsForTheBuffersThatItNeeds) {
  start(0);
  driver().chain().writable(40).publish();
  host->arrive(frame(60));
  EXPECT_EQ(bench.turn(), std::nullopt);
  EXPECT_FALSE(driver().poll().has_value());

  driver().chain().writable(40).publish();
  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_EQ(driver().poll_all().size(), 2U);
}

TEST_P(NetQueueTest, AFrameThatNeverGetsItsBuffersIsDroppedAtLast) {
  start(0);
  driver().chain().writable(40).publish();
  host->arrive(frame(60));
  host->arrive(frame(20));
  EXPECT_EQ(bench.turn(kSecond), std::nullopt);
  ASSERT_TRUE(bench.service().wants_turn_at().has_value());

  const Nanoseconds time = *bench.service().wants_turn_at();
  EXPECT_EQ(bench.turn(time), std::nullopt);
  EXPECT_EQ(bench.turn(time + 1), std::nullopt);

  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 1U);
  EXPECT_EQ(used[0].written, kHeaderSize + 20);
}

TEST_P(NetQueueTest, WithoutMergeableBuffersAFrameMustFitIntoOne) {
  features.clear(static_cast<unsigned>(NetFeature::kMrgRxbuf));
  start(0);
  driver().chain().writable(40).add();
  driver().chain().writable(40).publish();
  host->arrive(frame(60));
  host->arrive(frame(20));

  EXPECT_EQ(bench.turn(), std::nullopt);

  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 1U);
  EXPECT_EQ(used[0].written, kHeaderSize + 20);
}

TEST_P(NetQueueTest, ABufferThatHoldsNoHeaderIsABadRequest) {
  start(0);
  driver().chain().writable(11).publish();
  EXPECT_EQ(bench.turn(), ServiceFault::kBadRequest);
}

TEST_P(NetQueueTest, AReceiveBufferToReadFromIsABadRequest) {
  start(0);
  driver().chain().readable(4).writable(100).publish();
  EXPECT_EQ(bench.turn(), ServiceFault::kBadRequest);
}

TEST_P(NetQueueTest, AReceiveBufferThatIsNotGrantedIsAFault) {
  start(0);
  const auto request = driver().chain().writable(200).add();
  static_cast<void>(driver().queue().publish());
  bench.queues.memory.revoke(driver().writable_of(request)[0].address, 200);
  host->arrive(frame(100));

  EXPECT_EQ(bench.turn(), ServiceFault::kNotGranted);
}

TEST_P(NetQueueTest, AFrameThatReliesOnWhatTheGuestCannotDoIsDropped) {
  start(0);
  driver().chain().writable(200).publish();
  NetHeader header;
  header.flags = kFlagNeedsCsum;
  host->arrive(frame(100), header);

  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_FALSE(driver().poll().has_value());
}

TEST_P(NetQueueTest, TheCarrierComesWithTheQueueAndGoesWithIt) {
  start(0);
  ASSERT_FALSE(host->applied.empty());
  EXPECT_FALSE(host->applied.back().has_carrier);

  EXPECT_EQ(bench.turn(), std::nullopt);
  EXPECT_TRUE(host->applied.back().has_carrier);

  bench.abandon();
  EXPECT_FALSE(host->applied.back().has_carrier);
}

// ---- transmitting -------------------------------------------------------------------------------

TEST_P(NetQueueTest, FramesLeaveInOrderWhateverTheirShape) {
  start(1);
  const auto first = with_header(frame(60));
  const auto second = with_header(frame(300));
  driver().chain().readable(std::span(first).first(3)).readable(std::span(first).subspan(3)).add();
  driver().chain().readable(second).publish();

  EXPECT_EQ(bench.turn(), std::nullopt);

  ASSERT_EQ(host->sent.size(), 2U);
  EXPECT_EQ(host->sent[0], first);
  EXPECT_EQ(host->sent[1], second);
  const auto used = driver().poll_all();
  ASSERT_EQ(used.size(), 2U);
  EXPECT_EQ(used[0].written, 0U);
}

TEST_P(NetQueueTest, ABadHeaderIsADroppedFrame) {
  start(1);
  NetHeader header;
  header.flags = kFlagNeedsCsum;  // not negotiated
  driver().chain().readable(with_header(frame(60), header)).add();
  driver().chain().readable(with_header(frame(61))).publish();

  EXPECT_EQ(bench.turn(), std::nullopt);

  ASSERT_EQ(host->sent.size(), 1U);
  EXPECT_EQ(host->sent[0].size(), kHeaderSize + 61);
  EXPECT_EQ(driver().poll_all().size(), 2U);
}

TEST_P(NetQueueTest, AFrameShorterThanItsEthernetHeaderIsDropped) {
  start(1);
  driver().chain().readable(kHeaderSize + kEthernetHeader - 1).publish();

  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_TRUE(host->sent.empty());
  EXPECT_EQ(driver().poll_all().size(), 1U);
}

TEST_P(NetQueueTest, ATransmitBufferThatHoldsNoHeaderIsABadRequest) {
  start(1);
  driver().chain().readable(kHeaderSize - 1).publish();
  EXPECT_EQ(bench.turn(), ServiceFault::kBadRequest);
}

TEST_P(NetQueueTest, ATransmitBufferToWriteToIsABadRequest) {
  start(1);
  driver().chain().readable(with_header(frame(60))).writable(4).publish();
  EXPECT_EQ(bench.turn(), ServiceFault::kBadRequest);
}

TEST_P(NetQueueTest, ATransmitBufferThatIsNotGrantedIsAFault) {
  start(1);
  const auto request = driver().chain().readable(with_header(frame(60))).add();
  static_cast<void>(driver().queue().publish());
  bench.queues.memory.revoke(driver().readable_of(request)[0].address, 72);

  EXPECT_EQ(bench.turn(), ServiceFault::kNotGranted);
  EXPECT_TRUE(host->sent.empty());
}

TEST_P(NetQueueTest, WhatTheHostRefusesIsGivenBackToTheGuest) {
  start(1);
  host->send_error = 5;
  driver().chain().readable(with_header(frame(60))).publish();

  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_EQ(driver().poll_all().size(), 1U);
}

TEST_P(NetQueueTest, AFrameUnderWayIsNotTheGuestsYet) {
  start(1);
  host->takes_frames = false;
  driver().chain().readable(with_header(frame(60))).publish();

  EXPECT_EQ(bench.turn(), std::nullopt);

  EXPECT_FALSE(driver().poll().has_value());
}

TEST_P(NetQueueTest, ARateLimitHoldsFramesUntilTheirTime) {
  NetOptions options;
  options.bytes_per_second = 1000;
  start(1, options);
  for (int i = 0; i < 2; ++i) driver().chain().readable(with_header(frame(600))).add();
  static_cast<void>(driver().queue().publish());

  EXPECT_EQ(bench.turn(kSecond), std::nullopt);
  EXPECT_EQ(host->sent.size(), 1U);
  ASSERT_TRUE(bench.service().wants_turn_at().has_value());
  EXPECT_EQ(bench.turn(*bench.service().wants_turn_at() - kSecond / 100), std::nullopt);
  EXPECT_EQ(host->sent.size(), 1U);
  EXPECT_EQ(bench.turn(*bench.service().wants_turn_at()), std::nullopt);
  EXPECT_EQ(host->sent.size(), 2U);
}

// ---- the control queue --------------------------------------------------------------------------

class NetControlTest : public NetQueueTest {
 protected:
  /// The device's answer to a command; nullopt when there is none.
  std::optional<std::byte> command(std::uint8_t type, std::uint8_t number,
                                   std::span<const std::byte> data) {
    std::vector<std::byte> bytes{std::byte{type}, std::byte{number}};
    bytes.insert(bytes.end(), data.begin(), data.end());
    driver().chain().readable(bytes).writable(1).publish();
    EXPECT_EQ(bench.turn(kSecond), std::nullopt);
    const auto used = driver().poll();
    if (!used) return std::nullopt;
    EXPECT_EQ(used->written, 1U);
    return used->data[0];
  }
  std::optional<std::byte> command(std::uint8_t type, std::uint8_t number,
                                   std::initializer_list<unsigned> data) {
    std::vector<std::byte> bytes;
    for (const unsigned value : data) bytes.push_back(static_cast<std::byte>(value));
    return command(type, number, std::span<const std::byte>(bytes));
  }
  std::array<std::byte, sizeof(NetConfig)> config() {
    std::array<std::byte, sizeof(NetConfig)> bytes{};
    device->read_config(0, bytes);
    return bytes;
  }
};

INSTANTIATE_TEST_SUITE_P(Rings, NetControlTest, ::testing::ValuesIn(test::all_ring_options()),
                         [](const auto& ring) { return test::name_of(ring.param); });

TEST_P(NetControlTest, TheAddressIsTheDriversToSet) {
  start(2);
  EXPECT_EQ(command(kCtrlMac, kCtrlMacAddrSet, {2, 0, 0, 0, 0, 9}), kAckOk);
  EXPECT_EQ(config()[0], std::byte{2});
  EXPECT_EQ(config()[5], std::byte{9});
  EXPECT_EQ(command(kCtrlMac, kCtrlMacAddrSet, {1, 0, 0, 0, 0, 9}), kAckError);  // multicast
  EXPECT_EQ(command(kCtrlMac, kCtrlMacAddrSet, {2, 0, 0, 0, 0}), kAckError);
  EXPECT_EQ(config()[5], std::byte{9});

  bench.abandon();
  device->reset();
  EXPECT_EQ(config()[5], std::byte{1});
}

TEST_P(NetControlTest, CommandsThatCannotBeAreRefused) {
  start(2);
  EXPECT_EQ(command(9, 0, {}), kAckError);
  EXPECT_EQ(command(kCtrlRx, 6, {1}), kAckError);
  EXPECT_EQ(command(kCtrlRx, kCtrlRxPromisc, {}), kAckError);
  EXPECT_EQ(command(kCtrlRx, kCtrlRxPromisc, {2}), kAckError);
  EXPECT_EQ(command(kCtrlVlan, kCtrlVlanAdd, {0, 0x10}), kAckError);  // 4096
  EXPECT_EQ(command(kCtrlVlan, 2, {1, 0}), kAckError);
  EXPECT_EQ(command(kCtrlMq, kCtrlMqPairsSet, {1, 0}), kAckError);  // not negotiated
  EXPECT_EQ(command(kCtrlGuestOffloads, kCtrlGuestOffloadsSet, {0, 0, 0, 0, 0, 0, 0, 0}),
            kAckError);
  EXPECT_EQ(command(kCtrlAnnounce, kCtrlAnnounceAck, {}), kAckError);
  EXPECT_EQ(command(kCtrlMac, kCtrlMacTableSet, {0xff, 0xff, 0xff, 0xff}), kAckError);
  EXPECT_EQ(command(kCtrlMac, kCtrlMacTableSet, {0, 0, 0, 0}), kAckError);  // one table only
  EXPECT_EQ(command(kCtrlMac, kCtrlMacTableSet, {0, 0, 0, 0, 0, 0, 0, 0}), kAckOk);
}

TEST_P(NetControlTest, ACommandLongerThanAnyIsRefused) {
  start(2);
  driver().chain().readable(NetControlQueue::kMaxCommand + 1).writable(1).publish();
  EXPECT_EQ(bench.turn(), std::nullopt);
  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->data[0], kAckError);
}

TEST_P(NetControlTest, ACommandWithoutRoomForItsAnswerIsABadRequest) {
  start(2);
  driver().chain().readable(3).publish();
  EXPECT_EQ(bench.turn(), ServiceFault::kBadRequest);
}

TEST_P(NetControlTest, PairsAreConfirmedOnceTheHostHasThem) {
  add(features, NetFeature::kMq);
  start(8, with_pairs(4));
  EXPECT_EQ(command(kCtrlMq, kCtrlMqPairsSet, {0, 0}), kAckError);
  EXPECT_EQ(command(kCtrlMq, kCtrlMqPairsSet, {5, 0}), kAckError);
  host->follows = false;
  EXPECT_EQ(command(kCtrlMq, kCtrlMqPairsSet, {4, 0}), std::nullopt);
  EXPECT_EQ(host->applied.back().active_pairs, 4U);

  host->follows = true;
  EXPECT_EQ(bench.turn(*bench.service().wants_turn_at()), std::nullopt);
  const auto used = driver().poll();
  ASSERT_TRUE(used.has_value());
  EXPECT_EQ(used->data[0], kAckOk);
}

TEST_P(NetControlTest, OffloadsAreASubsetOfWhatWasNegotiated) {
  for (const NetFeature feature :
       {NetFeature::kCtrlGuestOffloads, NetFeature::kGuestCsum, NetFeature::kGuestTso4}) {
    add(features, feature);
  }
  start(2);
  const auto set = [this](unsigned bits) {
    return command(kCtrlGuestOffloads, kCtrlGuestOffloadsSet,
                   {bits & 0xffU, bits >> 8U, 0, 0, 0, 0, 0, 0});
  };
  EXPECT_EQ(set(1U << 1U | 1U << 7U), kAckOk);
  EXPECT_EQ(set(1U << 1U | 1U << 8U), kAckError);  // TSO6 was not negotiated
  EXPECT_EQ(set(1U << 7U), kAckError);             // TSO without checksums
  EXPECT_EQ(set(0), kAckOk);
  EXPECT_EQ(host->applied.back().guest_offloads, FeatureSet{});
}

// ---- the filter ---------------------------------------------------------------------------------

TEST(ReceiveFilter, EverythingPassesUntilTheDriverSaysOtherwise) {
  const ReceiveFilter filter;
  EXPECT_TRUE(filter.accepts(test::bytes(60)));
}

TEST(ReceiveFilter, AddressesAndModes) {
  ReceiveFilter filter;
  filter.promiscuous = false;
  filter.own = kMac;
  const auto to = [](unsigned first, unsigned last) {
    auto bytes = test::bytes(60);
    for (std::size_t i = 0; i < 6; ++i) bytes[i] = std::byte{0};
    bytes[0] = static_cast<std::byte>(first);
    bytes[5] = static_cast<std::byte>(last);
    return bytes;
  };
  auto own = test::bytes(60);
  std::memcpy(own.data(), kMac.bytes.data(), 6);
  auto broadcast = own;
  for (std::size_t i = 0; i < 6; ++i) broadcast[i] = std::byte{0xff};

  EXPECT_TRUE(filter.accepts(own));
  EXPECT_TRUE(filter.accepts(broadcast));
  EXPECT_FALSE(filter.accepts(to(2, 1)));
  EXPECT_FALSE(filter.accepts(to(1, 1)));
  filter.unicast.add({{2, 0, 0, 0, 0, 1}});
  filter.multicast.add({{1, 0, 0, 0, 0, 1}});
  EXPECT_TRUE(filter.accepts(to(2, 1)));
  EXPECT_FALSE(filter.accepts(to(2, 2)));
  EXPECT_TRUE(filter.accepts(to(1, 1)));
  EXPECT_FALSE(filter.accepts(to(1, 2)));
  filter.all_multicast = true;
  EXPECT_TRUE(filter.accepts(to(1, 2)));
  filter.all_unicast = true;
  EXPECT_TRUE(filter.accepts(to(2, 2)));
  filter.no_broadcast = true;
  EXPECT_FALSE(filter.accepts(broadcast));
  filter.no_multicast = true;
  EXPECT_FALSE(filter.accepts(to(1, 1)));
  filter.no_unicast = true;
  EXPECT_FALSE(filter.accepts(own));
}

TEST(ReceiveFilter, ATableThatIsTooLongMatchesEverything) {
  MacTable table;
  for (unsigned i = 0; i < MacTable::kMost; ++i) {
    table.add({{2, 0, 0, 0, 0, static_cast<std::uint8_t>(i)}});
  }
  EXPECT_FALSE(table.has({{2, 0, 0, 0, 1, 0}}));
  table.add({{2, 0, 0, 0, 2, 0}});
  EXPECT_TRUE(table.has({{2, 0, 0, 0, 1, 0}}));
}

TEST(ReceiveFilter, VlansThatWereNotAskedForAreKeptAway) {
  ReceiveFilter filter;
  auto tagged = test::bytes(60);
  tagged[12] = std::byte{0x81};
  tagged[13] = std::byte{0x00};
  tagged[14] = std::byte{0x60};  // priority 3
  tagged[15] = std::byte{0x07};
  EXPECT_TRUE(filter.accepts(tagged));
  filter.filters_vlans = true;
  EXPECT_FALSE(filter.accepts(tagged));
  filter.vlans.set(7);
  EXPECT_TRUE(filter.accepts(tagged));
}

// ---- the device ---------------------------------------------------------------------------------

TEST(NetDevice, QueuesAreThereAsTheFeaturesSay) {
  const NetDevice device(with_pairs(4), kMac, std::make_unique<FakeNetHost>());
  FeatureSet one;
  FeatureSet with_control;
  add(with_control, NetFeature::kCtrlVq);
  FeatureSet all = with_control;
  add(all, NetFeature::kMq);

  EXPECT_EQ(device.identity().max_virtqueues, 9U);
  EXPECT_TRUE(device.has_queue(1, one));
  EXPECT_FALSE(device.has_queue(2, one));
  EXPECT_TRUE(device.has_queue(2, with_control));
  EXPECT_FALSE(device.has_queue(3, with_control));
  EXPECT_TRUE(device.has_queue(8, all));
  EXPECT_FALSE(device.has_queue(9, all));
}

TEST(NetDevice, FeaturesThatNeedOthersAreRefusedWithoutThem) {
  const NetDevice device({}, kMac, std::make_unique<FakeNetHost>());
  const auto accepts = [&](std::initializer_list<NetFeature> list) {
    FeatureSet set;
    for (const NetFeature feature : list) add(set, feature);
    return device.accepts(set);
  };
  EXPECT_TRUE(accepts({}));
  EXPECT_FALSE(accepts({NetFeature::kGuestTso4}));
  EXPECT_TRUE(accepts({NetFeature::kGuestTso4, NetFeature::kGuestCsum}));
  EXPECT_FALSE(accepts({NetFeature::kGuestTso6}));
  EXPECT_FALSE(accepts({NetFeature::kGuestUso4}));
  EXPECT_FALSE(accepts({NetFeature::kGuestUso6}));
  EXPECT_FALSE(accepts({NetFeature::kHostTso4}));
  EXPECT_FALSE(accepts({NetFeature::kHostTso6}));
  EXPECT_FALSE(accepts({NetFeature::kHostUso}));
  EXPECT_FALSE(accepts({NetFeature::kGuestCsum, NetFeature::kGuestEcn}));
  EXPECT_FALSE(accepts({NetFeature::kCsum, NetFeature::kHostEcn}));
  EXPECT_FALSE(accepts({NetFeature::kMq}));
  EXPECT_FALSE(accepts({NetFeature::kCtrlRx}));
  EXPECT_FALSE(accepts({NetFeature::kCtrlRxExtra}));
  EXPECT_FALSE(accepts({NetFeature::kCtrlVlan}));
  EXPECT_FALSE(accepts({NetFeature::kCtrlMacAddr}));
  EXPECT_FALSE(accepts({NetFeature::kGuestAnnounce}));
}

TEST(NetDevice, ALinkThatComesBackAsksForAnAnnouncement) {
  auto made = std::make_unique<FakeNetHost>();
  FakeNetHost& host = *made;
  NetDevice device({}, kMac, std::move(made));
  FeatureSet selection;
  for (const NetFeature feature :
       {NetFeature::kStatus, NetFeature::kCtrlVq, NetFeature::kGuestAnnounce}) {
    add(selection, feature);
  }
  device.features_negotiated(selection);
  const auto status = [&] {
    std::array<std::byte, 2> bytes{};
    device.read_config(6, bytes);
    return std::to_integer<unsigned>(bytes[0]);
  };
  EXPECT_EQ(status(), unsigned{kStatusLinkUp});
  host.on_link(false);
  EXPECT_EQ(status(), 0U);
  host.on_link(true);
  EXPECT_EQ(status(), unsigned{kStatusLinkUp | kStatusAnnounce});
}

}  // namespace
}  // namespace vmsg::net
