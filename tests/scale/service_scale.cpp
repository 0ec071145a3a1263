// One vmsgd with many guests, on the mock Xen: what an attach takes, what an idle device costs, and
// whether anything is left of guests that are gone. Prints a table; fails when something leaks or
// does not come, never because of a time.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>
#include <list>
#include <memory>
#include <span>
#include <vector>

#include "tests/mock-xen/mock_xen.hpp"
#include "tests/scale/daemon_process.hpp"
#include "tests/scale/toolstack_domain.hpp"
#include "tools/vmsg-guest/guest_device.hpp"
#include "tools/vmsg-guest/guest_link.hpp"

namespace vmsg::scale {
namespace {

// A sanitizer keeps something of every thread that ever was, and looks for leaks itself.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kMemoryTells = false;
#else
constexpr bool kMemoryTells = true;
#endif

using std::chrono::nanoseconds;

constexpr std::uint32_t kQueueSize = 16;

struct Options {
  std::string build = "build/dev";
  xen::DomainId guests = 256;
  std::uint16_t devices = 4;
  unsigned idle_seconds = 10;
  unsigned rounds = 100;
};

int failures = 0;

void expect(bool is_right, const std::string& what) {
  std::cout << (is_right ? "ok: " : "FAIL: ") << what << '\n';
  if (!is_right) ++failures;
}

double milliseconds(nanoseconds time) { return static_cast<double>(time.count()) / 1e6; }

/// Every second device is a disk without anything behind it.
std::string type_of(std::uint16_t number) { return number % 2 == 0 ? "rng" : "blk"; }
Parameters parameters_of(std::uint16_t number) {
  return number % 2 == 0 ? Parameters{} : Parameters{{"target", "null:1M"}};
}

/// The driver side of one guest, with all of its devices live.
class Guest {
 public:
  static std::unique_ptr<Guest> connect(mock::MockXen& xen, xen::DomainId domain,
                                        std::uint16_t devices) {
    const auto scope = xen.as_domain(domain);
    auto guest = std::make_unique<Guest>();
    auto link = guest::GuestLink::connect(guest->loop_, {});
    if (!link) return complain(link.error());
    guest->link_ = std::move(*link);
    for (std::uint16_t number = 0; number < devices; ++number) {
      auto device =
          std::make_unique<guest::GuestDevice>(*guest->link_, number, guest::DeviceChoice{});
      if (auto up = device->bring_up(); !up) return complain(up.error());
      if (auto queue = device->add_queue(0, kQueueSize); !queue) return complain(queue.error());
      if (auto live = device->go_live(); !live) return complain(live.error());
      guest->devices_.push_back(std::move(device));
    }
    return guest;
  }

 private:
  static std::nullptr_t complain(const std::string& why) {
    std::cerr << "service_scale: guest: " << why << '\n';
    return nullptr;
  }

  guest::GuestLoop loop_;
  std::unique_ptr<guest::GuestLink> link_;
  std::vector<std::unique_ptr<guest::GuestDevice>> devices_;
};

class Run {
 public:
  explicit Run(const Options& options)
      : options_(options),
        socket_(std::filesystem::temp_directory_path() /
                fmt::format("vmsg-scale-{}.sock", ::getpid())),
        daemon_(options.build, xen_.environment(0), socket_) {
    const auto scope = xen_.as_domain(0);
    toolstack_.emplace();
  }
  ~Run() { std::filesystem::remove(socket_); }

  void all() {
    // The first guest also shows that the daemon is up.
    cycle(next_domain_++);
    empty_ = daemon_.usage();
    attach_all();
    connect_all();
    measure_idle();
    destroy_all();
    run_rounds();
    toolstack_.reset();
    expect(daemon_.stop() == 0, "the daemon ends in order");
    const auto left = xen_.what_is_left();
    for (const std::string& line : left) std::cout << line << '\n';
    expect(left.empty(), "nobody holds anything");
  }

 private:
  static xen::BusId bus_of(xen::DomainId domain) { return {0, domain, 0}; }

  void attach_device(xen::DomainId domain, std::uint16_t number,
                     std::vector<nanoseconds>* times = nullptr) {
    const auto time =
        toolstack_->attach({bus_of(domain), number}, type_of(number), parameters_of(number));
    if (times != nullptr) times->push_back(time);
  }

  void print_growth(const char* what, const Usage& before, const Usage& after,
                    std::size_t devices) const {
    const auto grown =
        static_cast<double>(after.resident_kib) - static_cast<double>(before.resident_kib);
    fmt::print("{:<34} {:>8} KiB  {:>8.1f} KiB a device  {:>6} descriptors\n", what,
               after.resident_kib, grown / static_cast<double>(devices), after.descriptors);
  }

