#include "backend/operation_totals.hpp"

#include <numeric>

namespace vmsg {
namespace {

constexpr std::uint64_t upper_bound_ns(std::size_t bucket) { return std::uint64_t{1} << bucket; }

}  // namespace

std::uint64_t LatencyTotals::count() const {
  return std::accumulate(buckets.begin(), buckets.end(), std::uint64_t{0});
}

std::uint64_t LatencyTotals::quantile_ns(double share) const {
  const double wanted = share * static_cast<double>(count());
  double seen = 0;
  for (std::size_t i = 0; i < buckets.size(); ++i) {
    const auto here = static_cast<double>(buckets[i]);
    if (here == 0 || seen + here < wanted) {
      seen += here;
      continue;
    }
    const auto upper = static_cast<double>(upper_bound_ns(i));
    const double lower = i == 0 ? 0 : upper / 2;
    return static_cast<std::uint64_t>(lower + (upper - lower) * (wanted - seen) / here);
  }
  return 0;
}

std::uint64_t LatencyTotals::bound_ns() const {
  for (std::size_t i = buckets.size(); i > 0; --i) {
    if (buckets[i - 1] > 0) return upper_bound_ns(i - 1);
  }
  return 0;
}

void LatencyTotals::add(const LatencyHistogram& histogram) {
  for (std::size_t i = 0; i < buckets.size(); ++i) buckets[i] += histogram.bucket(i);
  sum_ns += histogram.sum_ns();
}

void TotalsCollector::operations(std::string_view name, const OperationCounters& counters) {
  OperationTotal& total = totals_.operations[std::string(name)];
  total.operations += counters.operations.value();
  total.bytes += counters.bytes.value();
  total.errors += counters.errors.value();
  total.latency.add(counters.latency);
}

void TotalsCollector::number(std::string_view name, std::uint64_t value) {
  totals_.numbers[std::string(name)] += value;
}

}  // namespace vmsg
