#include "transport/shared_region_table.hpp"

#include <algorithm>

namespace vmsg {
namespace {

std::uint32_t status_of(RegionAnswer answer) {
  switch (answer) {
    case RegionAnswer::kShared:
      return VMSG_XEN_REGION_OK;
    case RegionAnswer::kNotMapped:
    case RegionAnswer::kPending:  // not an answer
      return VMSG_XEN_REGION_NOT_MAPPED;
    case RegionAnswer::kLimit:
      return VMSG_XEN_REGION_LIMIT;
  }
  return VMSG_XEN_REGION_NOT_MAPPED;
}

}  // namespace

SharedRegionTable::SharedRegionTable(BusHost& host, const RegionLimits& limits)
    : host_(host), limits_(limits) {
  entries_.reserve(limits.max_regions);
}

std::optional<RegionReply> SharedRegionTable::share(MessageAddress from,
                                                    const ShareRegionRequest& request) {
  RegionReply reply{
      .region = request.region, .status = VMSG_XEN_REGION_OK, .to = from, .is_unshare = false};
  const auto address = GrantAddress::parse(request.address);
  const std::uint64_t bytes = std::uint64_t{request.pages} * kGrantPageSize;
  const bool is_range = request.pages != 0 && address && address->offset() == 0;
  if (!is_range || !address->holds(bytes)) {
    reply.status = VMSG_XEN_REGION_BAD_RANGE;
    return reply;
  }
  if (const Entry* old = find(request.region)) {
    // The same request again (a device side that restarted may see it twice) is no mistake.
    const bool is_same = old->address == request.address && old->pages == request.pages;
    if (!is_same) {
      reply.status = VMSG_XEN_REGION_BAD_RANGE;
    } else if (old->state != State::kShared || old->is_due) {
      reply.status = VMSG_XEN_REGION_LIMIT;
    }
    return reply;
  }
  if (entries_.size() >= limits_.max_regions || request.pages > limits_.max_pages - pages_) {
    reply.status = VMSG_XEN_REGION_LIMIT;
    return reply;
  }
  const RegionAnswer answer = host_.share_region(request.region, *address, request.pages);
  if (answer == RegionAnswer::kShared || answer == RegionAnswer::kPending) {
    const bool is_pending = answer == RegionAnswer::kPending;
    entries_.push_back({.region = request.region,
                        .pages = request.pages,
                        .address = request.address,
                        .state = is_pending ? State::kSharing : State::kShared,
                        .is_due = false,
                        .status = VMSG_XEN_REGION_OK,
                        .to = from});
    pages_ += request.pages;
    if (is_pending) return std::nullopt;
  }
  reply.status = status_of(answer);
  return reply;
}

std::optional<RegionReply> SharedRegionTable::unshare(MessageAddress from,
                                                      const UnshareRegionRequest& request) {
  RegionReply reply{
      .region = request.region, .status = VMSG_XEN_REGION_OK, .to = from, .is_unshare = true};
  Entry* entry = find(request.region);
  if (entry == nullptr || entry->state != State::kShared || entry->is_due) {
    reply.status = VMSG_XEN_REGION_UNKNOWN;
    return reply;
  }
  if (host_.unshare_region(request.region) == Release::kPending) {
    entry->state = State::kUnsharing;
    entry->to = from;
    return std::nullopt;
  }
  erase(*entry);
  return reply;
}

void SharedRegionTable::shared(std::uint32_t region, RegionAnswer answer) {
  Entry* entry = find(region);
  if (entry == nullptr || entry->state != State::kSharing || entry->is_due) return;
  entry->status = status_of(answer);
  entry->is_due = true;
  ++due_;
}

void SharedRegionTable::unshared(std::uint32_t region) {
  Entry* entry = find(region);
  if (entry == nullptr || entry->state != State::kUnsharing || entry->is_due) return;
  entry->status = VMSG_XEN_REGION_OK;
  entry->is_due = true;
  ++due_;
}

RegionReply SharedRegionTable::take_due() {
  const auto entry = std::ranges::find(entries_, true, &Entry::is_due);
  VMSG_INVARIANT(entry != entries_.end());
  const RegionReply reply{.region = entry->region,
                          .status = entry->status,
                          .to = entry->to,
                          .is_unshare = entry->state == State::kUnsharing};
  --due_;
  entry->is_due = false;
  if (entry->state == State::kSharing && entry->status == VMSG_XEN_REGION_OK) {
    entry->state = State::kShared;
  } else {
    erase(*entry);
  }
  return reply;
}

SharedRegionTable::Entry* SharedRegionTable::find(std::uint32_t region) {
  const auto entry = std::ranges::find(entries_, region, &Entry::region);
  return entry == entries_.end() ? nullptr : &*entry;
}

void SharedRegionTable::erase(Entry& entry) {
  pages_ -= entry.pages;
  entry = entries_.back();
  entries_.pop_back();
}

}  // namespace vmsg
