// What a device counts while it works, for whoever shows it to people: operations, bytes, errors
// and how long they took.
//
// A counter is written by one thread (the worker that serves the queue) and read by another. No
// locked instruction: with one writer, a relaxed load and store are enough.
#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstdint>
#include <string_view>

namespace vmsg {

class Counter {
 public:
  void add(std::uint64_t amount = 1) {
    value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
  }
  [[nodiscard]] std::uint64_t value() const { return value_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint64_t> value_{0};
};

/// How often something took how long, in buckets that double: bucket n counts what took less than
/// 2^n nanoseconds and not less than half of that.
class LatencyHistogram {
 public:
  static constexpr std::size_t kBuckets = 40;  // the last one holds everything over 9 minutes too

  void add(std::uint64_t nanoseconds) {
    const auto bucket = static_cast<std::size_t>(std::bit_width(nanoseconds));
    buckets_[bucket < kBuckets ? bucket : kBuckets - 1].add();
    sum_.add(nanoseconds);
  }
  [[nodiscard]] std::uint64_t bucket(std::size_t index) const { return buckets_[index].value(); }
  [[nodiscard]] std::uint64_t sum_ns() const { return sum_.value(); }

 private:
  std::array<Counter, kBuckets> buckets_{};
  Counter sum_;
};

struct OperationCounters {
  Counter operations;
  Counter bytes;
  Counter errors;
  LatencyHistogram latency;
};

/// Takes what a device counted. Operations of the same name (of several queues) are to be added up.
class CounterSink {
 public:
  CounterSink() = default;
  CounterSink(const CounterSink&) = delete;
  CounterSink& operator=(const CounterSink&) = delete;
  virtual ~CounterSink() = default;

  /// `name`: a word such as "read", "flush", "receive".
  virtual void operations(std::string_view name, const OperationCounters& counters) = 0;
  /// Anything else that grows, such as "reconnects".
  virtual void number(std::string_view name, std::uint64_t value) = 0;
};

}  // namespace vmsg
