// Grants as Xen and Linux's gntdev and gntalloc drivers keep them: see grant_tables.hpp.
#include "tests/mock-xen/grant_tables.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <ranges>
#include <utility>

// After <cstdint>: it uses its types without including them.
#include <xen/xen.h>

#include "tests/mock-xen/event_channels.hpp"

namespace vmsg::mock {
namespace {

/// The first references are the toolstack's (console, xenstore). How many differs from domain to
/// domain, so that a reference used on the wrong domain does not work by luck.
std::uint32_t first_ref(std::uint16_t domid) { return 8U + 8U * (domid % 8U); }

constexpr std::uint32_t kMaxMapCount = 64 * 1024;  // gntdev's limit on pages of one mapping

/// Another descriptor of the same file with other rights.
int reopen(int fd, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return ::open(path.c_str(), flags | O_CLOEXEC);
}

std::string describe_refs(std::uint32_t first, std::size_t count) {
  std::string text = count == 1 ? "reference " : std::to_string(count) + " references from ";
  return text + std::to_string(first);
}

}  // namespace

GrantTables::Domain* GrantTables::find(std::uint32_t domid) {
  const auto at = domid < kFirstReservedDomid ? domains_.find(static_cast<std::uint16_t>(domid))
                                              : domains_.end();
  return at == domains_.end() ? nullptr : &at->second;
}

const GrantTables::Domain* GrantTables::find(std::uint32_t domid) const {
  const auto at = domid < kFirstReservedDomid ? domains_.find(static_cast<std::uint16_t>(domid))
                                              : domains_.end();
  return at == domains_.end() ? nullptr : &at->second;
}

int GrantTables::domain_created(std::uint16_t domid) {
  Domain domain;
  const std::string name = "xen-mock-domain-" + std::to_string(domid);
  domain.memory.reset(::memfd_create(name.c_str(), MFD_CLOEXEC));
  // Sparse: a page takes memory when it is first touched.
  if (!domain.memory || ::ftruncate(domain.memory.get(), kDomainMemoryBytes) != 0) return errno;
  domain.read_only_memory.reset(reopen(domain.memory.get(), O_RDONLY));
  if (!domain.read_only_memory) return errno;
  domain.pages.resize(kMaxGrants);
  segment_.find_domain(domid)->grant_entries.store(kGrantsPerFrame, std::memory_order_release);
  domains_.insert_or_assign(domid, std::move(domain));
  return 0;
}

void GrantTables::domain_destroyed(std::uint16_t domid) {
  Domain* const domain = find(domid);
  if (domain == nullptr) return;
  complete_deferred_unmaps_of(domid);
  domain->dying = true;
  DomainArea* const area = segment_.find_domain(domid);
  for (std::uint32_t ref = 0; ref < kMaxGrants; ++ref) {
    Page& page = domain->pages[ref];
    if (!page.used) continue;
    area->grants[ref].store(0, std::memory_order_seq_cst);
    page.ending = true;
    if (page.maps == 0) free_ref(*domain, ref);
  }
}

bool GrantTables::is_dying_domain_done(std::uint16_t domid) const {
  const Domain* const domain = find(domid);
  return domain != nullptr && domain->dying && domain->used_refs == 0;
}

void GrantTables::forget_domain(std::uint16_t domid) { domains_.erase(domid); }

GrantLimits* GrantTables::limits(std::uint16_t domid) {
  Domain* const domain = find(domid);
  return domain == nullptr ? nullptr : &domain->limits;
}

int GrantTables::memory(std::uint16_t domid, bool writable) const {
  const Domain* const domain = find(domid);
  if (domain == nullptr || domain->dying) return -1;
  return writable ? domain->memory.get() : domain->read_only_memory.get();
}

// --- Sharing --------------------------------------------------------------------------------

std::vector<std::uint32_t> GrantTables::find_free_refs(std::uint16_t domid,
                                                       std::uint32_t count) const {
  const Domain& domain = *find(domid);
  const std::uint32_t end = std::min(domain.limits.grant_entries, kMaxGrants);
  if (newest_first_) return find_newest_refs(domid, count, end);
  std::vector<std::uint32_t> run;
  std::vector<std::uint32_t> any;
  for (std::uint32_t ref = first_ref(domid); ref < end; ++ref) {
    if (domain.pages[ref].used) {
      run.clear();
      continue;
    }
    const bool skip = scattered_ && !any.empty() && any.back() + 1 == ref;
    if (any.size() < count && !skip) any.push_back(ref);
    run.push_back(ref);
    if (run.size() == count && !scattered_) return run;
  }
  return any.size() == count ? any : std::vector<std::uint32_t>{};
}

std::vector<std::uint32_t> GrantTables::find_newest_refs(std::uint16_t domid, std::uint32_t count,
                                                         std::uint32_t end) const {
  const Domain& domain = *find(domid);
  std::vector<std::uint32_t> refs;
  for (const std::uint32_t ref : domain.freed | std::views::reverse) {
    if (refs.size() < count) refs.push_back(ref);
  }
  for (std::uint32_t ref = first_ref(domid); ref < end && refs.size() < count; ++ref) {
    const bool is_taken = domain.pages[ref].used || std::ranges::count(domain.freed, ref) > 0;
    if (!is_taken) refs.push_back(ref);
  }
  return refs.size() == count ? refs : std::vector<std::uint32_t>{};
}

int GrantTables::register_notify(std::uint16_t domid, std::uint64_t bytes,
                                 const UnmapNotify& notify) {
  if (notify.offset && *notify.offset >= bytes) return EINVAL;
  if (notify.port && !events_.hold(domid, *notify.port)) return EINVAL;
  return 0;
}

void GrantTables::send_notify(std::uint16_t domid, const UnmapNotify& notify) {
  if (!notify.port) return;
  events_.notify(domid, *notify.port);
  events_.release(domid, *notify.port);
}

void GrantTables::clear_byte(std::uint16_t domid, std::uint32_t ref, std::uint32_t offset) {
  const Domain* const domain = find(domid);
  if (domain == nullptr) return;
  const char zero = 0;
  const off_t at = static_cast<off_t>(ref) * static_cast<off_t>(kPageSize) + offset;
  [[maybe_unused]] const ssize_t written = ::pwrite(domain->memory.get(), &zero, 1, at);
}

Result<SharedPages, int> GrantTables::share(const Handle& handle, std::uint32_t domid,
                                            std::uint32_t count, bool writable,
                                            const UnmapNotify& notify) {
  Domain& domain = *find(handle.domid);
  if (count == 0) return std::unexpected(EINVAL);
  if (count > domain.limits.shared_pages ||
      domain.shared_pages > domain.limits.shared_pages - count) {
    return std::unexpected(ENOSPC);
  }
  std::vector<std::uint32_t> refs = find_free_refs(handle.domid, count);
  if (refs.empty()) return std::unexpected(ENOSPC);
  if (const int error = register_notify(handle.domid, count * kPageSize, notify); error != 0) {
    return std::unexpected(error);
  }

  // Like Xen, nobody asks whether the other domain exists.
  const auto grantee = static_cast<std::uint16_t>(domid == DOMID_SELF ? handle.domid : domid);
  DomainArea& area = *segment_.find_domain(handle.domid);
  for (const std::uint32_t ref : refs) std::erase(domain.freed, ref);
  const std::uint32_t frames = (std::ranges::max(refs) + kGrantsPerFrame) / kGrantsPerFrame;
  if (frames * kGrantsPerFrame > area.grant_entries.load(std::memory_order_relaxed)) {
    area.grant_entries.store(frames * kGrantsPerFrame, std::memory_order_release);
  }
  const Grant entry{.permitted = true, .read_only = !writable, .domid = grantee};
  for (const std::uint32_t ref : refs) {
    domain.pages[ref] = {.used = true, .ending = false, .grantee = grantee, .maps = 0};
    area.grants[ref].store(entry.pack(), std::memory_order_release);
  }
  domain.shared_pages += count;
  domain.used_refs += count;
  const std::uint64_t id = next_id_++;
  shares_[id] = {.handle = handle.id,
                 .domid = handle.domid,
                 .grantee = grantee,
                 .refs = refs,
                 .notify = notify};
  return SharedPages{.id = id, .refs = std::move(refs)};
}

int GrantTables::unshare(const Handle& handle, std::uint64_t id) {
  const auto at = shares_.find(id);
  if (at == shares_.end() || at->second.handle != handle.id) return EINVAL;
  const Share share = std::move(at->second);
  shares_.erase(at);
  end_share(share);
  return 0;
}

void GrantTables::end_share(const Share& share) {
  if (share.notify.offset) {
    clear_byte(share.domid, share.refs[*share.notify.offset / kPageSize],
               *share.notify.offset % kPageSize);
  }
  send_notify(share.domid, share.notify);
  Domain& domain = *find(share.domid);
  domain.shared_pages -= static_cast<std::uint32_t>(share.refs.size());
  for (const std::uint32_t ref : share.refs) {
    if (try_end(share.domid, ref)) continue;
    domain.pages[ref].ending = true;
    if (domain.pages[ref].maps == 0) waiting_for_copies_.push_back({share.domid, ref});
  }
}

bool GrantTables::is_copying(std::uint16_t domid, std::uint32_t ref) const {
  const std::uint64_t hazard = hazard_of(segment_.slot_of(*segment_.find_domain(domid)), ref);
  return std::any_of(handles_.all().begin(), handles_.all().end(), [&](const auto& entry) {
    const HandleSlot& slot = segment_.handles[entry.second.slot];
    return slot.hazards[0].load(std::memory_order_seq_cst) == hazard ||
           slot.hazards[1].load(std::memory_order_seq_cst) == hazard;
  });
}

void GrantTables::free_ref(Domain& domain, std::uint32_t ref) {
  domain.pages[ref] = {};
  --domain.used_refs;
  if (newest_first_) domain.freed.push_back(ref);
}

bool GrantTables::try_end(std::uint16_t domid, std::uint32_t ref) {
  Domain& domain = *find(domid);
  Page& page = domain.pages[ref];
  if (page.maps != 0) return false;
  // ORDER: first the permission goes, then we look for copies; a copy announces itself first and
  // then looks at the permission (GrantCopier::acquire).
  std::atomic<std::uint64_t>& word = segment_.find_domain(domid)->grants[ref];
  const std::uint64_t before = word.exchange(0, std::memory_order_seq_cst);
  if (is_copying(domid, ref)) {
    word.store(before, std::memory_order_seq_cst);
    return false;
  }
  free_ref(domain, ref);
  // The next one to get the page finds it zeroed, as from the kernel.
  [[maybe_unused]] const int punched =
      ::fallocate(domain.memory.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                  static_cast<off_t>(ref) * static_cast<off_t>(kPageSize), kPageSize);
  return true;
}

bool GrantTables::retry_ending() {
  std::erase_if(waiting_for_copies_, [this](const GrantName& grant) {
    const Domain* const domain = find(grant.domid);
    if (domain == nullptr || domain->dying || !domain->pages[grant.ref].ending) return true;
    return domain->pages[grant.ref].maps != 0 ||
           try_end(static_cast<std::uint16_t>(grant.domid), grant.ref);
  });
  return !waiting_for_copies_.empty();
}

// --- Mapping --------------------------------------------------------------------------------

bool GrantTables::may_map(const Domain& mapper, std::uint16_t mapper_domid, const GrantName& grant,
                          bool writable) const {
  const Domain* const granter = find(grant.domid);
  if (granter == nullptr || granter->dying || mapper.dying) return false;
  const DomainArea& area = *segment_.find_domain(grant.domid);
  if (grant.ref >= area.grant_entries.load(std::memory_order_relaxed)) return false;
  const Grant entry = Grant::unpack(area.grants[grant.ref].load(std::memory_order_relaxed));
  return entry.permitted && entry.domid == mapper_domid && !(writable && entry.read_only);
}

Result<std::uint64_t, int> GrantTables::map(const Handle& handle, std::span<const GrantName> grants,
                                            bool writable, const UnmapNotify& notify) {
  // Whatever Xen says to a mapping that it refuses, the driver's mmap answers with EINVAL.
  if (grants.empty() || grants.size() > kMaxMapCount) return std::unexpected(EINVAL);
  Domain& mapper = *find(handle.domid);
  if (grants.size() > mapper.limits.maptrack ||
      mapper.mapped_pages > mapper.limits.maptrack - grants.size()) {
    return std::unexpected(EINVAL);
  }
  for (const GrantName& grant : grants) {
    if (!may_map(mapper, handle.domid, grant, writable)) return std::unexpected(EINVAL);
  }
  // A page that is mapped read-only has no byte that could be cleared.
  if (notify.offset && !writable) return std::unexpected(EINVAL);
  if (const int error = register_notify(handle.domid, grants.size() * kPageSize, notify);
      error != 0) {
    return std::unexpected(error);
  }
  for (const GrantName& grant : grants) ++find(grant.domid)->pages[grant.ref].maps;
  mapper.mapped_pages += static_cast<std::uint32_t>(grants.size());
  const std::uint64_t id = next_id_++;
  mappings_[id] = {.handle = handle.id,
                   .domid = handle.domid,
                   .writable = writable,
                   .deferred = false,
                   .grants = {grants.begin(), grants.end()},
                   .notify = notify};
  return id;
}

int GrantTables::unmap(const Handle& handle, std::uint64_t id) {
  const auto at = mappings_.find(id);
  if (at == mappings_.end() || at->second.handle != handle.id || at->second.deferred) {
    return EINVAL;
  }
  begin_unmap(id);
  return 0;
}

void GrantTables::begin_unmap(std::uint64_t id) {
  Mapping& mapping = mappings_.at(id);
  if (mapping.notify.offset) {
    const GrantName& grant = mapping.grants[*mapping.notify.offset / kPageSize];
    clear_byte(static_cast<std::uint16_t>(grant.domid), grant.ref,
               *mapping.notify.offset % kPageSize);
  }
  if (deferred_unmap_) {
    mapping.deferred = true;
    return;
  }
  const Mapping ended = std::move(mapping);
  mappings_.erase(id);
  finish_unmap(ended);
}

void GrantTables::finish_unmap(const Mapping& mapping) {
  for (const GrantName& grant : mapping.grants) {
    const auto domid = static_cast<std::uint16_t>(grant.domid);
    Domain& granter = *find(domid);
    Page& page = granter.pages[grant.ref];
    --page.maps;
    if (!page.ending || page.maps != 0) continue;
    if (granter.dying) {
      free_ref(granter, grant.ref);
    } else if (!try_end(domid, grant.ref)) {
      waiting_for_copies_.push_back(grant);
    }
  }
  if (Domain* const mapper = find(mapping.domid); mapper != nullptr) {
    mapper->mapped_pages -= static_cast<std::uint32_t>(mapping.grants.size());
  }
  // Only now: the event says that the pages are really back.
  send_notify(mapping.domid, mapping.notify);
}

bool GrantTables::is_used(const Handle& handle) const {
  return std::any_of(mappings_.begin(), mappings_.end(),
                     [&](const auto& entry) {
                       return entry.second.handle == handle.id && !entry.second.deferred;
                     }) ||
         std::any_of(shares_.begin(), shares_.end(),
                     [&](const auto& entry) { return entry.second.handle == handle.id; });
}

void GrantTables::handle_gone(const Handle& handle) {
  std::vector<std::uint64_t> mine;
  for (const auto& [id, mapping] : mappings_) {
    if (mapping.handle == handle.id && !mapping.deferred) mine.push_back(id);
  }
  for (const std::uint64_t id : mine) begin_unmap(id);
  mine.clear();
  for (const auto& [id, share] : shares_) {
    if (share.handle == handle.id) mine.push_back(id);
  }
  for (const std::uint64_t id : mine) {
    const Share share = std::move(shares_.at(id));
    shares_.erase(id);
    end_share(share);
  }
}

void GrantTables::set_deferred_unmap(bool on) {
  deferred_unmap_ = on;
  if (!on) complete_deferred_unmaps();
}

std::size_t GrantTables::complete_deferred_unmaps() {
  return complete_deferred_unmaps_of(std::nullopt);
}

std::size_t GrantTables::complete_deferred_unmaps_of(std::optional<std::uint16_t> domid) {
  std::vector<Mapping> ended;
  for (auto at = mappings_.begin(); at != mappings_.end();) {
    if (at->second.deferred && (!domid || *domid == at->second.domid)) {
      ended.push_back(std::move(at->second));
      at = mappings_.erase(at);
    } else {
      ++at;
    }
  }
  for (const Mapping& mapping : ended) finish_unmap(mapping);
  return ended.size();
}

// --- What is left ---------------------------------------------------------------------------

std::vector<std::string> GrantTables::held(std::uint16_t domid) const {
  std::vector<std::string> lines;
  for (const auto& [id, mapping] : mappings_) {
    if (mapping.domid != domid) continue;
    lines.push_back((mapping.deferred ? "deferred unmap of " : "mapping of ") +
                    describe_refs(mapping.grants.front().ref, mapping.grants.size()) +
                    " of domain " + std::to_string(mapping.grants.front().domid) +
                    (mapping.writable ? "" : ", read-only"));
  }
  for (const auto& [id, share] : shares_) {
    if (share.domid != domid) continue;
    lines.push_back("sharing of " + describe_refs(share.refs.front(), share.refs.size()) +
                    " with domain " + std::to_string(share.grantee));
  }
  const Domain* const domain = find(domid);
  if (domain == nullptr || domain->used_refs == 0) return lines;
  for (std::uint32_t ref = 0; ref < kMaxGrants; ++ref) {
    const Page& page = domain->pages[ref];
    if (!page.used || !page.ending) continue;
    lines.push_back("reference " + std::to_string(ref) + " still in use by domain " +
                    std::to_string(page.grantee));
  }
  return lines;
}

}  // namespace vmsg::mock
