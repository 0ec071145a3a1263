// What stands behind the handles of libxengnttab, both halves: in Xen's header they are one type.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/grant_copier.hpp"
#include "tests/mock-xen/unique_fd.hpp"

namespace vmsg::mock {

/// Pages that a handle has mapped, or granted, at some address.
struct Region {
  std::uint64_t id = 0;  ///< the broker's name for it
  std::uint32_t pages = 0;
};

/// A granting domain's memory, as the broker gave it to us.
struct DomainMemory {
  std::uint32_t incarnation = 0;
  UniqueFd fd;
};

}  // namespace vmsg::mock

// The C header names the type; what is in it is the library's affair.
// NOLINTNEXTLINE(readability-identifier-naming)
struct xengntdev_handle {
  // The copier's mappings go before the connection.
  std::unique_ptr<vmsg::mock::Client> client;
  std::unique_ptr<vmsg::mock::GrantCopier> copier;
  xentoollog_logger* logger = nullptr;
  int memory = -1;  ///< the own domain's, for a granting handle
  /// One request, and one copy, at a time.
  std::mutex mutex;
  std::map<void*, vmsg::mock::Region> regions;
  /// By domain and whether it can be mapped writable.
  std::map<std::pair<std::uint32_t, bool>, vmsg::mock::DomainMemory> memories;
};

namespace vmsg::mock {

/// Null with errno.
xengntdev_handle* open_grant_handle(Service service, Call call, xentoollog_logger* logger);
/// 0, or -1 with errno.
int close_grant_handle(xengntdev_handle* handle, Call call);
/// Takes the pages out of the address space and tells the broker by `op`. False with errno; EINVAL
/// unless exactly `pages` pages are at `address`.
bool end_region(xengntdev_handle& handle, void* address, std::uint32_t pages, Op op);

}  // namespace vmsg::mock