  void attach_all() {
    std::vector<nanoseconds> times;
    std::vector<std::uint64_t> store_ops{xen_.stats(0).store_ops};  // before each guest
    first_ = next_domain_;
    for (xen::DomainId i = 0; i < options_.guests; ++i) {
      const xen::DomainId domain = next_domain_++;
      xen_.create_domain(domain);
      for (std::uint16_t number = 0; number < options_.devices; ++number) {
        attach_device(domain, number, &times);
      }
      store_ops.push_back(xen_.stats(0).store_ops);
    }
    compare_first_and_last(store_ops);
    std::ranges::sort(times);
    const auto share = [&](double part) {
      return milliseconds(
          times[static_cast<std::size_t>(part * static_cast<double>(times.size() - 1))]);
    };
    fmt::print("{} guests with {} devices each\n", options_.guests, options_.devices);
    fmt::print("attach: p50 {:.2f} ms, p90 {:.2f} ms, p99 {:.2f} ms, max {:.2f} ms\n", share(0.5),
               share(0.9), share(0.99), share(1));
    attached_ = daemon_.usage();
    fmt::print("{:<34} {:>8} KiB\n", "memory without a guest", empty_.resident_kib);
    print_growth("with devices attached", empty_, attached_, device_count());
    expect(times.size() == device_count(), "all devices were attached");
  }

  /// What a guest costs xenstore, the daemon and the toolstack together, must not grow with the
  /// guests that are there.
  void compare_first_and_last(std::span<const std::uint64_t> store_ops) const {
    const std::size_t some = std::max<std::size_t>(options_.guests / 4, 1);
    const auto each = [&](std::size_t from) {
      return static_cast<double>(store_ops[from + some] - store_ops[from]) /
             static_cast<double>(some);
    };
    const double first = each(0);
    const double last = each(options_.guests - some);
    fmt::print("xenstore: {:.0f} requests for each of the first guests, {:.0f} for the last\n",
               first, last);
    expect(last <= 1.2 * first, "an attach costs the same however many guests there are");
  }

  void connect_all() {
    for (xen::DomainId i = 0; i < options_.guests; ++i) {
      auto guest = Guest::connect(xen_, static_cast<xen::DomainId>(first_ + i), options_.devices);
      if (guest == nullptr) break;
      guests_.push_back(std::move(guest));
    }
    expect(guests_.size() == options_.guests, "all guests were connected, with a queue a device");
    print_growth("with a live queue each", empty_, daemon_.usage(), device_count());
  }

  void measure_idle() {
    if (options_.idle_seconds == 0) return;
    const double before = daemon_.usage().cpu_seconds;
    expect(daemon_.lives_for(std::chrono::seconds(options_.idle_seconds)),
           "the daemon lives while nothing happens");
    const double used = daemon_.usage().cpu_seconds - before;
    fmt::print("idle: {:.3f} % of a core over {} s\n", 100 * used / options_.idle_seconds,
               options_.idle_seconds);
  }

  void destroy_all() {
    for (xen::DomainId i = 0; i < options_.guests; ++i) {
      xen_.destroy_domain(static_cast<std::uint32_t>(first_ + i));
    }
    guests_.clear();
    for (xen::DomainId i = 0; i < options_.guests; ++i) {
      toolstack_->wait_gone(bus_of(static_cast<xen::DomainId>(first_ + i)));
    }
    expect(toolstack_->nodes_of_buses(0) == 0, "nothing is left in xenstore");
  }

  /// A guest comes, is served, and vanishes.
  void cycle(xen::DomainId domain) {
    xen_.create_domain(domain);
    for (std::uint16_t number = 0; number < options_.devices; ++number) {
      attach_device(domain, number);
    }
    auto guest = Guest::connect(xen_, domain, options_.devices);
    if (guest == nullptr) ++failures;
    xen_.destroy_domain(domain);
    guest.reset();
    toolstack_->wait_gone(bus_of(domain));
  }

  void run_rounds() {
    if (options_.rounds == 0) return;
    cycle(next_domain_++);
    const Usage before = daemon_.usage();
    const std::size_t held_before = xen_.what_is_left(0).size();
    for (unsigned round = 0; round < options_.rounds; ++round) cycle(next_domain_++);
    const Usage after = daemon_.usage();
    fmt::print("{} rounds of create and destroy: memory {} KiB before, {} KiB after\n",
               options_.rounds, before.resident_kib, after.resident_kib);
    expect(after.descriptors == before.descriptors, "no descriptor was left open");
    expect(after.threads == before.threads, "no thread was left");
    expect(xen_.what_is_left(0).size() == held_before, "no port, map or watch was left");
    // What an allocator keeps comes and goes; what leaks grows with the rounds.
    const std::uint64_t allowed = before.resident_kib + 256 + std::uint64_t{4} * options_.rounds;
    if (kMemoryTells) expect(after.resident_kib <= allowed, "no memory was left");
  }

  [[nodiscard]] std::size_t device_count() const {
    return std::size_t{options_.guests} * options_.devices;
  }

  const Options options_;
  mock::MockXen xen_;
  std::string socket_;
  DaemonProcess daemon_;
  std::optional<ToolstackDomain> toolstack_;
  std::list<std::unique_ptr<Guest>> guests_;
  xen::DomainId next_domain_ = 1;
  xen::DomainId first_ = 1;
  Usage empty_;
  Usage attached_;
};

}  // namespace
}  // namespace vmsg::scale

int main(int argc, char** argv) {
  vmsg::scale::Options options;
  CLI::App app{"One vmsgd with many guests, on the mock Xen."};
  app.add_option("--build", options.build, "The build folder")->capture_default_str();
  app.add_option("--guests", options.guests)->capture_default_str();
  app.add_option("--devices", options.devices)->capture_default_str();
  app.add_option("--idle-seconds", options.idle_seconds)->capture_default_str();
  app.add_option("--rounds", options.rounds)->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  vmsg::scale::Run(options).all();
  return vmsg::scale::failures == 0 ? 0 : 1;
}
