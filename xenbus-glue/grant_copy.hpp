// The copies of one turn of a worker: any number of segments of any number of guests in one call
// to the hypervisor a direction. A copy holds nothing of the guest's after run() returned.
//
// Local memory must be anonymous (AnonymousPages, heap): for file-backed memory gntdev may miss
// to mark pages dirty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "transport/guest_memory.hpp"
#include "xenbus-glue/grant_map.hpp"

namespace vmsg::xen {

struct GrantCopyMetrics {
  std::uint64_t calls = 0;            // to the hypervisor's interface
  std::uint64_t segments = 0;         // handed to those calls
  std::uint64_t bytes = 0;            // asked for, by either way
  std::uint64_t failed_segments = 0;  // refused one by one
  std::uint64_t failed_calls = 0;     // failed as a whole
  std::uint64_t bad_ranges = 0;       // never got as far as a segment
  std::uint64_t region_copies = 0;    // satisfied from a shared region, without a call
};

class GrantCopyBatch final : public CopyBatch {
 public:
  /// `capacity` is the most segments of one call; all memory is allocated here. `mapper` outlives
  /// the batch.
  GrantCopyBatch(GrantMapper& mapper, CopyDirection direction, std::uint32_t capacity = 1024);
  ~GrantCopyBatch() override;

  /// Ranges inside a shared region of the guest are copied at once and cost no call. A full batch
  /// runs early.
  void add(const GuestRef& guest, GrantAddress address, std::span<std::byte> local,
           CopyOutcome& outcome) override;
  void run() override;
  [[nodiscard]] CopyDirection direction() const override { return direction_; }

  [[nodiscard]] const GrantCopyMetrics& metrics() const { return metrics_; }
  [[nodiscard]] std::uint32_t pending_segments() const { return used_; }

 private:
  struct Segments;

  GrantMapper& mapper_;
  CopyDirection direction_;
  std::uint32_t capacity_;
  std::uint32_t used_ = 0;
  std::unique_ptr<Segments> segments_;
  GrantCopyMetrics metrics_;
};

}  // namespace vmsg::xen
