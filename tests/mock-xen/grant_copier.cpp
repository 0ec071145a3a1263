// Grant copy on the shared grant tables: see grant_copier.hpp.
#include "tests/mock-xen/grant_copier.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace vmsg::mock {
namespace {

// Linux 5.14; the headers of Debian 12 know them, older ones need not.
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/// Whether the kernel could pin this memory, as gntdev does before it copies. Where madvise cannot
/// tell (an older kernel), it is taken for granted.
bool is_accessible(const void* start, std::size_t size, bool writable) {
  // SAFETY: only the page's number is computed; nothing is accessed.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t first = address / kPageSize * kPageSize;
  const int advice = writable ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
  // SAFETY: the kernel looks at the pages and changes nothing in them.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast,performance-no-int-to-ptr)
  void* const page = reinterpret_cast<void*>(first);
  if (size == 0 || ::madvise(page, address + size - first, advice) == 0) return true;
  static const bool kernel_can_tell = [] {
    void* const sample =
        ::mmap(nullptr, kPageSize, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (sample == MAP_FAILED) return false;
    const bool can = ::madvise(sample, kPageSize, MADV_POPULATE_WRITE) == 0;
    ::munmap(sample, kPageSize);
    return can;
  }();
  return !kernel_can_tell;
}

}  // namespace

GrantCopier::LocalRange GrantCopier::local_range(const xengnttab_grant_copy_segment_t& segment,
                                                 bool writable) {
  const void* const start = writable ? segment.dest.virt : segment.source.virt;
  // SAFETY: only the page's number is computed; nothing is accessed.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  const auto address = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t first = address / kPageSize * kPageSize;
  const std::uintptr_t end = (address + segment.len + kPageSize - 1) / kPageSize * kPageSize;
  return {.first = first, .end = end, .writable = writable};
}

GrantCopier::~GrantCopier() {
  for (const auto& [domid, window] : windows_) ::munmap(window.base, kDomainMemoryBytes);
}

int GrantCopier::copy(std::uint32_t count, xengnttab_grant_copy_segment_t* segments) {
  if (!client_.is_domain_alive()) return ENXIO;
  batched_ = 0;
  is_all_accessible_ = count > 1 && is_local_side_accessible(count, segments);
  for (std::uint32_t i = 0; i < count; ++i) {
    if (const int error = add(segments[i]); error != 0) return error;
  }
  flush();
  return 0;
}

bool GrantCopier::is_local_side_accessible(std::uint32_t count,
                                           const xengnttab_grant_copy_segment_t* segments) {
  ranges_.clear();
  for (std::uint32_t i = 0; i < count; ++i) {
    if (segments[i].len == 0) continue;
    if ((segments[i].flags & GNTCOPY_source_gref) == 0) {
      ranges_.push_back(local_range(segments[i], false));
    }
    if ((segments[i].flags & GNTCOPY_dest_gref) == 0) {
      ranges_.push_back(local_range(segments[i], true));
    }
  }
  std::ranges::sort(ranges_, [](const LocalRange& a, const LocalRange& b) {
    return a.writable != b.writable ? b.writable : a.first < b.first;
  });
  for (std::size_t i = 0; i < ranges_.size();) {
    LocalRange merged = ranges_[i];
    for (++i; i < ranges_.size(); ++i) {
      const LocalRange& next = ranges_[i];
      if (next.writable != merged.writable || next.first > merged.end) break;
      merged.end = std::max(merged.end, next.end);
    }
    // SAFETY: the number of a page that a caller gave us; the kernel alone looks at it.
    // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast,performance-no-int-to-ptr)
    const void* const start = reinterpret_cast<const void*>(merged.first);
    if (!is_accessible(start, merged.end - merged.first, merged.writable)) return false;
  }
  return true;
}

int GrantCopier::add(xengnttab_grant_copy_segment_t& segment) {
  const bool from_grant = (segment.flags & GNTCOPY_source_gref) != 0;
  const bool to_grant = (segment.flags & GNTCOPY_dest_gref) != 0;
  if (from_grant && segment.source.foreign.offset + segment.len > kPageSize) return EINVAL;
  if (to_grant && segment.dest.foreign.offset + segment.len > kPageSize) return EINVAL;
  if (!from_grant && !to_grant) return EINVAL;
  segment.status = GNTST_okay;
  if (!is_all_accessible_ && !from_grant && !is_accessible(segment.source.virt, segment.len, false))
    return EFAULT;
  if (!is_all_accessible_ && !to_grant && !is_accessible(segment.dest.virt, segment.len, true))
    return EFAULT;

  std::uint32_t done = 0;
  while (done < segment.len) {
    if (batched_ == kBatch) flush();
    std::size_t size = segment.len - done;
    // SAFETY: only the low bits are looked at, to cut at page borders as the driver does.
    // NOLINTBEGIN(cppcoreguidelines-pro-type-reinterpret-cast)
    const auto page_rest = [done](const void* start) {
      return kPageSize - (reinterpret_cast<std::uintptr_t>(start) + done) % kPageSize;
    };
    // NOLINTEND(cppcoreguidelines-pro-type-reinterpret-cast)
    if (!from_grant) size = std::min(size, page_rest(segment.source.virt));
    if (!to_grant) size = std::min(size, page_rest(segment.dest.virt));
    const auto piece_size = static_cast<std::uint32_t>(size);
    batch_[batched_++] = {.segment = &segment, .done = done, .size = piece_size};
    done += piece_size;
  }
  return 0;
}

void GrantCopier::flush() {
  for (std::size_t i = 0; i < batched_; ++i) {
    const std::int16_t status = copy_piece(batch_[i]);
    // The first error of a segment stays.
    if (status == GNTST_okay || batch_[i].segment->status != GNTST_okay) continue;
    batch_[i].segment->status = status;
    client_.count(Counter::kCopyFailures);
  }
  batched_ = 0;
}

std::int16_t GrantCopier::copy_piece(const Piece& piece) {
  const xengnttab_grant_copy_segment_t& segment = *piece.segment;
  if (const int injected = client_.injected(Call::kXengnttabGrantCopySegment); injected != 0) {
    return static_cast<std::int16_t>(-injected);
  }
  Side source;
  if ((segment.flags & GNTCOPY_source_gref) != 0) {
    const auto& foreign = segment.source.foreign;
    source = acquire(foreign.domid, foreign.ref, false, 0);
    if (source.at != nullptr) source.at += foreign.offset + piece.done;
  } else {
    source.at = static_cast<std::byte*>(segment.source.virt) + piece.done;
  }
  Side dest;
  if (source.status == GNTST_okay) {
    if ((segment.flags & GNTCOPY_dest_gref) != 0) {
      const auto& foreign = segment.dest.foreign;
      dest = acquire(foreign.domid, foreign.ref, true, 1);
      if (dest.at != nullptr) dest.at += foreign.offset + piece.done;
    } else {
      dest.at = static_cast<std::byte*>(segment.dest.virt) + piece.done;
    }
    if (dest.status == GNTST_okay) {
      std::memmove(dest.at, source.at, piece.size);
      client_.count(Counter::kCopyBytes, piece.size);
    }
  }
  release(0);
  release(1);
  return source.status != GNTST_okay ? source.status : dest.status;
}

GrantCopier::Side GrantCopier::acquire(std::uint32_t domid, std::uint32_t ref, bool write,
                                       std::size_t hazard) {
  Segment& segment = client_.segment();
  if (domid == DOMID_SELF) domid = client_.domid();
  DomainArea* const area = segment.find_domain(domid);
  if (area == nullptr || area->alive.load(std::memory_order_acquire) == 0) {
    return {.at = nullptr, .status = GNTST_bad_domain};
  }
  std::byte* const base = find_window(domid, *area);
  if (base == nullptr) return {.at = nullptr, .status = GNTST_bad_domain};
  if (ref >= area->grant_entries.load(std::memory_order_acquire)) {
    return {.at = nullptr, .status = GNTST_bad_gntref};
  }
  // ORDER: announce first, then look; the broker takes the permission away first and then looks
  // for announcements (GrantTables::try_end).
  segment.handles[client_.handle_slot()].hazards[hazard].store(
      hazard_of(segment.slot_of(*area), ref), std::memory_order_seq_cst);
  const Grant grant = Grant::unpack(area->grants[ref].load(std::memory_order_seq_cst));
  if (!grant.permitted || grant.domid != client_.domid() || (write && grant.read_only)) {
    return {.at = nullptr, .status = GNTST_general_error};
  }
  return {.at = base + static_cast<std::size_t>(ref) * kPageSize, .status = GNTST_okay};
}

void GrantCopier::release(std::size_t hazard) {
  // ORDER: release, so that the bytes are copied before the page can be given away.
  client_.segment().handles[client_.handle_slot()].hazards[hazard].store(0,
                                                                         std::memory_order_release);
}

std::byte* GrantCopier::find_window(std::uint32_t domid, const DomainArea& area) {
  const std::uint32_t incarnation = area.incarnation.load(std::memory_order_acquire);
  Window& window = windows_[domid];
  if (window.base != nullptr && window.incarnation == incarnation) return window.base;
  if (window.base != nullptr) ::munmap(window.base, kDomainMemoryBytes);
  window = {};

  Request request{.op = Op::kDomainMemory, .domid = domid};
  request.writable = 1;
  Reply reply;
  int fd = -1;
  if (!client_.call(request, nullptr, reply, nullptr, 0, &fd) || fd < 0) return nullptr;
  void* const mapped =
      ::mmap(nullptr, kDomainMemoryBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);
  if (mapped == MAP_FAILED) return nullptr;
  window = {.incarnation = incarnation, .base = static_cast<std::byte*>(mapped)};
  return window.base;
}

}  // namespace vmsg::mock
