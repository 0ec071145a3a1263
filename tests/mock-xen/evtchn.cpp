// libxenevtchn of the mock: Xen's own C interface, xenevtchn.h.
//
// Set-up calls go to the broker. A notify finds the peer's port in the shared segment, and its
// owner by the pipe that the owner reads: as with the real device, reading that descriptor gives
// port numbers.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <new>

// Xen's headers say nothing about C++.
extern "C" {
#include <xenevtchn.h>
}

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/event_bits.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"

using namespace vmsg::mock;

// The C header names the type; what is in it is the library's affair.
// NOLINTNEXTLINE(readability-identifier-naming)
struct xenevtchn_handle {
  std::unique_ptr<Client> client;
  UniqueFd events;
  /// One request at a time on the connection, and one notify at a time in the handle's slot.
  std::mutex mutex;
  /// Handle id -> the pipe that wakes it. A peer that rebinds has a new id.
  std::map<std::uint32_t, UniqueFd> wakers;
};

namespace {

/// Pipes of handles that are gone are thrown away with the rest when there are this many.
constexpr std::size_t kMaxWakers = 256;

int fail(int error) {
  errno = error;
  return -1;
}

DomainArea& own_area(const xenevtchn_handle& handle) {
  return handle.client->segment().domains[handle.client->domain_slot()];
}

/// The port's word if the port is bound to this handle.
std::atomic<std::uint64_t>* find_port(const xenevtchn_handle& handle, evtchn_port_t port) {
  if (port >= kMaxPorts) return nullptr;
  std::atomic<std::uint64_t>& word = own_area(handle).ports[port];
  const Port value = Port::unpack(word.load(std::memory_order_acquire));
  const bool ours = value.state != PortState::kFree && value.owner == handle.client->handle_id();
  return ours ? &word : nullptr;
}

int request(xenevtchn_handle& handle, const Request& request) {
  const std::lock_guard lock(handle.mutex);
  Reply reply;
  if (!handle.client->call(request, nullptr, reply, nullptr, 0, nullptr)) return -1;
  return static_cast<int>(reply.value);
}

/// -1 when the owner is gone.
int find_waker(xenevtchn_handle& handle, std::uint32_t owner) {
  const auto at = handle.wakers.find(owner);
  if (at != handle.wakers.end()) return at->second.get();
  Request request{.op = Op::kWakeFd};
  request.id = owner;
  Reply reply;
  int fd = -1;
  if (!handle.client->call(request, nullptr, reply, nullptr, 0, &fd) || fd < 0) return -1;
  if (handle.wakers.size() >= kMaxWakers) handle.wakers.clear();
  handle.wakers[owner].reset(fd);
  return fd;
}

/// Raises an event at the other end of `port`. Whatever goes wrong there is not the sender's to
/// know: towards a peer that is gone a notify succeeds and does nothing.
void notify_peer(xenevtchn_handle& handle, const Port& port, EventSource source) {
  Segment& segment = handle.client->segment();
  DomainArea* const area = segment.find_domain(port.remote_domid);
  if (area == nullptr) return;
  std::atomic<std::uint64_t>& word = area->ports[port.remote_port];
  HandleSlot& slot = segment.handles[handle.client->handle_slot()];

  std::uint64_t seen = word.load(std::memory_order_acquire);
  while (true) {
    const Port peer = Port::unpack(seen);
    if (!reaches(peer, source)) return;
    Raised raised = Raised::kDropped;
    if (!peer.enabled || peer.owner == 0) {
      if (!try_raise(word, seen, raised)) continue;
      return;
    }
    const std::lock_guard lock(handle.mutex);
    const int waker = find_waker(handle, peer.owner);
    if (waker < 0) return;
    // ORDER: before the port is masked we say which one we mask, so that the broker can finish
    // what we started if this process is killed before the write (EventChannels::handle_gone).
    slot.notifying.store(hazard_of(segment.slot_of(*area), port.remote_port),
                         std::memory_order_seq_cst);
    const bool done = try_raise(word, seen, raised);
    if (done && raised == Raised::kMustWake) {
      const evtchn_port_t number = port.remote_port;
      [[maybe_unused]] const ssize_t written = ::write(waker, &number, sizeof(number));
    }
    slot.notifying.store(0, std::memory_order_release);
    if (done) return;
  }
}

}  // namespace

