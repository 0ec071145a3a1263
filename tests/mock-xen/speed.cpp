// mock-xen-speed: what the mock's calls cost, so that a measurement made on it can be judged.
// Prints, asserts nothing. The broker runs in this process; the calls are the libraries' own.
#include <fmt/format.h>
#include <poll.h>
#include <sys/mman.h>

#include <array>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <string_view>
#include <thread>
#include <vector>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

#include "tests/mock-xen/mock_xen.hpp"

namespace {

constexpr std::uint32_t kGuest = 3;

void measure(std::string_view what, int rounds, const std::function<void()>& once) {
  for (int i = 0; i < rounds / 10; ++i) once();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < rounds; ++i) once();
  const std::chrono::duration<double, std::micro> took = std::chrono::steady_clock::now() - begin;
  fmt::print("{:<52}{:>9.3f} us\n", what, took.count() / rounds);
}

evtchn_port_t port(int number) { return static_cast<evtchn_port_t>(number); }

struct World {
  World() {
    xen.create_domain(kGuest);
    {
      const auto in_guest = xen.as_domain(kGuest);
      guest_events = xenevtchn_open(nullptr, 0);
      guest_memory = xengntshr_open(nullptr, 0);
      guest_store = xs_open(0);
    }
    const auto in_backend = xen.as_domain(0);
    events = xenevtchn_open(nullptr, 0);
    grants = xengnttab_open(nullptr, 0);
    guest_port = xenevtchn_bind_unbound_port(guest_events, 0);
    backend_port = xenevtchn_bind_interdomain(events, kGuest, port(guest_port));
    pages = xengntshr_share_pages(guest_memory, 0, static_cast<int>(refs.size()), refs.data(), 1);
    if (pages == nullptr) std::abort();
  }

  vmsg::mock::MockXen xen;
  xenevtchn_handle* guest_events = nullptr;
  xengntshr_handle* guest_memory = nullptr;
  xs_handle* guest_store = nullptr;
  xenevtchn_handle* events = nullptr;
  xengnttab_handle* grants = nullptr;
  int guest_port = -1;
  int backend_port = -1;
  std::array<std::uint32_t, 64> refs{};
  void* pages = nullptr;
};

void measure_events(World& world) {
  // The port fired when it was bound and is still masked: every notify coalesces.
  measure("notify, coalesced", 2000000,
          [&] { xenevtchn_notify(world.guest_events, port(world.guest_port)); });
  measure("notify, pending, unmask", 200000, [&] {
    xenevtchn_notify(world.guest_events, port(world.guest_port));
    xenevtchn_unmask(world.events, port(xenevtchn_pending(world.events)));
  });

  std::thread echo([&] {
    while (true) {
      const int fired = xenevtchn_pending(world.guest_events);
      xenevtchn_unmask(world.guest_events, port(fired));
      if (fired != world.guest_port) return;
      xenevtchn_notify(world.guest_events, port(fired));
    }
  });
  measure("kick and answer between two threads", 20000, [&] {
    xenevtchn_notify(world.events, port(world.backend_port));
    xenevtchn_unmask(world.events, port(xenevtchn_pending(world.events)));
  });
  const int last = xenevtchn_bind_unbound_port(world.events, kGuest);
  xenevtchn_bind_interdomain(world.guest_events, 0, port(last));
  echo.join();
}

void measure_copies(World& world, std::uint32_t count, std::uint16_t length) {
  std::vector<std::byte> buffer(std::size_t{count} * length);
  std::vector<xengnttab_grant_copy_segment_t> segments(count);
  for (std::uint32_t i = 0; i < count; ++i) {
    segments[i].flags = GNTCOPY_source_gref;
    segments[i].source.foreign.domid = kGuest;
    segments[i].source.foreign.ref = world.refs[i % world.refs.size()];
    segments[i].dest.virt = &buffer[std::size_t{i} * length];
    segments[i].len = length;
  }
  measure(fmt::format("copy, {} segments of {} bytes", count, length), 20000,
          [&] { xengnttab_grant_copy(world.grants, count, segments.data()); });
}

void measure_maps(World& world, std::uint32_t count) {
  measure(fmt::format("map and unmap, {} pages", count), 5000, [&] {
    void* const mapped = xengnttab_map_domain_grant_refs(world.grants, count, kGuest,
                                                         world.refs.data(), PROT_READ | PROT_WRITE);
    xengnttab_unmap(world.grants, mapped, count);
  });
}

void measure_store(World& world) {
  measure("xs_read", 50000, [&] {
    unsigned length = 0;
    std::free(xs_read(world.guest_store, XBT_NULL, "domid", &length));
  });
  measure("xs_write", 50000,
          [&] { xs_write(world.guest_store, XBT_NULL, "data/speed", "value", 5); });
}

}  // namespace

int main() {
  World world;
  measure_events(world);
  measure_copies(world, 1, 64);
  measure_copies(world, 1, 4096);
  measure_copies(world, 16, 4096);
  measure_maps(world, 1);
  measure_maps(world, 16);
  measure_store(world);
  xs_close(world.guest_store);
  xengnttab_close(world.grants);
  xenevtchn_close(world.events);
  xengntshr_unshare(world.guest_memory, world.pages, static_cast<std::uint32_t>(world.refs.size()));
  xengntshr_close(world.guest_memory);
  xenevtchn_close(world.guest_events);
  return 0;
}
