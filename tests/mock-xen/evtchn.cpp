// libxenevtchn of the mock: Xen's own C interface, xenevtchn.h.
//
// Set-up calls go to the broker. A notify finds the peer's port in the shared segment, and posts
// its number to the owner's event queue (event_queue.hpp).
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
#include "tests/mock-xen/event_queue.hpp"
#include "tests/mock-xen/event_reader.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"

using namespace vmsg::mock;

namespace {

struct PeerQueue {
  UniqueFd numbers;
  UniqueFd bell;
  EventQueue queue;
};

}  // namespace

// The C header names the type; what is in it is the library's affair.
// NOLINTNEXTLINE(readability-identifier-naming)
struct xenevtchn_handle {
  std::unique_ptr<Client> client;
  EventReader events;
  /// One request at a time on the connection, and one notify at a time in the handle's slot.
  std::mutex mutex;
  /// The queues of the handles that we notify, by their ids. A peer that rebinds has a new one.
  std::map<std::uint32_t, PeerQueue> peers;
};

namespace {

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

bool ask_for_queue(Client& client, Op op, std::uint32_t owner, Reply& reply, UniqueFd& fd) {
  Request request{.op = op};
  request.id = owner;
  int received = -1;
  if (!client.call(request, nullptr, reply, nullptr, 0, &received)) return false;
  fd.reset(received);
  return static_cast<bool>(fd);
}

bool ask_for_queue(Client& client, std::uint32_t owner, PeerQueue& peer) {
  Reply reply;
  if (!ask_for_queue(client, Op::kEventNumbers, owner, reply, peer.numbers)) return false;
  if (!ask_for_queue(client, Op::kEventBell, owner, reply, peer.bell)) return false;
  if (reply.value >= kMaxHandles) return false;
  peer.queue = {.numbers = peer.numbers.get(),
                .bell = peer.bell.get(),
                .state = &client.segment().handles[reply.value].bell,
                .owner = owner};
  return true;
}

/// Null when the owner is gone.
const EventQueue* find_queue(xenevtchn_handle& handle, std::uint32_t owner) {
  const auto at = handle.peers.find(owner);
  if (at != handle.peers.end()) return &at->second.queue;
  PeerQueue peer;
  if (!ask_for_queue(*handle.client, owner, peer)) return nullptr;
  std::erase_if(handle.peers, [](const auto& known) { return !known.second.queue.is_open(); });
  return &handle.peers.insert_or_assign(owner, std::move(peer)).first->second.queue;
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
    const EventQueue* const queue = find_queue(handle, peer.owner);
    if (queue == nullptr) return;
    // ORDER: before the port is masked we say which one we mask, so that the broker can finish
    // what we started if this process is killed before the write (EventChannels::handle_gone).
    slot.notifying.store(hazard_of(segment.slot_of(*area), port.remote_port),
                         std::memory_order_seq_cst);
    const bool done = try_raise(word, seen, raised);
    if (done && raised == Raised::kMustWake) post(*queue, port.remote_port);
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
  UniqueFd bell(client->take_extra_fd());
  if ((flags & XENEVTCHN_NO_CLOEXEC) != 0) ::fcntl(bell.get(), F_SETFD, 0);
  Reply reply;
  UniqueFd numbers;
  if (!ask_for_queue(*client, Op::kEventNumbers, client->handle_id(), reply, numbers)) {
    return nullptr;
  }
  handle->events =
      EventReader(std::move(numbers), std::move(bell),
                  client->segment().handles[client->handle_slot()].bell, client->handle_id());
  handle->client = std::move(client);
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

int xenevtchn_fd(xenevtchn_handle* xce) { return xce->events.fd(); }

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
  xce->client->count(Counter::kPendings);
  evtchn_port_t port = 0;
  if (!xce->events.next(port)) return -1;
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
  return post(xce->events.queue(), port) ? 0 : -1;
}

int xenevtchn_restrict(xenevtchn_handle* xce, domid_t domid) {
  if (const int error = xce->client->injected(Call::kXenevtchnRestrict); error != 0) {
    return fail(error);
  }
  return request(*xce, {.op = Op::kRestrict, .domid = domid});
}

}  // extern "C"
