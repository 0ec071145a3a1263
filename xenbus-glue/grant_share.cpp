#include "xenbus-glue/grant_share.hpp"

#include <cerrno>
#include <limits>
#include <map>
#include <utility>

#include "xenbus-glue/silent_logger.hpp"

extern "C" {
#include <xengnttab.h>
}

namespace vmsg::xen {
namespace {

constexpr std::uint32_t kMaxPagesOfOneShare = 65536;

XenError failed(DomainId domain, int error) { return {XenCall::kGntshrShare, error, domain}; }

/// Makes `pages` consecutive references the next ones that the kernel hands out, by taking pages
/// one by one until there is such a run among them and giving that back. While the result is kept,
/// none of the others that the kernel might prefer are free.
Result<std::map<GrantRef, SharedPages>, XenError> clear_a_run(GrantSharer& sharer, DomainId domain,
                                                              std::uint32_t pages) {
  std::map<GrantRef, SharedPages> taken;
  for (;;) {
    auto one = sharer.share(domain, 1, Access::kReadOnly);
    if (!one) return std::unexpected(one.error());
    GrantRef last = one->refs().front();
    taken.emplace(last, std::move(*one));
    while (taken.contains(last + 1)) ++last;
    std::uint32_t run = 1;
    while (run < pages && taken.contains(last - run)) ++run;
    if (run < pages) continue;
    // The highest first: Linux hands out what came back last, and others start from the lowest.
    for (std::uint32_t i = 0; i < pages; ++i) taken.erase(last - i);
    return taken;
  }
}

}  // namespace

struct SharedPages::Owner {
  explicit Owner(xengntshr_handle* opened) : handle(opened) {}
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() {
    VMSG_INVARIANT(shared_pages == 0);
    static_cast<void>(xengntshr_close(handle));
  }

  xengntshr_handle* handle;
  std::uint32_t shared_pages = 0;
};

SharedPages::SharedPages(SharedPages&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)),
      base_(std::exchange(other.base_, nullptr)),
      refs_(std::move(other.refs_)) {
  other.refs_.clear();
}

SharedPages& SharedPages::operator=(SharedPages&& other) noexcept {
  if (this != &other) {
    unshare();
    owner_ = std::exchange(other.owner_, nullptr);
    base_ = std::exchange(other.base_, nullptr);
    refs_ = std::move(other.refs_);
    other.refs_.clear();
  }
  return *this;
}

std::optional<GrantAddress> SharedPages::address() const {
  if (refs_.empty()) return std::nullopt;
  for (std::size_t i = 1; i < refs_.size(); ++i) {
    if (refs_[i] != refs_[i - 1] + 1) return std::nullopt;
  }
  return GrantAddress::of(refs_.front());
}

void SharedPages::unshare() {
  Owner* const owner = std::exchange(owner_, nullptr);
  if (owner == nullptr) return;
  const auto pages = static_cast<std::uint32_t>(refs_.size());
  // What the kernel could not take back it keeps and frees when the peer lets go.
  static_cast<void>(xengntshr_unshare(owner->handle, base_, pages));
  owner->shared_pages -= pages;
  base_ = nullptr;
  refs_.clear();
}

GrantSharer::GrantSharer(std::unique_ptr<SharedPages::Owner> owner) : owner_(std::move(owner)) {}
GrantSharer::GrantSharer(GrantSharer&&) noexcept = default;
GrantSharer& GrantSharer::operator=(GrantSharer&&) noexcept = default;
GrantSharer::~GrantSharer() = default;

Result<GrantSharer, XenError> GrantSharer::open() {
  xengntshr_handle* const handle = xengntshr_open(silent_logger(), 0);
  if (handle == nullptr) {
    return std::unexpected(XenError{XenCall::kGntshrOpen, errno, std::nullopt});
  }
  return GrantSharer(std::make_unique<SharedPages::Owner>(handle));
}

Result<SharedPages, XenError> GrantSharer::share(DomainId domain, std::uint32_t pages,
                                                 Access access) {
  if (pages == 0 || pages > kMaxPagesOfOneShare) return std::unexpected(failed(domain, EINVAL));
  std::vector<GrantRef> refs(pages);
  const int writable = access == Access::kReadWrite ? 1 : 0;
  void* const base =
      xengntshr_share_pages(owner_->handle, domain, static_cast<int>(pages), refs.data(), writable);
  if (base == nullptr) return std::unexpected(failed(domain, errno));
  owner_->shared_pages += pages;
  return SharedPages(owner_.get(), static_cast<std::byte*>(base), std::move(refs));
}

Result<SharedPages, XenError> GrantSharer::share_consecutive(DomainId domain, std::uint32_t pages,
                                                             Access access,
                                                             std::uint32_t attempts) {
  auto shared = share(domain, pages, access);
  for (std::uint32_t i = 1; i < attempts && shared && !shared->address(); ++i) {
    shared->unshare();
    const auto others = clear_a_run(*this, domain, pages);
    if (!others) return std::unexpected(others.error());
    shared = share(domain, pages, access);
  }
  if (shared && !shared->address()) return std::unexpected(failed(domain, ENOSPC));
  return shared;
}

Result<SharedPages, XenError> GrantSharer::share_with_notify(DomainId domain, Access access,
                                                             const UnmapNotify& notify) {
  constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();
  if (notify.clear_byte && *notify.clear_byte >= kGrantPageSize) {
    return std::unexpected(failed(domain, EINVAL));
  }
  std::vector<GrantRef> refs(1);
  const std::uint32_t offset = notify.clear_byte ? *notify.clear_byte : kNone;
  const evtchn_port_t port =
      notify.notify ? static_cast<evtchn_port_t>(*notify.notify) : evtchn_port_t{kNone};
  void* const base = xengntshr_share_page_notify(
      owner_->handle, domain, refs.data(), access == Access::kReadWrite ? 1 : 0, offset, port);
  if (base == nullptr) return std::unexpected(failed(domain, errno));
  ++owner_->shared_pages;
  return SharedPages(owner_.get(), static_cast<std::byte*>(base), std::move(refs));
}

std::uint32_t GrantSharer::shared_pages() const { return owner_->shared_pages; }

}  // namespace vmsg::xen
