// Chains that a driver must not build, in both formats, in the ring and in an indirect table: each
// test starts from a valid chain and breaks one thing. The queue answers with a QueueError that
// names it, delivers nothing, and takes nothing afterwards.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <tuple>

#include "tests/support/queue_pair.hpp"

namespace vmsg::test {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr std::uint64_t kGrantBit = std::uint64_t{1} << 63;

class HostileChain : public ::testing::TestWithParam<std::tuple<QueueFormat, bool>> {
 protected:
  [[nodiscard]] static bool in_table() { return std::get<1>(GetParam()); }
  [[nodiscard]] TestDriver::ChainToBe chain() {
    return in_table() ? pair.driver.chain().indirect() : pair.driver.chain();
  }
  /// Changes the n-th descriptor of the first chain, wherever it lies.
  void change(std::uint32_t n, const std::function<void(Descriptor&)>& how) {
    if (in_table()) {
      pair.driver.table_entry(0, n, how);
    } else {
      pair.driver.descriptor(n, how);
    }
  }

  QueuePair pair{{.format = std::get<0>(GetParam()), .indirect = true}, {.max_chain_segments = 6}};
};

INSTANTIATE_TEST_SUITE_P(
    Everywhere, HostileChain,
    ::testing::Combine(::testing::Values(QueueFormat::kSplit, QueueFormat::kPacked),
                       ::testing::Bool()),
    [](const auto& variant) {
      return fmt::format("{}{}",
                         std::get<0>(variant.param) == QueueFormat::kSplit ? "Split" : "Packed",
                         std::get<1>(variant.param) ? "Table" : "Ring");
    });

// rules: HOSTILE-3
TEST_P(HostileChain, AddressWithoutTheGrantBit) {
  chain().readable(16).writable(1).publish();
  change(1, [](Descriptor& d) { d.address &= ~kGrantBit; });

  const QueueError error = pair.take_error();

  EXPECT_EQ(error.fault, QueueFault::kBadAddress);
  EXPECT_EQ(error.value & kGrantBit, 0U);
}

// rules: HOSTILE-3
TEST_P(HostileChain, AddressWithABitAboveTheReference) {
  chain().readable(16).writable(1).publish();
  change(0, [](Descriptor& d) { d.address |= std::uint64_t{1} << 44; });

  EXPECT_EQ(pair.take_error().fault, QueueFault::kBadAddress);
}

// rules: HOSTILE-3
TEST_P(HostileChain, RangePastTheLastReference) {
  chain().readable(16).writable(1).publish();
  const auto last = GrantAddress::of(0xffffffffU, 4095).raw();
  change(0, [&](Descriptor& d) { d.address = last; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kRangeEnd, last}));
}

TEST_P(HostileChain, RangeThatEndsExactlyAtTheLastReferenceIsFine) {
  chain().readable(1).writable(1).publish();
  const auto last = GrantAddress::of(0xffffffffU, 4095);
  change(0, [&](Descriptor& d) { d.address = last.raw(); });

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), ElementsAre(Segment{last, 1}));
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_P(HostileChain, ReadableBehindWritable) {
  chain().readable(16).writable(1).writable(1).publish();
  std::uint64_t address = 0;
  change(2, [&](Descriptor& d) {
    d.flags &= static_cast<std::uint16_t>(~vring::kWrite);
    address = d.address;
  });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kReadAfterWrite, address}));
}

// rules: HOSTILE-3
TEST_P(HostileChain, ReadableBehindAnEmptyWritable) {
  chain().readable(16).writable(1).writable(1).publish();
  change(1, [](Descriptor& d) { d.length = 0; });
  change(2, [](Descriptor& d) { d.flags &= static_cast<std::uint16_t>(~vring::kWrite); });

  EXPECT_EQ(pair.take_error().fault, QueueFault::kReadAfterWrite);
}

// rules: HOSTILE-3
TEST_P(HostileChain, BytesThatDoNotFit32Bits) {
  chain().readable(1).writable(1).publish();
  change(0, [](Descriptor& d) { d.address = GrantAddress::of(0).raw(), d.length = 0xffffffffU; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kTotalLength, 0x100000000U}));
}

TEST_P(HostileChain, BytesThatJustFit32BitsAreFine) {
  chain().readable(1).writable(1).publish();
  change(0, [](Descriptor& d) { d.address = GrantAddress::of(0).raw(), d.length = 0xfffffffeU; });

  Chain taken = pair.take_one();

  EXPECT_EQ(taken.readable_length(), 0xfffffffeU);
  EXPECT_EQ(taken.writable_length(), 1U);
  pair.device.complete(std::move(taken), 0);
}

