// The memory that the broker and all client libraries share: event-channel bits, grant tables,
// counters and armed failures. What a hypervisor does on a fast path is done here with atomics, so
// that a notify or a copy needs no round trip to the broker.
//
// Who writes what: the broker alone makes and ends ports, grants, domains and handles. Clients set
// and clear the pending and enabled bits of a port, their own HandleSlot, counters, and count
// armed failures down. A client can be killed between any two instructions; nothing here is a
// lock, and HandleSlot tells the broker what a dead client was in the middle of.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "tests/mock-xen/calls.hpp"

namespace vmsg::mock {

inline constexpr std::size_t kPageSize = 4096;
inline constexpr std::uint32_t kMaxDomains = 512;  ///< alive or not yet gone, at one time
inline constexpr std::uint32_t kFirstReservedDomid = 0x7ff0;
inline constexpr std::uint32_t kMaxPorts = 4096;    ///< of one domain
inline constexpr std::uint32_t kMaxGrants = 32768;  ///< of one domain: 64 frames, as Xen's default
inline constexpr std::uint32_t kGrantsPerFrame = 512;
inline constexpr std::uint32_t kMaxHandles = 4096;  ///< of all domains, at one time
inline constexpr std::size_t kDomainMemoryBytes = kMaxGrants * kPageSize;

// --- Event channels -------------------------------------------------------------------------

enum class PortState : std::uint8_t { kFree = 0, kUnbound = 1, kInterdomain = 2 };

/// One event channel, in one word so that every change is one compare-and-swap.
struct Port {
  PortState state = PortState::kFree;
  bool pending = false;  ///< notified while not enabled
  bool enabled = false;  ///< the owner wants to hear; a port that fired is not, until unmasked
  std::uint16_t remote_domid = 0;
  std::uint16_t remote_port = 0;
  std::uint32_t owner = 0;  ///< id of the handle that holds it, 24 bits; 0: none

  constexpr std::uint64_t pack() const {
    return static_cast<std::uint64_t>(state) | (pending ? 4U : 0U) | (enabled ? 8U : 0U) |
           (static_cast<std::uint64_t>(remote_domid) << 4) |
           (static_cast<std::uint64_t>(remote_port) << 20) |
           (static_cast<std::uint64_t>(owner) << 36);
  }
  static constexpr Port unpack(std::uint64_t word) {
    Port port;
    port.state = static_cast<PortState>(word & 3U);
    port.pending = (word & 4U) != 0;
    port.enabled = (word & 8U) != 0;
    port.remote_domid = static_cast<std::uint16_t>(word >> 4);
    port.remote_port = static_cast<std::uint16_t>(word >> 20);
    port.owner = static_cast<std::uint32_t>((word >> 36) & kMaxHandleId);
    return port;
  }
  static constexpr std::uint32_t kMaxHandleId = 0xffffff;
};

// --- Grants ---------------------------------------------------------------------------------

/// One entry of a grant table. Reference r of a domain is page r of its memory.
struct Grant {
  bool permitted = false;
  bool read_only = false;
  std::uint16_t domid = 0;  ///< who may use it

  constexpr std::uint64_t pack() const {
    return (permitted ? 1U : 0U) | (read_only ? 2U : 0U) |
           (static_cast<std::uint64_t>(domid) << 16);
  }
  static constexpr Grant unpack(std::uint64_t word) {
    return {.permitted = (word & 1U) != 0,
            .read_only = (word & 2U) != 0,
            .domid = static_cast<std::uint16_t>(word >> 16)};
  }
};

/// Names an entry of some domain's table, never zero.
constexpr std::uint64_t hazard_of(std::uint32_t domain_slot, std::uint32_t ref) {
  return (std::uint64_t{1} << 63) | (std::uint64_t{domain_slot} << 32) | ref;
}

// --- Handles --------------------------------------------------------------------------------

/// What a handle is in the middle of. The broker clears it when the handle goes.
struct HandleSlot {
  /// The entries a copy is using right now (source, destination). Whoever ends a grant first takes
  /// the permission away and then looks here; whoever copies first writes here and then looks at
  /// the permission. So one of them sees the other.
  std::array<std::atomic<std::uint64_t>, 2> hazards;
  /// The port (domain slot, port) that a notify is firing right now, as hazard_of() packs it.
  std::atomic<std::uint64_t> notifying;
  /// Of an event-channel handle: whether its bell has rung (event_queue.hpp).
  std::atomic<std::uint64_t> bell;
};

// --- Counters -------------------------------------------------------------------------------

enum class Counter : std::uint32_t {
  kNotifies,
  kPendings,
  kEvents,
  kUnmasks,
  kBinds,
  kUnbinds,
  kMapCalls,
  kMappedPages,
  kUnmapCalls,
  kUnmappedPages,
  kCopyCalls,
  kCopySegments,
  kCopyBytes,
  kCopyFailures,
  kShareCalls,
  kSharedPages,
  kUnshareCalls,
  kStoreOps,
  kWatchesFired,
  kFailuresInjected,
  kCount
};
inline constexpr std::size_t kCounterCount = static_cast<std::size_t>(Counter::kCount);

inline constexpr std::array<std::string_view, kCounterCount> kCounterNames = {
    "notifies",     "pendings",      "events",       "unmasks",       "binds",
    "unbinds",      "map_calls",     "mapped_pages", "unmap_calls",   "unmapped_pages",
    "copy_calls",   "copy_segments", "copy_bytes",   "copy_failures", "share_calls",
    "shared_pages", "unshare_calls", "store_ops",    "watches_fired", "failures_injected",
};

// --- Failures -------------------------------------------------------------------------------

/// Per call: how many calls are left until one fails (low half), and its errno (high half). Zero
/// when not armed. One shot.
struct FailureTable {
  std::atomic<std::uint32_t> armed;
  std::uint32_t padding;
  std::array<std::atomic<std::uint64_t>, kCallCount> rules;
};

// --- The whole ------------------------------------------------------------------------------

struct DomainArea {
  std::atomic<std::uint32_t> domid;
  std::atomic<std::uint32_t> alive;
  /// Entries that exist: the table grows by frames, a reference beyond them is a bad one.
  std::atomic<std::uint32_t> grant_entries;
  /// Differs from one domain in this slot to the next: what caches are keyed by.
  std::atomic<std::uint32_t> incarnation;
  FailureTable failures;
  std::array<std::atomic<std::uint64_t>, kCounterCount> counters;
  std::array<std::atomic<std::uint64_t>, kMaxPorts> ports;
  std::array<std::atomic<std::uint64_t>, kMaxGrants> grants;
};

struct Segment {
  /// Index into `domains` plus one; zero when there is no such domain (alive or dying).
  std::array<std::atomic<std::uint16_t>, kFirstReservedDomid> slots;
  std::array<HandleSlot, kMaxHandles> handles;
  std::array<DomainArea, kMaxDomains> domains;

  /// Null when there is no such domain.
  DomainArea* find_domain(std::uint32_t domid) {
    if (domid >= kFirstReservedDomid) return nullptr;
    const std::uint16_t slot = slots[domid].load(std::memory_order_acquire);
    return slot == 0 ? nullptr : &domains[slot - 1U];
  }
  std::uint32_t slot_of(const DomainArea& area) const {
    return static_cast<std::uint32_t>(&area - domains.data());
  }
};

// The segment is a zero-filled file mapped by several processes: a valid empty state as it comes.
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(std::atomic<std::uint16_t>::is_always_lock_free);
static_assert(sizeof(std::atomic<std::uint64_t>) == sizeof(std::uint64_t));

}  // namespace vmsg::mock
