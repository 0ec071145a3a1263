#include "xenbus-glue/store.hpp"

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <utility>

#include "xenbus-glue/numbers.hpp"
#include "xenbus-glue/store_connection.hpp"

namespace vmsg::xen {
namespace {

static_assert(static_cast<unsigned>(StoreAccess::kRead) == XS_PERM_READ);
static_assert(static_cast<unsigned>(StoreAccess::kWrite) == XS_PERM_WRITE);

// What libxenstore returns is to be given back with free().
struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
template <typename T>
using FromLibrary = std::unique_ptr<T, Free>;

std::unexpected<XenError> failed(XenCall call, int error) {
  return std::unexpected(XenError{call, error, std::nullopt});
}

// How many exceptions a node may have before we call it nonsense.
constexpr unsigned kMaxPermissions = 1024;

}  // namespace

Result<std::string, XenError> StoreOps::read(const Path& path, std::size_t max_bytes) {
  unsigned length = 0;
  const FromLibrary<void> value(xs_read(connection_->handle, transaction_, path.c_str(), &length));
  if (!value) return failed(XenCall::kStoreRead, errno);
  if (length > max_bytes) return failed(XenCall::kStoreRead, E2BIG);
  return std::string(static_cast<const char*>(value.get()), length);
}

Result<std::optional<std::string>, XenError> StoreOps::find(const Path& path,
                                                            std::size_t max_bytes) {
  auto value = read(path, max_bytes);
  if (value) return std::move(*value);
  if (value.error().error == ENOENT) return std::nullopt;
  return std::unexpected(value.error());
}

Result<void, XenError> StoreOps::write(const Path& path, std::string_view value) {
  if (value.size() > kMaxValue) return failed(XenCall::kStoreWrite, E2BIG);
  if (!xs_write(connection_->handle, transaction_, path.c_str(), value.data(),
                static_cast<unsigned>(value.size()))) {
    return failed(XenCall::kStoreWrite, errno);
  }
  return {};
}

Result<void, XenError> StoreOps::write_number(const Path& path, std::uint64_t value) {
  return write(path, std::to_string(value));
}

Result<void, XenError> StoreOps::remove(const Path& path) {
  if (!xs_rm(connection_->handle, transaction_, path.c_str()) && errno != ENOENT) {
    return failed(XenCall::kStoreRemove, errno);
  }
  return {};
}

Result<void, XenError> StoreOps::make_directory(const Path& path) {
  if (!xs_mkdir(connection_->handle, transaction_, path.c_str()) && errno != EEXIST) {
    return failed(XenCall::kStoreMkdir, errno);
  }
  return {};
}

Result<bool, XenError> StoreOps::exists(const Path& path) {
  auto value = find(path);
  if (!value) return std::unexpected(value.error());
  return value->has_value();
}

Result<std::vector<std::string>, XenError> StoreOps::list(const Path& path,
                                                          std::size_t max_children) {
  unsigned count = 0;
  const FromLibrary<char*> names(
      xs_directory(connection_->handle, transaction_, path.c_str(), &count));
  if (!names && errno == ENOENT) return std::vector<std::string>{};
  if (!names) return failed(XenCall::kStoreList, errno);
  if (count > max_children) return failed(XenCall::kStoreList, E2BIG);
  std::vector<std::string> children;
  children.reserve(count);
  for (unsigned i = 0; i < count; ++i) {
    if (Path::is_component(names.get()[i])) children.emplace_back(names.get()[i]);
  }
  return children;
}

Result<std::vector<std::uint32_t>, XenError> StoreOps::list_numbers(const Path& path,
                                                                    std::uint32_t max) {
  const auto children = list(path);
  if (!children) return std::unexpected(children.error());
  std::vector<std::uint32_t> numbers;
  for (const std::string& child : *children) {
    const auto number = parse_decimal<std::uint32_t>(child, 0, max);
    // "007" names another node than "7": only the form that we would write ourselves.
    if (number && std::to_string(*number) == child) numbers.push_back(*number);
  }
  std::ranges::sort(numbers);
  return numbers;
}

Result<Permissions, XenError> StoreOps::permissions(const Path& path) {
  unsigned count = 0;
  const FromLibrary<xs_permissions> entries(
      xs_get_permissions(connection_->handle, transaction_, path.c_str(), &count));
  if (!entries) return failed(XenCall::kStoreGetPermissions, errno);
  if (count == 0 || count > kMaxPermissions) return failed(XenCall::kStoreGetPermissions, EIO);
  const auto access = [](unsigned bits) {
    return static_cast<StoreAccess>(bits & (XS_PERM_READ | XS_PERM_WRITE));
  };
  Permissions permissions{.owner = static_cast<DomainId>(entries.get()[0].id),
                          .others = access(entries.get()[0].perms),
                          .entries = {}};
  for (unsigned i = 1; i < count; ++i) {
    const xs_permissions& entry = entries.get()[i];
    permissions.entries.push_back({static_cast<DomainId>(entry.id), access(entry.perms)});
  }
  return permissions;
}

Result<void, XenError> StoreOps::set_permissions(const Path& path, const Permissions& permissions) {
  std::vector<xs_permissions> entries;
  entries.reserve(1 + permissions.entries.size());
  entries.push_back({permissions.owner, static_cast<unsigned>(permissions.others)});
  for (const Permissions::Entry& entry : permissions.entries) {
    entries.push_back({entry.domain, static_cast<unsigned>(entry.access)});
  }
  if (!xs_set_permissions(connection_->handle, transaction_, path.c_str(), entries.data(),
                          static_cast<unsigned>(entries.size()))) {
    return failed(XenCall::kStoreSetPermissions, errno);
  }
  return {};
}

Result<std::unique_ptr<Store>, XenError> Store::open() {
  // With the filter no event of a watch arrives after it was unset; our tokens are unique, as the
  // filter asks for.
  xs_handle* const handle = xs_open(XS_UNWATCH_FILTER);
  if (handle == nullptr) return failed(XenCall::kStoreOpen, errno);
  return std::unique_ptr<Store>(new Store(std::make_unique<Connection>(handle)));
}

Store::Store(std::unique_ptr<Connection> connection)
    : StoreOps(connection.get(), XBT_NULL), owned_(std::move(connection)) {}

Store::~Store() = default;

Result<void, XenError> Store::transact(
    const std::function<Result<void, XenError>(Transaction&)>& work, unsigned max_attempts) {
  for (unsigned attempt = 0; attempt < max_attempts; ++attempt) {
    if (attempt > 0) ++retries_;
    const xs_transaction_t id = xs_transaction_start(connection_->handle);
    if (id == XBT_NULL) return failed(XenCall::kStoreTransactionStart, errno);
    Transaction transaction(connection_, id);
    const auto done = work(transaction);
    if (!done) {
      // An abort fails only when the connection is gone, and the transaction with it.
      static_cast<void>(xs_transaction_end(connection_->handle, id, true));
      if (done.error().error == EAGAIN) continue;
      return done;
    }
    if (xs_transaction_end(connection_->handle, id, false)) return {};
    if (errno != EAGAIN) return failed(XenCall::kStoreTransactionEnd, errno);
  }
  return failed(XenCall::kStoreTransactionEnd, EAGAIN);
}

Result<DomainId, XenError> Store::own_domain() {
  const auto text = read(Path::home("domid"), 8);
  if (!text) return std::unexpected(text.error());
  const auto id = parse_decimal<DomainId>(*text, 0, kFirstReservedDomain - 1);
  if (!id) return failed(XenCall::kStoreRead, EINVAL);
  return *id;
}

Result<bool, XenError> Store::is_domain_introduced(DomainId domain) {
  // The library says false for "no" and for "could not ask" alike; only errno tells them apart.
  errno = 0;
  if (xs_is_domain_introduced(connection_->handle, domain)) return true;
  if (errno == 0) return false;
  return std::unexpected(XenError{XenCall::kStoreIsIntroduced, errno, domain});
}

}  // namespace vmsg::xen
