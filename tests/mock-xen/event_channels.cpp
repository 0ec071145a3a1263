// Event channels as Xen and Linux's evtchn driver keep them: see event_channels.hpp.
#include "tests/mock-xen/event_channels.hpp"

#include <unistd.h>

#include <cerrno>
#include <utility>

// After <cstdint>: it uses its types without including them.
#include <xen/xen.h>

#include "tests/mock-xen/event_bits.hpp"

namespace vmsg::mock {
namespace {

/// Changes a port word that clients change too.
template <typename Change>
void update(std::atomic<std::uint64_t>& word, Change change) {
  std::uint64_t seen = word.load(std::memory_order_acquire);
  std::uint64_t next = 0;
  do {
    Port port = Port::unpack(seen);
    change(port);
    next = port.pack();
  } while (!word.compare_exchange_weak(seen, next, std::memory_order_acq_rel));
}

/// The low numbers belong to the domain's kernel. How many differs from domain to domain, so that
/// code which takes the peer's port number for its own does not work by luck.
std::uint32_t first_port(std::uint16_t domid) { return 8U + 3U * (domid % 16U); }

}  // namespace

void EventChannels::domain_created(std::uint16_t domid) { domains_[domid] = {}; }

void EventChannels::domain_destroyed(std::uint16_t domid) {
  const auto at = domains_.find(domid);
  if (at == domains_.end()) return;
  while (!at->second.ports.empty()) close_port(domid, at->second.ports.begin()->first);
  domains_.erase(at);
}

void EventChannels::set_limit(std::uint16_t domid, std::uint32_t ports) {
  const auto at = domains_.find(domid);
  if (at != domains_.end()) at->second.limit = ports;
}

Result<std::uint32_t, int> EventChannels::find_free_port(std::uint16_t domid) {
  const Domain& domain = domains_.at(domid);
  if (domain.ports.size() >= domain.limit) return std::unexpected(ENOSPC);
  std::uint32_t port = first_port(domid);
  for (const auto& [taken, record] : domain.ports) {
    if (taken == port) ++port;
  }
  if (port >= kMaxPorts) return std::unexpected(ENOSPC);
  return port;
}

std::atomic<std::uint64_t>* EventChannels::find_word(std::uint16_t domid, std::uint32_t port) {
  const auto at = domains_.find(domid);
  if (at == domains_.end() || !at->second.ports.contains(port)) return nullptr;
  DomainArea* const area = segment_.find_domain(domid);
  return area == nullptr ? nullptr : &area->ports[port];
}

void EventChannels::open_port(std::uint16_t domid, std::uint32_t port, const Port& value) {
  domains_.at(domid).ports[port] = {.owner = value.owner, .holds = 0};
  segment_.find_domain(domid)->ports[port].store(value.pack(), std::memory_order_release);
}

Result<std::uint32_t, int> EventChannels::bind_unbound(Handle& handle, std::uint32_t remote_domid) {
  if (handle.restricted_to != Handle::kUnrestricted && handle.restricted_to != remote_domid) {
    return std::unexpected(EACCES);
  }
  if (remote_domid > 0xffff) return std::unexpected(EINVAL);
  // Xen does not ask whether the remote domain exists: it may come later.
  if (remote_domid == DOMID_SELF) remote_domid = handle.domid;
  const auto port = find_free_port(handle.domid);
  if (!port) return port;
  open_port(handle.domid, *port,
            {.state = PortState::kUnbound,
             .enabled = true,
             .remote_domid = static_cast<std::uint16_t>(remote_domid),
             .owner = handle.id});
  return port;
}

Result<std::uint32_t, int> EventChannels::bind_interdomain(Handle& handle,
                                                           std::uint32_t remote_domid,
                                                           std::uint32_t remote_port) {
  if (handle.restricted_to != Handle::kUnrestricted && handle.restricted_to != remote_domid) {
    return std::unexpected(EACCES);
  }
  if (remote_domid == DOMID_SELF) remote_domid = handle.domid;
  if (remote_domid >= kFirstReservedDomid ||
      !domains_.contains(static_cast<std::uint16_t>(remote_domid))) {
    return std::unexpected(ESRCH);
  }
  const auto remote = static_cast<std::uint16_t>(remote_domid);
  const auto port = find_free_port(handle.domid);
  if (!port) return port;
  std::atomic<std::uint64_t>* const word = find_word(remote, remote_port);
  if (word == nullptr) return std::unexpected(EINVAL);
  const Port offered = Port::unpack(word->load(std::memory_order_acquire));
  // Also what a port that is still bound to somebody else answers.
  if (offered.state != PortState::kUnbound || offered.remote_domid != handle.domid) {
    return std::unexpected(EINVAL);
  }

  open_port(handle.domid, *port,
            {.state = PortState::kInterdomain,
             .enabled = true,
             .remote_domid = remote,
             .remote_port = static_cast<std::uint16_t>(remote_port),
             .owner = handle.id});
  update(*word, [&](Port& peer) {
    peer.state = PortState::kInterdomain;
    peer.remote_domid = handle.domid;
    peer.remote_port = static_cast<std::uint16_t>(*port);
  });
  // Notifications towards the unbound port may have been lost: Xen makes up for them by always
  // raising one at the side that binds.
  raise(*find_word(handle.domid, *port), *port);
  return port;
}

int EventChannels::unbind(Handle& handle, std::uint32_t port) {
  if (port >= kMaxPorts) return EINVAL;
  Domain& domain = domains_.at(handle.domid);
  const auto at = domain.ports.find(port);
  if (at == domain.ports.end() || at->second.owner != handle.id) return ENOTCONN;
  at->second.owner = 0;
  if (at->second.holds == 0) {
    close_port(handle.domid, port);
  } else {
    update(*find_word(handle.domid, port), [](Port& kept) { kept.owner = 0; });
  }
  return 0;
}

int EventChannels::restrict_to(Handle& handle, std::uint32_t domid) {
  if (handle.restricted_to != Handle::kUnrestricted) return EACCES;
  if (domid == 0 || domid >= kFirstReservedDomid) return EINVAL;
  handle.restricted_to = domid;
  return 0;
}

void EventChannels::handle_gone(Handle& handle) {
  const std::uint64_t notifying =
      segment_.handles[handle.slot].notifying.exchange(0, std::memory_order_acq_rel);
  const auto at = domains_.find(handle.domid);
  if (at != domains_.end()) {
    std::vector<std::uint32_t> mine;
    for (const auto& [port, record] : at->second.ports) {
      if (record.owner == handle.id) mine.push_back(port);
    }
    for (const std::uint32_t port : mine) unbind(handle, port);
  }
  if (notifying == 0) return;

  // Killed in the middle of a notify: the port may be masked without its number being in the pipe.
  // Once more is harmless (an event may always mean nothing), once less is a hang.
  const std::uint32_t slot = static_cast<std::uint32_t>(notifying >> 32) & 0x7fffffffU;
  const std::uint32_t port = static_cast<std::uint32_t>(notifying);
  if (slot >= kMaxDomains || port >= kMaxPorts) return;
  const Port target =
      Port::unpack(segment_.domains[slot].ports[port].load(std::memory_order_acquire));
  if (target.state == PortState::kFree) return;
  if (!target.enabled) wake(target.owner, port);
  if (const auto queue = queue_of(target.owner)) finish_ring(*queue);
}

void EventChannels::close_port(std::uint16_t domid, std::uint32_t port) {
  std::atomic<std::uint64_t>* const word = find_word(domid, port);
  const Port closed = Port::unpack(word->exchange(0, std::memory_order_acq_rel));
  domains_.at(domid).ports.erase(port);
  if (closed.state != PortState::kInterdomain) return;
  std::atomic<std::uint64_t>* const peer = find_word(closed.remote_domid, closed.remote_port);
  if (peer == nullptr) return;
  update(*peer, [&](Port& left) {
    left.state = PortState::kUnbound;
    left.remote_domid = domid;
    left.remote_port = 0;
  });
}

bool EventChannels::hold(std::uint16_t domid, std::uint32_t port) {
  const auto at = domains_.find(domid);
  if (at == domains_.end()) return false;
  const auto record = at->second.ports.find(port);
  if (record == at->second.ports.end()) return false;
  ++record->second.holds;
  return true;
}

void EventChannels::release(std::uint16_t domid, std::uint32_t port) {
  const auto at = domains_.find(domid);
  if (at == domains_.end()) return;
  const auto record = at->second.ports.find(port);
  if (record == at->second.ports.end()) return;
  --record->second.holds;
  if (record->second.holds == 0 && record->second.owner == 0) close_port(domid, port);
}

void EventChannels::notify(std::uint16_t domid, std::uint32_t port) {
  std::atomic<std::uint64_t>* const word = find_word(domid, port);
  if (word == nullptr) return;
  const Port source = Port::unpack(word->load(std::memory_order_acquire));
  if (source.state != PortState::kInterdomain) return;
  std::atomic<std::uint64_t>* const peer = find_word(source.remote_domid, source.remote_port);
  if (peer != nullptr) raise(*peer, source.remote_port);
}

void EventChannels::raise(std::atomic<std::uint64_t>& word, std::uint32_t port) {
  std::uint64_t seen = word.load(std::memory_order_acquire);
  Raised result = Raised::kDropped;
  while (!try_raise(word, seen, result)) {
  }
  if (result == Raised::kMustWake) wake(Port::unpack(seen).owner, port);
}

void EventChannels::wake(std::uint32_t owner, std::uint32_t port) {
  if (const auto queue = queue_of(owner)) post(*queue, port);
}

std::optional<EventQueue> EventChannels::queue_of(std::uint32_t owner) {
  const Handle* const handle = handles_.find(owner);
  if (handle == nullptr || !handle->bell) return std::nullopt;
  return EventQueue{.numbers = handle->numbers.get(),
                    .bell = handle->bell.get(),
                    .state = &segment_.handles[handle->slot].bell,
                    .owner = owner};
}

std::vector<std::string> EventChannels::held(std::uint16_t domid) const {
  std::vector<std::string> lines;
  const auto at = domains_.find(domid);
  if (at == domains_.end()) return lines;
  DomainArea* const area = segment_.find_domain(domid);
  for (const auto& [number, record] : at->second.ports) {
    const Port port = Port::unpack(area->ports[number].load(std::memory_order_acquire));
    std::string line = "event channel " + std::to_string(number);
    if (port.state == PortState::kInterdomain) {
      line += " connected to domain " + std::to_string(port.remote_domid) + " port " +
              std::to_string(port.remote_port);
    } else {
      line += " waiting for domain " + std::to_string(port.remote_domid);
    }
    if (record.owner == 0) line += " (kept by an unmap notification)";
    lines.push_back(std::move(line));
  }
  return lines;
}

}  // namespace vmsg::mock
