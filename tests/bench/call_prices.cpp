// What the calls cost of which a user-space backend is made, on the machine where this runs: dom0
// of a real Xen, or anything with the mock. Each by itself, in a loop, so that no wait is in it.
//
//   call-prices [BLOCK_DEVICE]     prints lines of: what, a tab, nanoseconds
//
// A price is the least of some rounds: what disturbs a round only ever adds to it. With a block
// device also that of all the calls which one request needs, in a row and with pauses.
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>
#include <vector>

#include "devices/file_descriptor.hpp"
#include "devices/io_ring.hpp"
#include "tests/bench/event_fd.hpp"
#include "xenbus-glue/anonymous_pages.hpp"
#include "xenbus-glue/event_channels.hpp"
#include "xenbus-glue/grant_copy.hpp"
#include "xenbus-glue/grant_map.hpp"
#include "xenbus-glue/grant_share.hpp"
#include "xenbus-glue/store.hpp"

namespace vmsg::bench {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kRounds = 7;
constexpr std::chrono::milliseconds kRound{50};
constexpr std::size_t kPage = 4096;
constexpr std::uint32_t kPages = 32;

template <typename T>
T need(Result<T, xen::XenError> result, const char* what) {
  if (!result)
    throw std::runtime_error(fmt::format("{}: {}", what, xen::to_string(result.error())));
  if constexpr (!std::is_void_v<T>) return std::move(*result);
}

xen::AnonymousPages need_memory(std::size_t bytes) {
  auto pages = xen::AnonymousPages::create(bytes);
  if (!pages) throw std::runtime_error("no memory");
  return std::move(*pages);
}

void print_price(const std::string& what, const std::function<void()>& call) {
  double least = 0;
  for (int round = 0; round < kRounds; ++round) {
    const auto start = Clock::now();
    std::uint64_t calls = 0;
    std::chrono::duration<double, std::nano> passed{};
    // The clock is asked so rarely that it does not count.
    for (std::uint64_t some = 1; passed < kRound; some *= 2) {
      for (std::uint64_t i = 0; i < some; ++i) call();
      calls += some;
      passed = Clock::now() - start;
    }
    const double each = passed.count() / static_cast<double>(calls);
    least = round == 0 ? each : std::min(least, each);
  }
  fmt::print("{}\t{:.0f}\n", what, least);
  static_cast<void>(std::fflush(stdout));
}

struct Told final : IoCompletion {
  void on_complete(std::int32_t result, bool) override {
    if (result < 0) throw std::system_error(-result, std::generic_category(), "io_uring");
    has_come = true;
  }
  /// Whether it was told since the last time.
  [[nodiscard]] bool take() { return std::exchange(has_come, false); }
  bool has_come = false;
};

void price_of_the_kernel() {
  print_price("system call", [] { static_cast<void>(syscall(SYS_getppid)); });
  const EventFd event;
  print_price("eventfd, written and read", [&] {
    event.signal();
    event.wait();
  });
}

/// Two threads that wake each other in turn: half of a round is one wake-up.
void price_of_a_wake_up() {
  const EventFd there;
  const EventFd back;
  std::atomic<bool> is_over{false};
  std::jthread other([&] {
    while (true) {
      there.wait();
      if (is_over) return;
      back.signal();
    }
  });
  print_price("another thread woken, and woken by it", [&] {
    there.signal();
    back.wait();
  });
  is_over = true;
  there.signal();
}

void price_of_io_uring(const char* device) {
  auto made = IoRing::create(64);
  if (!made) throw std::system_error(made.error(), std::generic_category(), "io_uring");
  IoRing& ring = **made;
  Told done;
  const auto run = [&](auto prepare) {
    prepare(*ring.prepare(done));
    ring.submit_and_wait(std::nullopt);
    ring.reap(1);
  };
  print_price("io_uring, nothing done",
              [&] { run([](io_uring_sqe& e) { io_uring_prep_nop(&e); }); });
  if (device == nullptr) return;

  const FileDescriptor disk(
      static_cast<int>(must(open(device, O_RDONLY | O_DIRECT | O_CLOEXEC), device)));
  const auto pages = need_memory(kPage);
  std::byte* const page = pages.bytes().data();
  print_price("pread, 4 KiB of the disk", [&] { must(pread(disk.get(), page, kPage, 0), device); });
  print_price("io_uring, 4 KiB of the disk", [&] {
    run([&](io_uring_sqe& e) { io_uring_prep_read(&e, disk.get(), page, kPage, 0); });
  });
}

void price_of_events(xen::DomainId self) {
  auto events = need(xen::EventChannels::open(), "event channels");
  const auto offered = need(events.alloc_unbound(self), "port");
  const auto bound = need(
      events.bind_interdomain(self, xen::RemotePort{static_cast<std::uint32_t>(offered.local())}),
      "bind");
  const auto take = [&] {
    while (const auto port = need(events.next_pending(), "event"))
      need(events.unmask(*port), "unmask");
  };
  take();
  print_price("event sent", [&] { need(bound.notify(), "notify"); });
  take();
  print_price("event sent, taken and unmasked", [&] {
    need(bound.notify(), "notify");
    take();
  });
}

void price_of_copies(xen::DomainId self) {
  auto sharer = need(xen::GrantSharer::open(), "grants");
  const auto shared = need(sharer.share(self, kPages, Access::kReadWrite), "share");
  auto mapper = need(xen::GrantMapper::open(), "grants");
  const auto pages = need_memory(kPages * kPage);
  xen::GrantCopyBatch batch(mapper, CopyDirection::kFromGuest);
  std::array<CopyOutcome, kPages> outcomes{};
  const auto copy = [&](std::uint32_t segments, std::size_t bytes) {
    for (std::uint32_t i = 0; i < segments; ++i) {
      batch.add({.domain = self}, GrantAddress::of(shared.refs()[i]),
                pages.bytes().subspan(i * kPage, bytes), outcomes[i]);
    }
    batch.run();
    for (std::uint32_t i = 0; i < segments; ++i) {
      if (outcomes[i] != CopyOutcome::kOk) throw std::runtime_error("a grant copy was refused");
    }
  };
  print_price("grant copy, 16 bytes", [&] { copy(1, 16); });
  print_price("grant copy, 4 KiB", [&] { copy(1, kPage); });
  print_price("grant copy, 32 times 4 KiB", [&] { copy(kPages, kPage); });
}

/// What a worker calls for one read of 4 KiB that comes alone, and nothing of what it computes.
class LoneRequest {
 public:
  LoneRequest(xen::DomainId self, const char* device)
      : self_(self),
        disk_(static_cast<int>(must(open(device, O_RDONLY | O_DIRECT | O_CLOEXEC), device))),
        events_(need(xen::EventChannels::open(), "event channels")),
        offered_(need(events_.alloc_unbound(self), "port")),
        bound_(need(events_.bind_interdomain(
                        self, xen::RemotePort{static_cast<std::uint32_t>(offered_.local())}),
                    "bind")),
        sharer_(need(xen::GrantSharer::open(), "grants")),
        shared_(need(sharer_.share(self, 2, Access::kReadWrite), "share")),
        mapper_(need(xen::GrantMapper::open(), "grants")),
        fetch_(mapper_, CopyDirection::kFromGuest),
        give_(mapper_, CopyDirection::kToGuest),
        pages_(need_memory(2 * kPage)) {
    auto made = IoRing::create(64);
    if (!made) throw std::system_error(made.error(), std::generic_category(), "io_uring");
    io_ = std::move(*made);
    io_uring_prep_poll_multishot(io_->prepare(bell_), events_.fd(), POLLIN);
    // What the binding itself raised.
    while (const auto port = need(events_.next_pending(), "event")) {
      need(events_.unmask(*port), "unmask");
    }
    need(bound_.notify(), "notify");
  }

