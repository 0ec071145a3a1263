// What the calls cost of which a user-space backend is made, on the machine where this runs: dom0
// of a real Xen, or anything with the mock. Each by itself, in a loop, so that no wait is in it.
//
//   call-prices [BLOCK_DEVICE]     prints lines of: what, a tab, nanoseconds
//
// A price is the least of some rounds: what disturbs a round only ever adds to it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <exception>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <system_error>
#include <thread>
#include <utility>

#include "devices/file_descriptor.hpp"
#include "devices/io_ring.hpp"
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

/// A call to the kernel that has to succeed.
std::int64_t must(std::int64_t result, const char* what) {
  if (result < 0) throw std::system_error(errno, std::generic_category(), what);
  return result;
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
  std::fflush(stdout);
}

FileDescriptor make_eventfd() {
  return FileDescriptor(static_cast<int>(must(eventfd(0, EFD_CLOEXEC), "eventfd")));
}
void signal(const FileDescriptor& event) {
  const std::uint64_t one = 1;
  must(write(event.get(), &one, sizeof(one)), "eventfd");
}
void wait(const FileDescriptor& event) {
  std::uint64_t count = 0;
  must(read(event.get(), &count, sizeof(count)), "eventfd");
}

struct Counted final : IoCompletion {
  void on_complete(std::int32_t result, bool) override { last = result; }
  std::int32_t last = 0;
};

void price_of_the_kernel() {
  print_price("system call", [] { static_cast<void>(syscall(SYS_getppid)); });
  const FileDescriptor event = make_eventfd();
  print_price("eventfd, written and read", [&] {
    signal(event);
    wait(event);
  });
}

/// Two threads that wake each other in turn: half of a round is one wake-up.
void price_of_a_wake_up() {
  const FileDescriptor there = make_eventfd();
  const FileDescriptor back = make_eventfd();
  std::atomic<bool> is_over{false};
  std::jthread other([&] {
    while (true) {
      wait(there);
      if (is_over) return;
      signal(back);
    }
  });
  print_price("another thread woken, and woken by it", [&] {
    signal(there);
    wait(back);
  });
  is_over = true;
  signal(there);
}

void price_of_io_uring(const char* device) {
  auto made = IoRing::create(64);
  if (!made) throw std::system_error(made.error(), std::generic_category(), "io_uring");
  IoRing& ring = **made;
  Counted counted;
  const auto run = [&](auto prepare) {
    prepare(*ring.prepare(counted));
    ring.submit_and_wait(std::nullopt);
    ring.reap(1);
    must(counted.last, "io_uring");
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
  return 0;
} catch (const std::exception& failure) {
  static_cast<void>(std::fprintf(stderr, "call-prices: %s\n", failure.what()));
  return 1;
}
