// Grants as Xen and Linux's gntdev and gntalloc drivers keep them: sharing pages, mapping them,
// and the rule that a page stays granted while somebody uses it. Copies are made by the clients
// themselves, from the entries in the shared segment (see HandleSlot::hazards).
//
// Reference r of a domain is page r of its memory, one memfd a domain. Errors are errno values as
// the drivers give them.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tests/mock-xen/handles.hpp"
#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"
#include "transport/result.hpp"

namespace vmsg::mock {

class EventChannels;

/// What happens when a mapping or a sharing ends.
struct UnmapNotify {
  std::optional<std::uint32_t> offset;  ///< this byte becomes zero
  std::optional<std::uint32_t> port;    ///< this port of the registering domain is notified
};

struct GrantLimits {
  std::uint32_t grant_entries = kMaxGrants;  ///< size of the domain's table
  std::uint32_t shared_pages = 1024;         ///< gntalloc's limit on pages shared at one time
  std::uint32_t maptrack = 262144;           ///< pages of others the domain can have mapped
};

struct SharedPages {
  std::uint64_t id = 0;
  std::vector<std::uint32_t> refs;
};

class GrantTables {
 public:
  GrantTables(Segment& segment, const Handles& handles, EventChannels& events)
      : segment_(segment), handles_(handles), events_(events) {}

  /// 0 or errno.
  int domain_created(std::uint16_t domid);
  /// Its grants end; pages that others still map live on until they are unmapped, and
  /// is_dying_domain_done() says when that is. Its handles have to be gone before.
  void domain_destroyed(std::uint16_t domid);
  bool is_dying_domain_done(std::uint16_t domid) const;
  void forget_domain(std::uint16_t domid);
  GrantLimits* limits(std::uint16_t domid);

  /// The domain's memory: read-write, or a descriptor that cannot be mapped writable. -1: no such
  /// domain. Remains ours.
  int memory(std::uint16_t domid, bool writable) const;

  Result<SharedPages, int> share(const Handle& handle, std::uint32_t domid, std::uint32_t count,
                                 bool writable, const UnmapNotify& notify);
  int unshare(const Handle& handle, std::uint64_t id);

  Result<std::uint64_t, int> map(const Handle& handle, std::span<const GrantName> grants,
                                 bool writable, const UnmapNotify& notify);
  int unmap(const Handle& handle, std::uint64_t id);

  /// True when something is still mapped or shared through the handle.
  bool is_used(const Handle& handle) const;
  void handle_gone(const Handle& handle);

  /// While on, an unmap returns before the grants are given back, as gntdev's does while somebody
  /// holds the pages. Turning it off completes what waits.
  void set_deferred_unmap(bool on);
  bool deferred_unmap() const { return deferred_unmap_; }
  std::size_t complete_deferred_unmaps();

  /// New references are not consecutive, as on a fragmented table.
  void set_scattered(bool on) { scattered_ = on; }
  /// A reference that was given back is the next to be taken, as Linux has it: what was in order
  /// comes back in reverse.
  void set_newest_first(bool on) { newest_first_ = on; }

  /// Tries again to end grants that a copy was using; false when there is nothing to try again.
  bool retry_ending();

  std::vector<std::string> held(std::uint16_t domid) const;

 private:
  struct Page {
    bool used = false;
    bool ending = false;  ///< unshared, but somebody maps it or copies from or to it
    std::uint16_t grantee = 0;
    std::uint32_t maps = 0;
  };
  struct Domain {
    UniqueFd memory;
    UniqueFd read_only_memory;
    std::vector<Page> pages;
    std::vector<std::uint32_t> freed;  ///< given back while `newest_first_`; the latest is the last
    GrantLimits limits;
    std::uint32_t shared_pages = 0;
    std::uint32_t mapped_pages = 0;
    std::uint32_t used_refs = 0;
    bool dying = false;
  };
  struct Share {
    std::uint32_t handle = 0;
    std::uint16_t domid = 0;
    std::uint16_t grantee = 0;
    std::vector<std::uint32_t> refs;
    UnmapNotify notify;
  };
  struct Mapping {
    std::uint32_t handle = 0;
    std::uint16_t domid = 0;
    bool writable = false;
    bool deferred = false;
    std::vector<GrantName> grants;
    UnmapNotify notify;
  };

  Domain* find(std::uint32_t domid);
  const Domain* find(std::uint32_t domid) const;
  bool may_map(const Domain& mapper, std::uint16_t mapper_domid, const GrantName& grant,
               bool writable) const;
  int register_notify(std::uint16_t domid, std::uint64_t bytes, const UnmapNotify& notify);
  void send_notify(std::uint16_t domid, const UnmapNotify& notify);
  void clear_byte(std::uint16_t domid, std::uint32_t ref, std::uint32_t offset);
  std::vector<std::uint32_t> find_free_refs(std::uint16_t domid, std::uint32_t count) const;
  std::vector<std::uint32_t> find_newest_refs(std::uint16_t domid, std::uint32_t count,
                                              std::uint32_t end) const;
  std::size_t complete_deferred_unmaps_of(std::optional<std::uint16_t> domid);
  void end_share(const Share& share);
  void begin_unmap(std::uint64_t id);
  void finish_unmap(const Mapping& mapping);
  void free_ref(Domain& domain, std::uint32_t ref);
  bool try_end(std::uint16_t domid, std::uint32_t ref);
  bool is_copying(std::uint16_t domid, std::uint32_t ref) const;

  Segment& segment_;
  const Handles& handles_;
  EventChannels& events_;
  std::map<std::uint16_t, Domain> domains_;
  std::map<std::uint64_t, Share> shares_;
  std::map<std::uint64_t, Mapping> mappings_;
  std::vector<GrantName> waiting_for_copies_;
  std::uint64_t next_id_ = 1;
  bool deferred_unmap_ = false;
  bool scattered_ = false;
  bool newest_first_ = false;
};

}  // namespace vmsg::mock