  void run() {
    // The kick: waited for, taken, and a look whether there is another one.
    wait_for(bell_);
    std::optional<xen::LocalPort> kicked;
    while (const auto port = need(events_.next_pending(), "event")) kicked = port;
    std::byte* const page = pages_.bytes().data();
    copy(fetch_, {{.ref = 0, .bytes = 16}});
    io_uring_prep_read(io_->prepare(read_), disk_.get(), page, kPage, 0);
    wait_for(read_);
    copy(give_, {{.ref = 0, .bytes = kPage}, {.ref = 1, .bytes = 1}});
    // To ourselves, so that it is the next kick as well.
    need(bound_.notify(), "notify");
    if (kicked) need(events_.unmask(*kicked), "unmask");
  }

 private:
  struct Segment {
    std::uint32_t ref;
    std::size_t bytes;
  };

  void wait_for(Told& completion) {
    while (!completion.take()) {
      io_->submit_and_wait(std::nullopt);
      io_->reap(1);
    }
  }

  void copy(xen::GrantCopyBatch& batch, std::initializer_list<Segment> segments) {
    for (const Segment& each : segments) {
      batch.add({.domain = self_}, GrantAddress::of(shared_.refs()[each.ref]),
                pages_.bytes().subspan(each.ref * kPage, each.bytes), outcomes_[each.ref]);
    }
    batch.run();
  }

  xen::DomainId self_;
  FileDescriptor disk_;
  xen::EventChannels events_;
  xen::Port offered_;
  xen::Port bound_;
  xen::GrantSharer sharer_;
  xen::SharedPages shared_;
  xen::GrantMapper mapper_;
  xen::GrantCopyBatch fetch_;
  xen::GrantCopyBatch give_;
  xen::AnonymousPages pages_;
  std::array<CopyOutcome, 2> outcomes_{};
  Told bell_;
  Told read_;
  std::unique_ptr<IoRing> io_;
};

void price_of_a_request(xen::DomainId self, const char* device) {
  LoneRequest request(self, device);
  print_price("all calls of a 4 KiB read", [&] { request.run(); });

  // A guest with one request at a time leaves the processor to others in between, and what its next
  // one needs is no longer in any cache.
  constexpr std::size_t kTries = 501;
  constexpr timespec kPause{.tv_sec = 0, .tv_nsec = 1'000'000};
  std::vector<double> all;
  for (std::size_t i = 0; i < kTries; ++i) {
    must(ppoll(nullptr, 0, &kPause, nullptr), "ppoll");
    const auto start = Clock::now();
    request.run();
    all.push_back(std::chrono::duration<double, std::nano>(Clock::now() - start).count());
  }
  std::ranges::nth_element(all, all.begin() + kTries / 2);
  fmt::print("the same a millisecond later (median)\t{:.0f}\n", all[kTries / 2]);
}

}  // namespace
}  // namespace vmsg::bench

int main(int argc, char** argv) try {
  using namespace vmsg::bench;
  price_of_the_kernel();
  price_of_a_wake_up();
  price_of_io_uring(argc > 1 ? argv[1] : nullptr);
  const auto store = need(vmsg::xen::Store::open(), "xenstore");
  const auto self = need(store->own_domain(), "own domain");
  price_of_events(self);
  price_of_copies(self);
  if (argc > 1) price_of_a_request(self, argv[1]);
  return 0;
} catch (const std::exception& failure) {
  static_cast<void>(std::fprintf(stderr, "call-prices: %s\n", failure.what()));
  return 1;
}
