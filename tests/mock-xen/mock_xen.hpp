// A world of domains for one test: the public face of the mock for unit tests (link
// xen_mock_static) and for tests that run programs (their processes join by environment()).
//
//   MockXen xen;
//   xen.create_domain(3);
//   const auto in_guest = xen.as_domain(3);
//   xenevtchn_handle* handle = xenevtchn_open(nullptr, 0);   // a handle of domain 3
//   ...
//   EXPECT_THAT(xen.what_is_left(), IsEmpty());
//
// Domain 0 exists from the start. A world has a broker of its own, in a thread of this process, and
// everything hangs off it: worlds do not see each other. Errors of the test itself (a domain that
// does not exist, say) end the process with a line that says what was wrong.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <ostream>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/client.hpp"

namespace vmsg::mock {

/// What a domain's processes did since it was made (stats()), or hold now (store_* at the end).
struct DomainStats {
  std::uint64_t notifies = 0;  ///< xenevtchn_notify that succeeded
  std::uint64_t events = 0;    ///< ports taken by xenevtchn_pending
  std::uint64_t unmasks = 0;
  std::uint64_t binds = 0;
  std::uint64_t unbinds = 0;
  std::uint64_t map_calls = 0;
  std::uint64_t mapped_pages = 0;
  std::uint64_t unmap_calls = 0;
  std::uint64_t unmapped_pages = 0;
  std::uint64_t copy_calls = 0;
  std::uint64_t copy_segments = 0;
  std::uint64_t copy_bytes = 0;
  std::uint64_t copy_failures = 0;  ///< segments with another status than GNTST_okay
  std::uint64_t share_calls = 0;
  std::uint64_t shared_pages = 0;
  std::uint64_t unshare_calls = 0;
  std::uint64_t store_ops = 0;
  std::uint64_t store_errors = 0;
  std::uint64_t watches_fired = 0;
  std::uint64_t failures_injected = 0;
  std::uint64_t store_nodes = 0;
  std::uint64_t store_watches = 0;
  std::uint64_t store_transactions = 0;
  std::uint64_t store_connections = 0;
};

enum class Limit {
  kPorts,         ///< event channels of a domain
  kGrantEntries,  ///< size of a domain's grant table
  kSharedPages,   ///< pages that its processes can share at one time
  kMaptrack,      ///< pages of others that it can have mapped
};

class MockXen {
 public:
  MockXen();
  ~MockXen();
  MockXen(const MockXen&) = delete;
  MockXen& operator=(const MockXen&) = delete;

  // --- Domains.

  /// Its home directory appears in the store, and @introduceDomain fires.
  void create_domain(std::uint32_t domid, bool driver_domain = false);
  /// Its ports and grants go, its handles stop working, @releaseDomain fires. While others still
  /// map its pages it is_dying(), and its number cannot be used again.
  void destroy_domain(std::uint32_t domid);
  bool is_dying(std::uint32_t domid) const;

  /// While the result lives, handles opened by this thread belong to the domain; so do those of
  /// threads that have not called as_domain() themselves.
  [[nodiscard]] ScopedEndpoint as_domain(std::uint32_t domid) const;

  /// The broker's socket: XEN_MOCK for other processes.
  const std::string& socket() const { return socket_; }
  /// XEN_MOCK=... and XEN_MOCK_DOMID=..., for the environment of a process in the domain.
  std::vector<std::string> environment(std::uint32_t domid) const;

  // --- Looking.

  DomainStats stats(std::uint32_t domid) const;
  /// One line for everything that is still open, bound, mapped, shared, watched or in a
  /// transaction, in any domain.
  std::vector<std::string> what_is_left() const;
  std::vector<std::string> what_is_left(std::uint32_t domid) const;
  bool nothing_left() const { return what_is_left().empty(); }

  // --- Making things go wrong.

  /// The nth such call from now (1: the next one) in the domain fails with `error`, once.
  /// Call::kAny counts every call that is not a release; Call::kXengnttabGrantCopySegment gives
  /// one segment the status -error.
  void fail_nth(Call call, std::uint32_t nth, int error, std::uint32_t domid);
  /// Nothing fails any more. Returns how many failures had not happened yet.
  std::size_t clear_failures();

  /// While on, xengnttab_unmap succeeds and the pages are gone from the caller's address space, but
  /// their grants stay in use until complete_deferred_unmaps(). Turning it off completes them.
  void set_deferred_unmap(bool on);
  /// Returns how many mappings were given back.
  std::size_t complete_deferred_unmaps();
  /// New grants do not get consecutive references.
  void set_scattered_references(bool on);
  /// A reference that was given back is the next to be taken, as Linux has it.
  void set_newest_reference_first(bool on);
  void set_limit(std::uint32_t domid, Limit limit, std::uint32_t value);

 private:
  struct Impl;

  std::string socket_;
  std::unique_ptr<Impl> impl_;
};

/// Runs `scenario` with the first, then the second, ... call in the domain failing, until it runs
/// through without any failing. After each run everything has to be given back. Returns the number
/// of failures visited; ends the process when `scenario` leaves something behind, unless
/// `on_leftovers` takes that over.
using LeftoversHandler = std::function<void(std::uint32_t nth, std::span<const std::string>)>;
std::uint32_t for_each_failure(MockXen& xen, std::uint32_t domid, int error,
                               const std::function<void()>& scenario,
                               const LeftoversHandler& on_leftovers = {});

}  // namespace vmsg::mock
