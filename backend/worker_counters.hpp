// What a worker counts, readable while it works: its own thread stores, others load. Plain stores
// of values that it keeps anyway, once a turn.
#pragma once

#include <atomic>
#include <cstdint>

#include "backend/snapshot.hpp"
#include "xenbus-glue/grant_copy.hpp"

namespace vmsg {

class CopyCounters {
 public:
  void publish(const xen::GrantCopyMetrics& metrics) {
    const auto put = [](std::atomic<std::uint64_t>& to, std::uint64_t value) {
      to.store(value, std::memory_order_relaxed);
    };
    put(calls_, metrics.calls);
    put(segments_, metrics.segments);
    put(bytes_, metrics.bytes);
    put(failed_calls_, metrics.failed_calls);
    put(failed_segments_, metrics.failed_segments);
    put(bad_ranges_, metrics.bad_ranges);
    put(region_copies_, metrics.region_copies);
  }

  [[nodiscard]] CopySnapshot snapshot() const {
    const auto get = [](const std::atomic<std::uint64_t>& from) {
      return from.load(std::memory_order_relaxed);
    };
    return {.calls = get(calls_),
            .segments = get(segments_),
            .bytes = get(bytes_),
            .failed_calls = get(failed_calls_),
            .failed_segments = get(failed_segments_),
            .bad_ranges = get(bad_ranges_),
            .region_copies = get(region_copies_)};
  }

 private:
  std::atomic<std::uint64_t> calls_{0};
  std::atomic<std::uint64_t> segments_{0};
  std::atomic<std::uint64_t> bytes_{0};
  std::atomic<std::uint64_t> failed_calls_{0};
  std::atomic<std::uint64_t> failed_segments_{0};
  std::atomic<std::uint64_t> bad_ranges_{0};
  std::atomic<std::uint64_t> region_copies_{0};
};

struct WorkerCounters {
  std::atomic<std::uint64_t> turns{0};
  CopyCounters from_guests;
  CopyCounters to_guests;
};

}  // namespace vmsg
