#include "xenbus-glue/grant_copy.hpp"

#include <limits>

#include "xenbus-glue/gnttab_owner.hpp"
#include "xenbus-glue/shared_regions.hpp"

namespace vmsg::xen {
namespace {

// No status that Xen writes: a segment that still has it was never looked at.
constexpr std::int16_t kNotDone = std::numeric_limits<std::int16_t>::max();

}  // namespace

struct GrantCopyBatch::Segments {
  explicit Segments(std::uint32_t capacity)
      : calls(std::make_unique<xengnttab_grant_copy_segment_t[]>(capacity)),
        outcomes(std::make_unique<CopyOutcome*[]>(capacity)) {}

  std::unique_ptr<xengnttab_grant_copy_segment_t[]> calls;
  std::unique_ptr<CopyOutcome*[]> outcomes;
};

GrantCopyBatch::GrantCopyBatch(GrantMapper& mapper, CopyDirection direction, std::uint32_t capacity)
    : mapper_(mapper),
      direction_(direction),
      capacity_(capacity),
      segments_(std::make_unique<Segments>(capacity)) {
  VMSG_INVARIANT(capacity > 0);
}

GrantCopyBatch::~GrantCopyBatch() = default;

void GrantCopyBatch::add(const GuestRef& guest, GrantAddress address, std::span<std::byte> local,
                         CopyOutcome& outcome) {
  if (local.empty()) return;
  if (local.size() > std::numeric_limits<std::uint32_t>::max() || !address.holds(local.size())) {
    outcome = CopyOutcome::kBadRange;
    ++metrics_.bad_ranges;
    return;
  }
  metrics_.bytes += local.size();
  if (guest.regions != nullptr) {
    if (const auto region = guest.regions->find(address, local.size())) {
      if (direction_ == CopyDirection::kFromGuest) {
        region->copy_out(0, local);
      } else {
        region->copy_in(0, local);
      }
      ++metrics_.region_copies;
      return;
    }
  }

  std::size_t done = 0;
  PagePieces pieces(address, static_cast<std::uint32_t>(local.size()));
  while (const auto piece = pieces.next()) {
    if (used_ == capacity_) run();
    xengnttab_grant_copy_segment_t& segment = segments_->calls[used_];
    auto& theirs = direction_ == CopyDirection::kFromGuest ? segment.source : segment.dest;
    auto& ours = direction_ == CopyDirection::kFromGuest ? segment.dest : segment.source;
    theirs.foreign.ref = piece->reference;
    theirs.foreign.offset = piece->offset;
    theirs.foreign.domid = guest.domain;
    ours.virt = local.data() + done;
    segment.len = piece->length;
    segment.flags =
        direction_ == CopyDirection::kFromGuest ? GNTCOPY_source_gref : GNTCOPY_dest_gref;
    segment.status = kNotDone;
    segments_->outcomes[used_] = &outcome;
    ++used_;
    done += piece->length;
  }
}

void GrantCopyBatch::run() {
  if (used_ == 0) return;
  const std::uint32_t count = used_;
  used_ = 0;
  ++metrics_.calls;
  metrics_.segments += count;
  const int result = xengnttab_grant_copy(mapper_.owner_->handle, count, segments_->calls.get());
  // gntdev writes "okay" before it copies, so after a failed call no success is believed. A
  // positive result says nothing about single segments either.
  const bool is_call_failed = result < 0;
  if (is_call_failed) ++metrics_.failed_calls;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::int16_t status = segments_->calls[i].status;
    if (status == GNTST_okay && !is_call_failed) continue;
    if (status == GNTST_okay || status == kNotDone) {
      *segments_->outcomes[i] = CopyOutcome::kFailed;
      continue;
    }
    *segments_->outcomes[i] = CopyOutcome::kNotGranted;
    ++metrics_.failed_segments;
  }
}

}  // namespace vmsg::xen
