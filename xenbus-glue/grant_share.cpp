#include "xenbus-glue/grant_share.hpp"

#include <cerrno>
#include <limits>
#include <utility>

#include "xenbus-glue/silent_logger.hpp"

extern "C" {
#include <xengnttab.h>
}

namespace vmsg::xen {
namespace {

constexpr std::uint32_t kMaxPagesOfOneShare = 65536;

XenError failed(DomainId domain, int error) { return {XenCall::kGntshrShare, error, domain}; }

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
  // Kept until we are done: given back at once, the same references would come again.
  std::vector<SharedPages> misfits;
  for (std::uint32_t i = 0; i < attempts; ++i) {
    auto shared = share(domain, pages, access);
    if (!shared || shared->address()) return shared;
    misfits.push_back(std::move(*shared));
  }
  return std::unexpected(failed(domain, ENOSPC));
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
