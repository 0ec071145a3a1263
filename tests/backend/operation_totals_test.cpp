// Sums over queues, and what a histogram of doubling buckets says about times.
#include "backend/operation_totals.hpp"

#include <gtest/gtest.h>

namespace vmsg {
namespace {

TEST(OperationTotals, OperationsOfTheSameNameAreAddedUp) {
  OperationCounters first;
  first.operations.add(3);
  first.bytes.add(4096);
  first.errors.add(1);
  first.latency.add(1000);
  OperationCounters second;
  second.operations.add(2);
  second.bytes.add(512);
  second.latency.add(1000);
  OperationTotals totals;
  TotalsCollector collector(totals);

  collector.operations("read", first);
  collector.operations("read", second);
  collector.operations("write", second);
  collector.number("reconnects", 1);
  collector.number("reconnects", 2);

  ASSERT_EQ(totals.operations.size(), 2U);
  const OperationTotal& read = totals.operations.at("read");
  EXPECT_EQ(read.operations, 5U);
  EXPECT_EQ(read.bytes, 4608U);
  EXPECT_EQ(read.errors, 1U);
  EXPECT_EQ(read.latency.count(), 2U);
  EXPECT_EQ(read.latency.sum_ns, 2000U);
  EXPECT_EQ(totals.numbers.at("reconnects"), 3U);
}

LatencyTotals latencies(std::initializer_list<std::uint64_t> nanoseconds) {
  LatencyHistogram histogram;
  for (const std::uint64_t one : nanoseconds) histogram.add(one);
  LatencyTotals totals;
  totals.add(histogram);
  return totals;
}

TEST(LatencyTotals, NothingMeasuredIsZero) {
  EXPECT_EQ(latencies({}).quantile_ns(0.99), 0U);
  EXPECT_EQ(latencies({}).bound_ns(), 0U);
}

TEST(LatencyTotals, QuantilesLieInTheBucketOfTheirOperation) {
  // 90 operations of 512 to 1023 ns, 10 of 65536 to 131071 ns.
  LatencyHistogram histogram;
  for (int i = 0; i < 90; ++i) histogram.add(700);
  for (int i = 0; i < 10; ++i) histogram.add(100'000);
  LatencyTotals totals;
  totals.add(histogram);

  EXPECT_EQ(totals.quantile_ns(0.9), 1024U);
  EXPECT_EQ(totals.quantile_ns(0.45), 768U);
  EXPECT_GT(totals.quantile_ns(0.91), 65536U);
  EXPECT_LE(totals.quantile_ns(0.99), 131072U);
  EXPECT_EQ(totals.bound_ns(), 131072U);
}

TEST(LatencyTotals, AnOperationThatTookNoTime) {
  EXPECT_EQ(latencies({0}).quantile_ns(0.5), 0U);
  EXPECT_EQ(latencies({0}).bound_ns(), 1U);
}

}  // namespace
}  // namespace vmsg
