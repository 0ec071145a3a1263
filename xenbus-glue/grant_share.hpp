// The driver side's half of grants: pages of our own that another domain may map or copy
// (libxengntshr). vmsg-guest builds its rings, queues and buffers of these.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "transport/guest_memory.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg::xen {

class GrantSharer;

/// Zeroed pages of ours, shared until this is destroyed. Move-only. Must not outlive its
/// GrantSharer. A peer that has one mapped keeps the page, not us: unsharing then still succeeds.
class SharedPages {
 public:
  SharedPages() = default;
  SharedPages(SharedPages&& other) noexcept;
  SharedPages& operator=(SharedPages&& other) noexcept;
  ~SharedPages() { unshare(); }

  [[nodiscard]] bool is_shared() const { return owner_ != nullptr; }

  /// Our mapping of them; always writable by us.
  [[nodiscard]] SharedBytes bytes() const {
    return SharedBytes::unchecked_wrap(base_, refs_.size() * kGrantPageSize);
  }
  [[nodiscard]] std::span<const GrantRef> refs() const { return refs_; }

  /// The grant address of the first byte when the references are consecutive, as an area of
  /// several pages needs; nullopt when they are not.
  [[nodiscard]] std::optional<GrantAddress> address() const;

  void unshare();

 private:
  friend class GrantSharer;
  struct Owner;
  SharedPages(Owner* owner, std::byte* base, std::vector<GrantRef> refs)
      : owner_(owner), base_(base), refs_(std::move(refs)) {}

  Owner* owner_ = nullptr;
  std::byte* base_ = nullptr;
  std::vector<GrantRef> refs_;
};

/// What the peer sees when we stop sharing a page, by dying too.
struct UnmapNotify {
  std::optional<std::uint16_t> clear_byte;  // offset in the page of a byte set to 0
  std::optional<LocalPort> notify;          // a port of ours whose peer is notified
};

/// One libxengntshr handle.
class GrantSharer {
 public:
  static Result<GrantSharer, XenError> open();

  GrantSharer(GrantSharer&&) noexcept;
  GrantSharer& operator=(GrantSharer&&) noexcept;
  /// All pages are unshared by now; pages left are our bug and end the process.
  ~GrantSharer();

  /// `access` is what the peer may do.
  [[nodiscard]] Result<SharedPages, XenError> share(DomainId domain, std::uint32_t pages,
                                                    Access access);

  /// As share(), with consecutive references. The kernel promises none: where they do not come at
  /// once, a run of them is cleared and tried again, `attempts` times in all; ENOSPC after that.
  [[nodiscard]] Result<SharedPages, XenError> share_consecutive(DomainId domain,
                                                                std::uint32_t pages, Access access,
                                                                std::uint32_t attempts = 8);

  /// One page with an unmap notification.
  [[nodiscard]] Result<SharedPages, XenError> share_with_notify(DomainId domain, Access access,
                                                                const UnmapNotify& notify);

  [[nodiscard]] std::uint32_t shared_pages() const;

 private:
  explicit GrantSharer(std::unique_ptr<SharedPages::Owner> owner);

  std::unique_ptr<SharedPages::Owner> owner_;
};

}  // namespace vmsg::xen
