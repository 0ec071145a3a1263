// How the pure layers reach a guest's memory: two small interfaces. xenbus-glue implements them
// with grants, tests/support with plain buffers.
//
// Queue areas are mapped for long. Buffers are copied: a copy holds nothing of the guest's after
// it returned, so a completion published later can never name a page that we still have.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/grant_address.hpp"
#include "transport/result.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg {

enum class Access : std::uint8_t { kReadOnly, kReadWrite };

enum class MemoryError : std::uint8_t {
  kBadRange,    // runs past the last reference, or is empty
  kNotGranted,  // the hypervisor refused (bad, revoked or read-only reference)
  kLimit,       // a limit of ours
  kFailed,      // the call failed for a reason that is not the guest's
};

/// A range of a guest's memory that stays mapped until this is destroyed.
class MappedRange {
 public:
  MappedRange() = default;
  MappedRange(const MappedRange&) = delete;
  MappedRange& operator=(const MappedRange&) = delete;
  virtual ~MappedRange() = default;

  /// Exactly the bytes asked for (not the whole pages).
  [[nodiscard]] virtual SharedBytes bytes() const = 0;
};

/// One guest's memory, for set-up work on the control thread.
class GuestMemory {
 public:
  GuestMemory() = default;
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;
  virtual ~GuestMemory() = default;

  [[nodiscard]] virtual Result<std::unique_ptr<MappedRange>, MemoryError> map(GrantAddress address,
                                                                              std::uint64_t bytes,
                                                                              Access access) = 0;
};

/// Which guest a copy concerns: the domain id, and the shared regions of its bus if there are any.
/// Small and copyable; the regions table outlives every batch that names it.
class SharedRegions;
struct GuestRef {
  std::uint16_t domain = 0;
  const SharedRegions* regions = nullptr;
};

enum class CopyDirection : std::uint8_t { kFromGuest, kToGuest };

/// What became of a request's copies. Set it to kOk before the first add(); a batch only ever
/// writes failures, so several copies may share one.
enum class CopyOutcome : std::uint8_t {
  kOk,
  kBadRange,    // the range leaves the last reference
  kNotGranted,  // the hypervisor refused a segment
  kFailed,      // the whole call failed
};

/// The copies of one turn in one direction, for all queues and all guests of a worker, made by few
/// calls. add() may make copies early when the batch is full; none is sure before run() returned.
class CopyBatch {
 public:
  CopyBatch() = default;
  CopyBatch(const CopyBatch&) = delete;
  CopyBatch& operator=(const CopyBatch&) = delete;
  virtual ~CopyBatch() = default;

  /// `local` and `outcome` must live until run() returned.
  virtual void add(const GuestRef& guest, GrantAddress address, std::span<std::byte> local,
                   CopyOutcome& outcome) = 0;
  virtual void run() = 0;
  [[nodiscard]] virtual CopyDirection direction() const = 0;
};

}  // namespace vmsg
