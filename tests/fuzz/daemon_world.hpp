// What a script of daemon_fuzz plays with: the daemon, and the domain of the guest that it serves.
// Both are there for all inputs, and every input has to leave them as it found them.
#pragma once

#include <algorithm>
#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/backend.hpp"
#include "tests/fuzz/manual_clock.hpp"
#include "tests/fuzz/memory_hosts.hpp"
#include "tests/fuzz/one_thread_xen.hpp"
#include "transport/grant_address.hpp"
#include "transport/shared_bytes.hpp"

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

namespace vmsg::fuzz {

using mock::InDomain;
using mock::OneThreadXen;

inline constexpr std::uint32_t kBuses = 2;
inline constexpr std::uint16_t kDevices = 4;  // of a bus, in the numbers that the guest knows of
inline constexpr std::uint32_t kQueues = 4;   // of a device, likewise
inline constexpr std::uint32_t kQueueSize = 8;

inline void must(bool holds, const char* what) {
  if (holds) return;
  static_cast<void>(std::fprintf(stderr, "daemon_fuzz: %s\n", what));
  std::abort();
}

// ---- the daemon ---------------------------------------------------------------------------------

class CountingSink final : public LogSink {
 public:
  // As much as the daemon says by default.
  CountingSink() : LogSink(LogLevel::kInfo) {}
  void write(LogLevel, const LogContext&, std::string_view) override { ++lines; }
  std::size_t lines = 0;
};

inline BackendOptions options_of(bool is_tight) {
  BackendOptions options;
  options.worker_threads = WorkerPool::Threads::kNone;
  options.workers = is_tight ? 1 : 2;
  options.polling.window_ns = 0;  // time stands still while the daemon works
  if (!is_tight) return options;
  options.limits.buses_per_guest = 1;
  options.limits.devices_per_bus = 3;
  options.limits.queues_per_device = 2;
  options.limits.max_ring_page_order = 1;
  options.limits.mapped_pages_per_bus = 8;
  options.limits.regions_per_bus = 2;
  options.limits.region_pages_per_bus = 3;
  options.limits.region_pages = 4;
  options.limits.rates = {.requests_per_second = 50, .bytes_per_second = 100'000};
  options.limits.frames_per_turn = 2;
  return options;
}

/// One daemon, for all inputs: it starts with nothing and must be left with nothing.
class Daemon {
 public:
  Daemon(std::uint16_t domain, bool is_tight) : domain_(domain), sink_(new CountingSink) {
    OneThreadXen& xen = OneThreadXen::world();
    if (domain != 0 && !xen.is_alive(domain)) xen.create_domain(domain, true);
    const InDomain in_domain(domain);
    auto made = Backend::create(context_, options_of(is_tight), Log(sink_),
                                [](const std::string&) { must(false, "the daemon gives up"); });
    must(made.has_value(), "the daemon does not start");
    backend_ = std::move(*made);
    must(backend_->start().has_value(), "the daemon does not start");
    settle();
    baseline_ = xen.what_is_left(domain);
  }

  [[nodiscard]] std::uint16_t domain() const { return domain_; }
  [[nodiscard]] Backend& backend() { return *backend_; }
  [[nodiscard]] std::size_t lines() const { return sink_->lines; }
  /// Whether calls of its domain are its own, and not the toolstack's.
  [[nodiscard]] bool is_at_work() const { return is_at_work_; }

  /// Until it has nothing to do any more.
  void settle() {
    constexpr int kMostRounds = 5000;
    constexpr std::size_t kMostHandlers = 10;  // in a round
    // What a worker prepared for the kernel in one round is submitted in the next, and may be heard
    // of in the one after it.
    constexpr int kQuietRounds = 3;
    int quiet = 0;
    is_at_work_ = true;
    for (int rounds = 0; quiet < kQuietRounds; ++rounds) {
      must(rounds < kMostRounds, "the daemon does not come to rest");
      const bool is_busy = backend_->run_workers_once();
      context_.restart();
      // Not poll(): handlers that bring each other back would never let it end.
      std::size_t handlers = 0;
      while (handlers < kMostHandlers && context_.poll_one() != 0) ++handlers;
      quiet = is_busy || handlers != 0 ? 0 : quiet + 1;
    }
    is_at_work_ = false;
  }

  void pass_time(std::chrono::nanoseconds time) {
    advance_clock(time);
    // The loop looks at its timers when the kernel's timer says so, which knows another time. A new
    // timer that comes before all others makes it look now.
    boost::asio::steady_timer now(context_, boost::asio::steady_timer::time_point::min());
    now.async_wait([](const boost::system::error_code&) {});
    settle();
  }

  void must_be_empty() {
    must(backend_->bus_count() == 0, "a bus is left");
    const Snapshot all = backend_->snapshot();
    must(all.mapped_pages == 0, "pages are left mapped");
    must(all.failed_unmaps == 0, "an unmap failed");
    for (const WorkerSnapshot& worker : all.workers) must(worker.queues == 0, "a queue is left");
    const std::vector<std::string> left = OneThreadXen::world().what_is_left(domain_);
    if (left != baseline_) {
      for (const std::string& line : left)
        static_cast<void>(std::fprintf(stderr, "%s\n", line.c_str()));
      must(false, "something of Xen's is left");
    }
    const MemoryHosts& hosts = MemoryHosts::all();
    must(hosts.disks.empty() && hosts.networks.empty() && hosts.streams.empty(),
         "a device is left");
  }

 private:
  const std::uint16_t domain_;
  std::shared_ptr<CountingSink> sink_;
  boost::asio::io_context context_{1};
  std::unique_ptr<Backend> backend_;
  std::vector<std::string> baseline_;
  bool is_at_work_ = false;
};

// ---- the guest ----------------------------------------------------------------------------------

/// Pages of the guest's, each with a reference, in this order.
enum Page : std::uint32_t {
  kRings = 0,                    // of each bus: interface page, two data pages
  kAreas = kRings + kBuses * 3,  // of each queue that the guest knows of
  kBuffers = kAreas + kDevices * kQueues,
  kReadOnly = kBuffers + 12,  // never granted for writing
  kPages = kReadOnly + 1,
};
// Where the areas of a queue lie in its page.
inline constexpr std::uint32_t kDriverArea = 0x400;
inline constexpr std::uint32_t kDeviceArea = 0x800;

enum class Granted : std::uint8_t { kNo, kRead, kWrite };

/// The guest's domain: its memory, ports and connection to the store. Kept from input to input, as
/// making it takes longer than most scripts.
class GuestDomain {
 public:
  GuestDomain(std::uint16_t domain, std::uint16_t backend) : domain_(domain), backend_(backend) {
    be_born();
  }
  ~GuestDomain() { leave(); }
  GuestDomain(const GuestDomain&) = delete;
  GuestDomain& operator=(const GuestDomain&) = delete;

  [[nodiscard]] std::uint16_t domain() const { return domain_; }
  [[nodiscard]] bool is_alive() const { return OneThreadXen::world().is_alive(domain_); }

  /// As if it had just been made.
  void be_new() {
    if (!is_alive()) {
      leave();
      be_born();
      return;
    }
    close_ports();
    if (std::exchange(has_changed_grants_, false)) {
      for (std::uint32_t page = 0; page < kPages; ++page) unshare(page);
      for (std::uint32_t page = 0; page < kPages; ++page) share(page, initial(page));
    }
    clear();
  }

  [[nodiscard]] SharedBytes bytes(std::uint32_t page) const {
    return SharedBytes::unchecked_wrap(
        pages_[page].base == nullptr ? private_page_.data() : pages_[page].base, kGrantPageSize);
  }
  /// As it was when it was shared last: a reference that the guest has taken back is still one that
  /// it can name.
  [[nodiscard]] std::uint32_t ref(std::uint32_t page) const { return pages_[page].ref; }

  void grant(std::uint32_t page, Granted how) {
    if (!is_alive() || page == kReadOnly) return;
    has_changed_grants_ = true;
    unshare(page);
    share(page, how);
  }

  [[nodiscard]] std::uint32_t open_port() {
    if (!is_alive()) return 0;
    const int port = xenevtchn_bind_unbound_port(events_, backend_);
    must(port > 0, "no port");
    ports_.push_back(static_cast<std::uint32_t>(port));
    return ports_.back();
  }
  void notify(std::uint32_t port) {
    if (is_alive()) static_cast<void>(xenevtchn_notify(events_, port));
  }
  [[nodiscard]] const std::vector<std::uint32_t>& ports() const { return ports_; }
  void close_ports() {
    for (const std::uint32_t port : std::exchange(ports_, {})) xenevtchn_unbind(events_, port);
  }

  void write(const std::string& path, std::string_view value) {
    if (!is_alive()) return;
    static_cast<void>(xs_write(store_, XBT_NULL, path.c_str(), value.data(),
                               static_cast<unsigned>(value.size())));
  }
  void remove(const std::string& path) {
    if (is_alive()) static_cast<void>(xs_rm(store_, XBT_NULL, path.c_str()));
  }
  void hide(const std::string& path) {
    xs_permissions only_ours{.id = domain_, .perms = XS_PERM_NONE};
    if (is_alive()) {
      static_cast<void>(xs_set_permissions(store_, XBT_NULL, path.c_str(), &only_ours, 1));
    }
  }

  void must_be_untouched() const {
    if (!is_alive()) return;
    std::array<std::byte, kGrantPageSize> bytes_of_page{};
    bytes(kReadOnly).copy_out(0, bytes_of_page);
    must(std::ranges::all_of(bytes_of_page, [](std::byte byte) { return byte == std::byte{0}; }),
         "a page changed that was not granted for writing");
  }

 private:
  struct Shared {
    std::byte* base = nullptr;
    std::uint32_t ref = 0;
  };

  static Granted initial(std::uint32_t page) {
    return page == kReadOnly ? Granted::kRead : Granted::kWrite;
  }

  void be_born() {
    OneThreadXen& xen = OneThreadXen::world();
    if (!xen.is_alive(domain_)) xen.create_domain(domain_);
    const InDomain in_guest(domain_);
    events_ = xenevtchn_open(nullptr, 0);
    sharer_ = xengntshr_open(nullptr, 0);
    store_ = xs_open(0);
    must(events_ != nullptr && sharer_ != nullptr && store_ != nullptr, "no guest");
    for (std::uint32_t page = 0; page < kPages; ++page) share(page, initial(page));
    clear();
  }
  void leave() {
    ports_.clear();
    for (std::uint32_t page = 0; page < kPages; ++page) unshare(page);
    xs_close(store_);
    xengntshr_close(sharer_);
    xenevtchn_close(events_);
    has_changed_grants_ = false;
  }
  void share(std::uint32_t page, Granted how) {
    if (how == Granted::kNo) return;
    void* const base = xengntshr_share_pages(sharer_, backend_, 1, &pages_[page].ref,
                                             how == Granted::kWrite ? 1 : 0);
    must(base != nullptr, "no page");
    pages_[page].base = static_cast<std::byte*>(base);
  }
  void unshare(std::uint32_t page) {
    if (pages_[page].base == nullptr) return;
    // Of a domain that was destroyed only our own mapping is left to be taken back.
    static_cast<void>(xengntshr_unshare(sharer_, std::exchange(pages_[page].base, nullptr), 1));
  }
  void clear() {
    for (std::uint32_t page = 0; page < kPages; ++page) {
      if (pages_[page].base != nullptr) std::memset(pages_[page].base, 0, kGrantPageSize);
    }
    private_page_.fill(std::byte{0});
  }

  const std::uint16_t domain_;
  const std::uint16_t backend_;
  xenevtchn_handle* events_ = nullptr;
  xengntshr_handle* sharer_ = nullptr;
  xs_handle* store_ = nullptr;
  std::array<Shared, kPages> pages_{};
  mutable std::array<std::byte, kGrantPageSize> private_page_{};  // where a page is not shared
  std::vector<std::uint32_t> ports_;
  bool has_changed_grants_ = false;
};

}  // namespace vmsg::fuzz