extern "C" {

xenevtchn_handle* xenevtchn_open(xentoollog_logger* logger, unsigned int flags) {
  static_cast<void>(logger);  // "None of these do any logging."
  if ((flags & ~static_cast<unsigned>(XENEVTCHN_NO_CLOEXEC)) != 0) {
    errno = EINVAL;
    return nullptr;
  }
  std::unique_ptr<Client> client = Client::connect(Service::kEvtchn, Call::kXenevtchnOpen);
  if (!client) return nullptr;
  auto handle = std::unique_ptr<xenevtchn_handle>(new (std::nothrow) xenevtchn_handle);
  if (!handle) {
    errno = ENOMEM;
    return nullptr;
  }
  handle->events.reset(client->take_extra_fd());
  handle->client = std::move(client);
  if ((flags & XENEVTCHN_NO_CLOEXEC) != 0) ::fcntl(handle->events.get(), F_SETFD, 0);
  return handle.release();
}

xenevtchn_handle* xenevtchn_fdopen(xentoollog_logger* logger, int fd, unsigned open_flags) {
  static_cast<void>(logger);
  static_cast<void>(fd);
  if (open_flags != 0) {
    errno = EINVAL;
    return nullptr;
  }
  // Bindings belong to a connection to the broker, not to the descriptor that exec() passes on.
  say_not_mocked("xenevtchn_fdopen");
  return nullptr;
}

int xenevtchn_close(xenevtchn_handle* xce) {
  if (xce == nullptr) return 0;
  int error = 0;
  if (xce->client->is_ours()) error = xce->client->injected(Call::kXenevtchnClose);
  delete xce;
  return error == 0 ? 0 : fail(error);
}

int xenevtchn_fd(xenevtchn_handle* xce) { return xce->events.get(); }

int xenevtchn_notify(xenevtchn_handle* xce, evtchn_port_t port) {
  if (const int error = xce->client->injected(Call::kXenevtchnNotify); error != 0) {
    return fail(error);
  }
  const std::atomic<std::uint64_t>* const word = find_port(*xce, port);
  if (word == nullptr) return fail(ENOTCONN);
  xce->client->count(Counter::kNotifies);
  const Port value = Port::unpack(word->load(std::memory_order_acquire));
  if (value.state != PortState::kInterdomain) return 0;
  notify_peer(*xce, value,
              {.domid = static_cast<std::uint16_t>(xce->client->domid()),
               .port = static_cast<std::uint16_t>(port)});
  return 0;
}

xenevtchn_port_or_error_t xenevtchn_bind_unbound_port(xenevtchn_handle* xce, uint32_t domid) {
  if (const int error = xce->client->injected(Call::kXenevtchnBindUnboundPort); error != 0) {
    return fail(error);
  }
  const int port = request(*xce, {.op = Op::kBindUnbound, .domid = domid});
  if (port >= 0) xce->client->count(Counter::kBinds);
  return port;
}

xenevtchn_port_or_error_t xenevtchn_bind_interdomain(xenevtchn_handle* xce, uint32_t domid,
                                                     evtchn_port_t remote_port) {
  if (const int error = xce->client->injected(Call::kXenevtchnBindInterdomain); error != 0) {
    return fail(error);
  }
  const int port = request(*xce, {.op = Op::kBindInterdomain, .domid = domid, .port = remote_port});
  if (port >= 0) xce->client->count(Counter::kBinds);
  return port;
}

xenevtchn_port_or_error_t xenevtchn_bind_virq(xenevtchn_handle* xce, unsigned int virq) {
  static_cast<void>(virq);
  if (const int error = xce->client->injected(Call::kXenevtchnBindVirq); error != 0) {
    return fail(error);
  }
  say_not_mocked("xenevtchn_bind_virq");
  return -1;
}

int xenevtchn_unbind(xenevtchn_handle* xce, evtchn_port_t port) {
  if (const int error = xce->client->injected(Call::kXenevtchnUnbind); error != 0) {
    return fail(error);
  }
  const int result = request(*xce, {.op = Op::kUnbind, .port = port});
  if (result == 0) xce->client->count(Counter::kUnbinds);
  return result;
}

xenevtchn_port_or_error_t xenevtchn_pending(xenevtchn_handle* xce) {
  if (const int error = xce->client->injected(Call::kXenevtchnPending); error != 0) {
    return fail(error);
  }
  evtchn_port_t port = 0;
  if (::read(xce->events.get(), &port, sizeof(port)) != sizeof(port)) return -1;
  // ORDER: acquire, pairs with try_raise(): what the sender wrote before it notified is seen.
  if (port < kMaxPorts) {
    static_cast<void>(own_area(*xce).ports[port].load(std::memory_order_acquire));
  }
  xce->client->count(Counter::kEvents);
  return static_cast<int>(port);
}

int xenevtchn_unmask(xenevtchn_handle* xce, evtchn_port_t port) {
  if (const int error = xce->client->injected(Call::kXenevtchnUnmask); error != 0) {
    return fail(error);
  }
  xce->client->count(Counter::kUnmasks);
  // Like the driver, silent about a port that is not this handle's.
  if (port >= kMaxPorts) return 0;
  if (!unmask(own_area(*xce).ports[port], xce->client->handle_id())) return 0;
  const bool written = ::write(xce->events.get(), &port, sizeof(port)) == sizeof(port);
  return written ? 0 : -1;
}

int xenevtchn_restrict(xenevtchn_handle* xce, domid_t domid) {
  if (const int error = xce->client->injected(Call::kXenevtchnRestrict); error != 0) {
    return fail(error);
  }
  return request(*xce, {.op = Op::kRestrict, .domid = domid});
}

}  // extern "C"
