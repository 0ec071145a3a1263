// What a device counted, added up over its queues: plain values of one moment.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>

#include "devices/device_counters.hpp"

namespace vmsg {

struct LatencyTotals {
  std::array<std::uint64_t, LatencyHistogram::kBuckets> buckets{};
  std::uint64_t sum_ns = 0;

  [[nodiscard]] std::uint64_t count() const;
  /// The time that `share` (0 to 1) of the operations took at most: a value between the bounds of
  /// the bucket where that operation is. 0 when there was none.
  [[nodiscard]] std::uint64_t quantile_ns(double share) const;
  /// No operation took longer: the bound of the last bucket that has any.
  [[nodiscard]] std::uint64_t bound_ns() const;

  void add(const LatencyHistogram& histogram);
};

struct OperationTotal {
  std::uint64_t operations = 0;
  std::uint64_t bytes = 0;
  std::uint64_t errors = 0;
  LatencyTotals latency;
};

struct OperationTotals {
  std::map<std::string, OperationTotal, std::less<>> operations;
  std::map<std::string, std::uint64_t, std::less<>> numbers;
};

/// Collects ServedDevice::report().
class TotalsCollector final : public CounterSink {
 public:
  explicit TotalsCollector(OperationTotals& totals) : totals_(totals) {}
  void operations(std::string_view name, const OperationCounters& counters) override;
  void number(std::string_view name, std::uint64_t value) override;

 private:
  OperationTotals& totals_;
};

}  // namespace vmsg
