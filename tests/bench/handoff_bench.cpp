// handoff-bench: random 4 KiB reads of a file which one thread asks for and another one does, with
// nothing between the two but two small rings of numbers. No virtqueue, no grants, no messages:
// what it loses against fio is the price of handing a request over and back, as plainly as it can
// be done. A yardstick, not a bound: it registers no buffers, and submits and waits in two calls.
//
// The threads wait for each other as a driver and vmsgd's worker do: whoever sleeps says so, and
// only then is woken; the doing thread sleeps in its io_uring, and looks at its ring for a while
// before that unless the disk has work.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <memory>
#include <optional>
#include <random>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "devices/io_ring.hpp"
#include "tests/bench/event_fd.hpp"
#include "tests/bench/process_cpu.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kBlock = 4096;
struct alignas(kBlock) Block {
  std::array<std::byte, kBlock> bytes;
};
constexpr std::uint32_t kMaxDepth = 256;

struct Options {
  std::string file;
  std::uint32_t depth = 1;
  double seconds = 1;
  double warm_up = 0.1;
  bool is_spinning = false;
  unsigned look_us = 100;
  std::vector<unsigned> driver_on;
  std::vector<unsigned> device_on;
};

/// Numbers from one thread to another, which may sleep.
class Ring {
 public:
  /// The sender's: shown to the receiver by publish().
  void put(std::uint64_t number) { slots_[put_++ % kMaxDepth] = number; }

  /// Whether the receiver sleeps and has to be woken.
  [[nodiscard]] bool publish() {
    // ORDER: the numbers before the count; the count before the look at who sleeps.
    head_.store(put_, std::memory_order_release);
    full_barrier();
    return is_asleep_.load(std::memory_order_relaxed);
  }

  /// The receiver's.
  [[nodiscard]] bool has_any() const { return head_.load(std::memory_order_acquire) != taken_; }
  std::uint64_t take() { return slots_[taken_++ % kMaxDepth]; }

  /// Announces sleep; false when something came meanwhile.
  [[nodiscard]] bool may_sleep() {
    is_asleep_.store(true, std::memory_order_relaxed);
    // ORDER: the announcement before the last look.
    full_barrier();
    if (!has_any()) return true;
    woke();
    return false;
  }
  void woke() { is_asleep_.store(false, std::memory_order_relaxed); }

 private:
  std::array<std::uint64_t, kMaxDepth> slots_{};
  alignas(64) std::atomic<std::uint64_t> head_{0};
  alignas(64) std::atomic<bool> is_asleep_{false};
  alignas(64) std::uint64_t put_ = 0;
  alignas(64) std::uint64_t taken_ = 0;
};

struct Shared {
  Ring requests;  // sector numbers times kMaxDepth, plus the slot
  Ring done;      // slots
  EventFd requested;
  EventFd finished;
  std::atomic<bool> is_over{false};
  std::atomic<bool> has_failed{false};
};

void stay_on(const std::vector<unsigned>& processors) {
  if (processors.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  for (const unsigned each : processors) CPU_SET(each, &set);
  must(sched_setaffinity(0, sizeof(set), &set), "sched_setaffinity");
}

/// The doing side.
class Device {
 public:
  Device(Shared& shared, const Options& options)
      : shared_(shared),
        look_(std::chrono::microseconds(options.look_us)),
        file_(static_cast<int>(must(open(options.file.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC),
                                    options.file.c_str()))) {
    auto ring = IoRing::create(2 * kMaxDepth);
    if (!ring) throw std::system_error(ring.error(), std::generic_category(), "io_uring");
    io_ = std::move(*ring);
    for (std::uint32_t i = 0; i < kMaxDepth; ++i) reads_[i].emplace(*this, i);
  }

  void run() {
    Bell bell(*this);
    while (!shared_.is_over) {
      const bool has_started = start_reads();
      if (has_started) io_->submit_and_wait(0);
      const bool has_finished = io_->reap(kMaxDepth) > 0;
      if (has_finished && shared_.done.publish()) shared_.finished.signal();
      if (has_started || has_finished) continue;
      if (under_way_ == 0 && look()) continue;
      if (!shared_.requests.may_sleep()) continue;
      io_->submit_and_wait(std::nullopt);
      shared_.requests.woke();
    }
    while (under_way_ > 0) {
      io_->submit_and_wait(std::nullopt);
      io_->reap(kMaxDepth);
    }
  }

 private:
  struct Read final : IoCompletion {
    Read(Device& device, std::uint32_t which) : owner(device), slot(which) {}
    void on_complete(std::int32_t result, bool) override {
      if (result != static_cast<std::int32_t>(kBlock)) owner.shared_.has_failed = true;
      --owner.under_way_;
      owner.shared_.done.put(slot);
    }
    Device& owner;
    std::uint32_t slot;
  };

  /// Wakes the io_uring when the other side asks for something.
  struct Bell final : IoCompletion {
    explicit Bell(Device& device) : owner(device) { arm(); }
    void on_complete(std::int32_t, bool is_last) override {
      if (is_last) arm();
    }
    void arm() {
      io_uring_sqe* entry = owner.io_->prepare(*this);
      io_uring_prep_poll_multishot(entry, owner.shared_.requested.fd(), POLLIN);
    }
    Device& owner;
  };

  bool start_reads() {
    bool has_any = false;
    for (; shared_.requests.has_any(); has_any = true) {
      const std::uint64_t request = shared_.requests.take();
      const auto slot = static_cast<std::uint32_t>(request % kMaxDepth);
      io_uring_sqe* entry = io_->prepare(*reads_[slot]);
      io_uring_prep_read(entry, file_.get(), blocks_[slot].bytes.data(), kBlock,
                         request / kMaxDepth * kBlock);
      ++under_way_;
    }
    return has_any;
  }

  /// Whether a request came within the time.
  [[nodiscard]] bool look() const {
    const auto end = Clock::now() + look_;
    do {
      for (int i = 0; i < 16; ++i) {
        if (shared_.requests.has_any()) return true;
        __builtin_ia32_pause();
      }
    } while (Clock::now() < end);
    return false;
  }

  Shared& shared_;
  Clock::duration look_;
  FileDescriptor file_;
  std::vector<Block> blocks_{kMaxDepth};
  std::unique_ptr<IoRing> io_;
  std::array<std::optional<Read>, kMaxDepth> reads_;
  std::uint32_t under_way_ = 0;
};

/// The asking side.
class Driver {
 public:
  Driver(Shared& shared, const Options& options, std::uint64_t blocks)
      : shared_(shared), is_spinning_(options.is_spinning), last_block_(blocks - 1) {
    for (std::uint32_t slot = 0; slot < options.depth; ++slot) ask(slot);
  }

  /// How many reads were done.
  std::uint64_t run(double seconds) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(seconds));
    std::uint64_t count = 0;
    for (show(); Clock::now() < end; show()) {
      while (!shared_.done.has_any()) {
        if (shared_.has_failed) return count;
        rest();
      }
      for (; shared_.done.has_any(); ++count) ask(shared_.done.take());
    }
    return count;
  }

 private:
  void ask(std::uint64_t slot) { shared_.requests.put(block_(random_) * kMaxDepth + slot); }
  void show() {
    if (shared_.requests.publish()) shared_.requested.signal();
  }
  void rest() {
    if (is_spinning_) return __builtin_ia32_pause();
    if (!shared_.done.may_sleep()) return;
    shared_.finished.wait();
    shared_.done.woke();
  }

  Shared& shared_;
  bool is_spinning_;
  std::uint64_t last_block_;
  std::mt19937_64 random_{1};
  std::uniform_int_distribution<std::uint64_t> block_{0, last_block_};
};

