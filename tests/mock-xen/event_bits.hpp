// The two transitions of an event channel that need no broker: raising an event and unmasking.
// Used by the client library on its fast path and by the broker when it plays Xen.
//
//   enabled, not pending --raise--> not enabled, and the port number goes to its owner's pipe
//   not enabled          --raise--> pending (further ones coalesce)
//   not enabled, pending --unmask-> as raised: not enabled, the port number goes to the pipe
//   not enabled          --unmask-> enabled
#pragma once

#include <atomic>
#include <cstdint>

#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {

/// Where an event comes from. It reaches only a port that is connected to exactly that one.
struct EventSource {
  std::uint16_t domid = 0;
  std::uint16_t port = 0;
};

enum class Raised {
  kDropped,    ///< nobody is connected there
  kCoalesced,  ///< remembered as pending, or already was
  kMustWake,   ///< the caller has to write the port number to the owner's pipe
};

inline bool reaches(const Port& port, EventSource source) {
  return port.state == PortState::kInterdomain && port.remote_domid == source.domid &&
         port.remote_port == source.port;
}

/// One attempt to fire `word`, whose value was just seen as `seen`. False: it changed meanwhile,
/// and `seen` is its new value. ORDER: acq_rel, so that what the sender wrote before it raised the
/// event is seen by an owner whose unmask finds it pending.
inline bool try_raise(std::atomic<std::uint64_t>& word, std::uint64_t& seen, Raised& result) {
  Port port = Port::unpack(seen);
  const bool wakes = port.enabled && port.owner != 0;
  if (wakes) {
    port.enabled = false;
  } else {
    port.pending = true;
  }
  if (!word.compare_exchange_weak(seen, port.pack(), std::memory_order_acq_rel)) return false;
  result = wakes ? Raised::kMustWake : Raised::kCoalesced;
  return true;
}

/// True: an event had come in while the port was masked, and the caller has to write the port
/// number to the owner's pipe.
inline bool unmask(std::atomic<std::uint64_t>& word, std::uint32_t owner) {
  std::uint64_t seen = word.load(std::memory_order_acquire);
  while (true) {
    Port port = Port::unpack(seen);
    if (port.state == PortState::kFree || port.owner != owner || port.enabled) return false;
    const bool fires = port.pending;
    port.pending = false;
    port.enabled = !fires;
    if (word.compare_exchange_weak(seen, port.pack(), std::memory_order_acq_rel)) return fires;
  }
}

}  // namespace vmsg::mock
