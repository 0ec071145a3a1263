// vmsg-guest blk bench: how many requests a second, with so many on their way, by one thread.
#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <chrono>
#include <random>
#include <vector>

#include "devices/blk/blk_wire.hpp"
#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/disk_session.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

/// Latencies in buckets of an eighth of a power of two.
class Latencies {
 public:
  void add(std::uint64_t nanoseconds) {
    const auto width = static_cast<std::size_t>(std::bit_width(nanoseconds | 8U));
    const std::size_t eighth = (nanoseconds >> (width - 4)) & 7U;
    ++buckets_[std::min(width * 8 + eighth, buckets_.size() - 1)];
    ++count_;
    sum_ += nanoseconds;
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  [[nodiscard]] std::uint64_t mean() const { return count_ == 0 ? 0 : sum_ / count_; }
  /// The upper end of the bucket that the quantile lies in.
  [[nodiscard]] std::uint64_t quantile(double part) const {
    const auto wanted = static_cast<std::uint64_t>(static_cast<double>(count_) * part);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen > wanted) return (std::uint64_t{9} + i % 8) << (i / 8 - 4);
    }
    return 0;
  }

 private:
  std::vector<std::uint64_t> buckets_ = std::vector<std::uint64_t>(std::size_t{65} * 8);
  std::uint64_t count_ = 0;
  std::uint64_t sum_ = 0;
};

struct Outcome {
  Latencies latencies;
  std::chrono::nanoseconds time{};
  std::uint64_t waits = 0;
};

/// Keeps every place of every queue busy until the time is over, then lets them run out.
class Measurement {
 public:
  Measurement(DiskSession& session, const BenchOptions& options)
      : session_(session),
        options_(options),
        pieces_(session.info().sectors * wire::kSectorSize / options.bytes),
        began_(session.queues(), std::vector<Instant>(options.depth)) {}

  Result<Outcome, Failure> run() {
    if (pieces_ == 0) return std::unexpected("the disk is smaller than a request");
    const Instant begin = now();
    end_ = begin + options_.time;
    time_ = begin;
    if (auto filled = fill(); !filled) return std::unexpected(filled.error());
    while (out_ > 0) {
      bool has_moved = false;
      for (std::size_t queue = 0; queue < session_.queues(); ++queue) {
        const auto moved = collect(queue);
        if (!moved) return std::unexpected(moved.error());
        has_moved = has_moved || *moved;
      }
      if (has_moved || out_ == 0) continue;
      if (auto waited = wait(); !waited) return std::unexpected(waited.error());
    }
    outcome_.time = time_ - begin;
    return std::move(outcome_);
  }

 private:
  Result<bool, Failure> start(std::size_t queue, std::uint32_t number) {
    const bool is_write = random_() % 100 < options_.write_percent;
    began_[queue][number] = now();
    return session_.queue(queue).add(
        number, {.type = is_write ? wire::kTypeOut : wire::kTypeIn,
                 .sector = random_() % pieces_ * (options_.bytes / wire::kSectorSize),
                 .bytes = options_.bytes,
                 .device_writes = !is_write});
  }

  Result<void, Failure> fill() {
    for (std::size_t queue = 0; queue < session_.queues(); ++queue) {
      for (std::uint32_t number = 0; number < options_.depth; ++number) {
        const auto added = start(queue, number);
        if (!added) return std::unexpected(added.error());
        if (!*added) return std::unexpected("the queue has no room for this depth");
      }
      session_.queue(queue).publish();
    }
    out_ = session_.queues() * options_.depth;
    return {};
  }

  /// Takes what one queue has done and asks for as much again: whether there was anything.
  Result<bool, Failure> collect(std::size_t queue) {
    GuestDisk& disk = session_.queue(queue);
    bool has_moved = false;
    bool has_added = false;
    while (true) {
      const auto done = disk.poll();
      if (!done) return std::unexpected(done.error());
      if (!*done) break;
      has_moved = true;
      time_ = now();
      if ((*done)->status != wire::kStatusOk) return std::unexpected("a request has failed");
      outcome_.latencies.add(
          static_cast<std::uint64_t>((time_ - began_[queue][(*done)->request]).count()));
      if (time_ >= end_) {
        --out_;
        continue;
      }
      const auto added = start(queue, (*done)->request);
      if (!added) return std::unexpected(added.error());
      has_added = true;
    }
    if (has_added) disk.publish();
    return has_moved;
  }

  Result<void, Failure> wait() {
    if (options_.is_busy) {
      if (now() > end_ + std::chrono::seconds(10)) return std::unexpected("the disk is stuck");
      return {};
    }
    ++outcome_.waits;
    if (auto waited = session_.wait(); !waited) return std::unexpected(waited.error());
    return {};
  }

  DiskSession& session_;
  const BenchOptions& options_;
  const std::uint64_t pieces_;
  std::minstd_rand random_{1};
  std::vector<std::vector<Instant>> began_;
  std::size_t out_ = 0;
  Instant end_;
  Instant time_;
  Outcome outcome_;
};

}  // namespace

int run_blk_bench(const CommandOptions& command, const BenchOptions& options) {
  if (options.bytes % wire::kSectorSize != 0 || options.bytes == 0) {
    return complain("--io must be a multiple of 512");
  }
  GuestLoop loop;
  auto link = GuestLink::connect(loop, command.link);
  if (!link) return complain(link.error());
  int status = 0;
  {
    auto session = DiskSession::open(**link, command,
                                     {.queues = options.queues,
                                      .queue_size = options.queue_size,
                                      .disk = {.depth = options.depth, .bytes = options.bytes}});
    if (!session) return complain(session.error());
    const auto measured = Measurement(**session, options).run();
    if (measured) {
      const Latencies& latencies = measured->latencies;
      const double seconds = std::chrono::duration<double>(measured->time).count();
      const double rate = static_cast<double>(latencies.count()) / seconds;
      fmt::print(
          "iops={:.0f} mb_per_s={:.1f} mean_us={:.1f} p50_us={:.1f} p99_us={:.1f} p999_us={:.1f} "
          "requests={} waits={}\n",
          rate, rate * options.bytes / 1e6, static_cast<double>(latencies.mean()) / 1e3,
          static_cast<double>(latencies.quantile(0.5)) / 1e3,
          static_cast<double>(latencies.quantile(0.99)) / 1e3,
          static_cast<double>(latencies.quantile(0.999)) / 1e3, latencies.count(), measured->waits);
    } else {
      status = complain(measured.error());
    }
    if (auto stopped = (*session)->stop(); !stopped && status == 0) {
      status = complain(stopped.error());
    }
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