std::uint64_t cpu_ns_of(std::jthread& thread) {
  clockid_t clock{};
  if (pthread_getcpuclockid(thread.native_handle(), &clock) != 0) return 0;
  timespec time{};
  must(clock_gettime(clock, &time), "clock_gettime");
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

std::uint64_t blocks_of(const std::string& file) {
  struct stat status{};
  must(stat(file.c_str(), &status), file.c_str());
  const auto blocks = static_cast<std::uint64_t>(status.st_size) / kBlock;
  if (blocks == 0) throw std::runtime_error(fmt::format("{}: shorter than a block", file));
  return blocks;
}

int measure(const Options& options) {
  Shared shared;
  const std::uint64_t blocks = blocks_of(options.file);
  std::exception_ptr failure;
  std::jthread device([&] {
    try {
      stay_on(options.device_on);
      Device(shared, options).run();
    } catch (...) {
      failure = std::current_exception();
      shared.has_failed = true;
      shared.finished.signal();
    }
  });
  stay_on(options.driver_on);
  Driver driver(shared, options, blocks);
  driver.run(options.warm_up);
  const std::uint64_t device_before = cpu_ns_of(device);
  const std::uint64_t own_before = thread_cpu_ns();
  const auto begin = Clock::now();
  const std::uint64_t count = driver.run(options.seconds);
  const std::chrono::duration<double> took = Clock::now() - begin;
  const std::uint64_t own = thread_cpu_ns() - own_before;
  const std::uint64_t device_cpu = cpu_ns_of(device) - device_before;
  shared.is_over = true;
  shared.requested.signal();
  device.join();
  if (failure) std::rethrow_exception(failure);
  fmt::print(
      "{{\"seconds\": {:.6f}, \"operations\": {}, \"server_cpu_ns\": {}, \"driver_cpu_ns\": {}}}\n",
      took.count(), count, device_cpu, own);
  return shared.has_failed ? 1 : 0;
}

}  // namespace
}  // namespace vmsg::bench

int main(int argc, char** argv) try {
  using namespace vmsg::bench;  // NOLINT(google-build-using-namespace): this is its program
  CLI::App app{"Reads a file in another thread and prints how often"};
  Options options;
  app.add_option("FILE", options.file, "What is read")->required();
  app.add_option("--depth", options.depth, "Reads that are out at a time")
      ->check(CLI::Range(1U, kMaxDepth))
      ->capture_default_str();
  app.add_option("--seconds", options.seconds, "How long to measure")->capture_default_str();
  app.add_option("--warm-up", options.warm_up, "Seconds before that")->capture_default_str();
  app.add_flag("--spin", options.is_spinning, "The asking thread looks instead of waiting");
  app.add_option("--look", options.look_us,
                 "Microseconds that the reading one looks before it waits")
      ->capture_default_str();
  app.add_option("--driver-on", options.driver_on, "Processors of the asking thread");
  app.add_option("--device-on", options.device_on, "Processors of the reading one");
  CLI11_PARSE(app, argc, argv);
  return measure(options);
} catch (const std::exception& failure) {
  static_cast<void>(std::fprintf(stderr, "handoff-bench: %s\n", failure.what()));
  return 1;
}