// XSA-448: zero bytes are nothing to copy, and nothing behind the queue should meet them.
TEST_P(HostileChain, EmptyDescriptorsAreLeftOut) {
  chain().readable(1).readable(2).writable(3).writable(4).publish();
  change(0, [](Descriptor& d) { d.length = 0; });
  // Nobody will use it, so it may be any address.
  change(3, [](Descriptor& d) { d.address = 0, d.length = 0; });

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), ElementsAre(pair.driver.readable_of(0)[1]));
  EXPECT_THAT(taken.writable(), ElementsAre(pair.driver.writable_of(0)[0]));
  EXPECT_EQ(taken.readable_length(), 2U);
  EXPECT_EQ(taken.writable_length(), 3U);
  pair.device.complete(std::move(taken), 3);
}

TEST_P(HostileChain, AChainOfNothingButEmptyDescriptorsComesBack) {
  chain().readable(1).writable(1).publish();
  change(0, [](Descriptor& d) { d.length = 0; });
  change(1, [](Descriptor& d) { d.length = 0; });

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), IsEmpty());
  EXPECT_THAT(taken.writable(), IsEmpty());
  pair.device.complete(std::move(taken), 0);
  EXPECT_TRUE(pair.device.publish());
  EXPECT_EQ(pair.driver.poll()->written, 0U);
}

// rules: HOSTILE-3
TEST_P(HostileChain, MoreSegmentsThanTheDeviceAllows) {
  chain().readable(1).readable(1).readable(1).readable(1).readable(1).readable(1).writable(1).add();
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainTooLong, 7}));
}

// Empty ones count too: what bounds the walk is descriptors, not bytes.
// rules: HOSTILE-3
TEST_P(HostileChain, MoreDescriptorsThanTheDeviceAllowsOneOfThemEmpty) {
  chain().readable(1).readable(1).readable(1).readable(1).readable(1).readable(1).writable(1).add();
  change(0, [](Descriptor& d) { d.length = 0; });
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainTooLong, 7}));
}

TEST_P(HostileChain, AsManySegmentsAsTheDeviceAllows) {
  chain().readable(1).readable(1).readable(1).readable(1).readable(1).writable(1).publish();

  Chain taken = pair.take_one();

  EXPECT_THAT(taken.readable(), SizeIs(5));
  pair.device.complete(std::move(taken), 0);
}

TEST_P(HostileChain, AnErrorTakesTheWholeTurnAndStays) {
  pair.driver.chain().readable(1).publish();
  Chain before = pair.take_one();
  pair.driver.chain().readable(1).publish();
  pair.driver.chain().readable(1).indirect().publish();
  const auto bad = chain().readable(1).writable(1).add();
  if (in_table()) {
    pair.driver.table_entry(bad, 1, [](Descriptor& d) { d.address = 1; });
  } else {
    pair.driver.descriptor(4, [](Descriptor& d) { d.address = 1; });
  }
  static_cast<void>(pair.driver.queue().publish());

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadAddress, 1}));

  EXPECT_EQ(pair.device.outstanding(), 1U);
  EXPECT_EQ(pair.device.in_flight(), 1U);
  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadAddress, 1}));
  EXPECT_FALSE(pair.device.enable_notifications());
  // What was taken before is a good chain and may still come back.
  pair.device.complete(std::move(before), 0);
  EXPECT_TRUE(pair.device.publish());
  EXPECT_THAT(pair.driver.poll_all(), SizeIs(1));
}

class HostileTable : public ::testing::TestWithParam<QueueFormat> {
 protected:
  QueuePair pair{{.format = GetParam(), .indirect = true}, {.max_chain_segments = 6}};
};

INSTANTIATE_TEST_SUITE_P(BothFormats, HostileTable,
                         ::testing::Values(QueueFormat::kSplit, QueueFormat::kPacked),
                         [](const auto& variant) {
                           return variant.param == QueueFormat::kSplit ? "Split" : "Packed";
                         });

// rules: HOSTILE-3
TEST_P(HostileTable, IndirectInsideIndirect) {
  pair.driver.chain().readable(16).writable(1).indirect().publish();
  pair.driver.table_entry(0, 1, [](Descriptor& d) { d.flags |= vring::kIndirect; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kNestedIndirect, 1}));
}

// rules: HOSTILE-3
TEST_P(HostileTable, IndirectThatGoesOn) {
  pair.driver.chain().readable(16).writable(1).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags |= vring::kNext; });

  EXPECT_EQ(pair.take_error().fault, QueueFault::kIndirectAndNext);
}

TEST_P(HostileTable, IndirectWithoutTheFeature) {
  QueuePair plain({.format = GetParam(), .indirect = false});
  plain.driver.chain().readable(16).publish();
  plain.driver.descriptor(0, [](Descriptor& d) { d.flags |= vring::kIndirect; });

  EXPECT_EQ(plain.take_error().fault, QueueFault::kIndirectOff);
}

TEST_P(HostileTable, WriteOnTheLinkToATableIsIgnored) {
  pair.driver.chain().readable(16).writable(1).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.flags |= vring::kWrite; });

  Chain taken = pair.take_one();

  EXPECT_EQ(taken.readable_length(), 16U);
  pair.device.complete(std::move(taken), 0);
}

// rules: HOSTILE-3
TEST_P(HostileTable, TableOfNoBytes) {
  pair.driver.chain().readable(16).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.length = 0; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadTableLength, 0}));
  EXPECT_EQ(pair.fetch.pending(), 0U);
}

// rules: HOSTILE-3
TEST_P(HostileTable, TableThatIsNoMultipleOf16) {
  pair.driver.chain().readable(16).writable(1).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.length = 31; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadTableLength, 31}));
}

// rules: HOSTILE-3
TEST_P(HostileTable, TableOfMoreEntriesThanTheDeviceAllows) {
  pair.driver.chain().readable(16).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.length = 0xfffffff0U; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kChainTooLong, 0x0fffffff}));
  EXPECT_EQ(pair.fetch.pending(), 0U);
}

// rules: HOSTILE-3
TEST_P(HostileTable, TableAtNoGrantAddress) {
  pair.driver.chain().readable(16).indirect().publish();
  pair.driver.descriptor(0, [](Descriptor& d) { d.address = 0x1000; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kBadAddress, 0x1000}));
  EXPECT_EQ(pair.fetch.pending(), 0U);
}

// rules: HOSTILE-3
TEST_P(HostileTable, TablePastTheLastReference) {
  pair.driver.chain().readable(16).indirect().publish();
  const auto last = GrantAddress::of(0xffffffffU, 4088).raw();
  pair.driver.descriptor(0, [&](Descriptor& d) { d.address = last; });

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kRangeEnd, last}));
}

// rules: HOSTILE-3
TEST_P(HostileTable, RevokedTable) {
  pair.driver.chain().readable(16).indirect().publish();
  const Segment table = pair.driver.table_of(0);
  pair.memory.revoke(table.address, table.length);

  EXPECT_EQ(pair.take_error(), (QueueError{QueueFault::kTableUnreadable,
                                           static_cast<std::uint64_t>(CopyOutcome::kNotGranted)}));
}

TEST_P(HostileTable, TableAcrossAPageBorderIsOneCopyOfTwoSegments) {
  pair.driver.chain().readable(16).writable(1).indirect(4096 - 24).publish();

  Chain taken = pair.take_one();

  EXPECT_EQ(taken.readable_length(), 16U);
  EXPECT_EQ(pair.fetch.runs(), 1U);
  EXPECT_EQ(pair.fetch.segments(), 2U);
  EXPECT_EQ(pair.fetch.bytes(), 32U);
  pair.device.complete(std::move(taken), 0);
}

TEST_P(HostileTable, TablesOfAWholeTurnAreOneRun) {
  for (int i = 0; i < 5; ++i) pair.driver.chain().readable(16).writable(1).indirect().publish();

  auto chains = pair.take();

  ASSERT_THAT(*chains, SizeIs(5));
  EXPECT_EQ(pair.fetch.runs(), 1U);
  EXPECT_EQ(pair.fetch.segments(), 5U);
  for (Chain& each : *chains) pair.device.complete(std::move(each), 0);
}

// What is in the table when the copy was made counts, and nothing that is written later.
TEST_P(HostileTable, TableThatChangesAfterTheCopyChangesNothing) {
  const auto request = pair.driver.chain().readable(16).writable(1).indirect().add();
  static_cast<void>(pair.driver.queue().publish());
  ASSERT_EQ(*pair.device.take_heads(pair.fetch, GuestRef{}, 10), 1U);
  pair.fetch.run();
  pair.driver.table_entry(request, 0, [](Descriptor& d) { d = {}; });

  const auto chains = pair.device.finish_take();

  ASSERT_TRUE(chains.has_value());
  EXPECT_EQ(chains->front().readable_length(), 16U);
  pair.device.complete(std::move(chains->front()), 0);
}

TEST_P(HostileTable, TakingStopsWhenTheTableStorageIsUsedUp) {
  // 64 KiB of tables at a time, of which the next one must fit whatever its length.
  QueuePair deep({.format = GetParam(), .size = 64, .indirect = true},
                 {.max_chain_segments = 2048});
  for (int i = 0; i < 4; ++i) {
    deep.driver.chain().indirect().readable_times(1024, {GrantAddress::of(8), 1}).publish();
  }

  auto first = deep.take();
  auto second = deep.take();

  ASSERT_THAT(*first, SizeIs(3));
  ASSERT_THAT(*second, SizeIs(1));
  for (Chain& each : *first) deep.device.complete(std::move(each), 0);
  deep.device.complete(std::move(second->front()), 0);
}

}  // namespace
}  // namespace vmsg::test
