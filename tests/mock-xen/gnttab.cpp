// libxengnttab of the mock, the consuming half: xengnttab_* of Xen's own C interface, xengnttab.h.
// The producing half is gntshr.cpp.
//
// The broker decides whether a page may be mapped and remembers that it is; the pages themselves
// are mapped here, from the granting domain's memory, and are really gone after an unmap.
#include <sys/mman.h>

#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

// Xen's headers say nothing about C++.
extern "C" {
#include <xengnttab.h>
}

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/grant_copier.hpp"
#include "tests/mock-xen/grant_handle.hpp"
#include "tests/mock-xen/graveyard.hpp"
#include "tests/mock-xen/page_mapping.hpp"
#include "tests/mock-xen/segment.hpp"
#include "tests/mock-xen/unique_fd.hpp"

using namespace vmsg::mock;

namespace {

int fail(int error) {
  errno = error;
  return -1;
}

struct MapRequest {
  std::vector<GrantName> grants;
  int prot = 0;
  std::uint32_t notify_offset = kNoNotify;
  evtchn_port_t notify_port = kNoNotify;
};

/// The granting domain's memory, asked for once a domain and kind of access. -1 with errno.
int find_memory(xengntdev_handle& handle, std::uint32_t domid, bool writable) {
  const DomainArea* const area = handle.client->segment().find_domain(domid);
  if (area == nullptr) {
    errno = EINVAL;
    return -1;
  }
  const std::uint32_t incarnation = area->incarnation.load(std::memory_order_acquire);
  DomainMemory& memory = handle.memories[{domid, writable}];
  if (memory.fd && memory.incarnation == incarnation) return memory.fd.get();
  Request request{.op = Op::kDomainMemory, .domid = domid};
  request.writable = writable ? 1 : 0;
  Reply reply;
  int fd = -1;
  if (!handle.client->call(request, nullptr, reply, nullptr, 0, &fd)) return -1;
  memory = {.incarnation = incarnation, .fd = UniqueFd(fd)};
  return fd;
}

void* map_locked(xengntdev_handle& handle, const MapRequest& map) {
  Client& client = *handle.client;
  const bool writable = (map.prot & PROT_WRITE) != 0;
  std::vector<PageSource> pages;
  pages.reserve(map.grants.size());
  for (const GrantName& grant : map.grants) {
    const int memory = find_memory(handle, grant.domid, writable);
    if (memory < 0) return nullptr;
    pages.push_back({.fd = memory, .page = grant.ref});
  }

  Request request{.op = Op::kMap};
  request.count = static_cast<std::uint32_t>(map.grants.size());
  request.writable = writable ? 1 : 0;
  // As in the real library, an offset behind the pages means none.
  if (map.notify_offset < map.grants.size() * kPageSize) request.notify_offset = map.notify_offset;
  request.notify_port = map.notify_port;
  request.payload = static_cast<std::uint32_t>(map.grants.size() * sizeof(GrantName));
  Reply reply;
  if (!client.call(request, map.grants.data(), reply, nullptr, 0, nullptr)) return nullptr;

  void* const address = map_pages(pages, map.prot);
  if (address == nullptr) {
    const int error = errno;
    Request undo{.op = Op::kUnmap};
    undo.id = reply.id;
    client.call(undo, nullptr, reply, nullptr, 0, nullptr);
    errno = error;
    return nullptr;
  }
  handle.regions[address] = {.id = reply.id, .pages = request.count};
  client.count(Counter::kMapCalls);
  client.count(Counter::kMappedPages, request.count);
  return address;
}

void* map(xengntdev_handle* handle, Call call, const MapRequest& map) {
  int error = handle->client->injected(call);
  void* address = nullptr;
  if (error == 0) {
    const std::lock_guard lock(handle->mutex);
    if (map.grants.empty()) {
      error = EINVAL;
    } else {
      address = map_locked(*handle, map);
      error = errno;
    }
  }
  if (address == nullptr) log_error(handle->logger, "gnttab", "mmap failed", error);
  return address;
}

}  // namespace

extern "C" {

xengnttab_handle* xengnttab_open(xentoollog_logger* logger, unsigned open_flags) {
  static_cast<void>(open_flags);
  xengntdev_handle* const handle =
      open_grant_handle(Service::kGnttab, Call::kXengnttabOpen, logger);
  if (handle == nullptr) log_error(logger, "gnttab", "cannot open", errno);
  return handle;
}

int xengnttab_close(xengnttab_handle* xgt) {
  return close_grant_handle(xgt, Call::kXengnttabClose);
}

int xengnttab_fd(xengnttab_handle* xgt) { return xgt->client->fd(); }

void* xengnttab_map_grant_ref(xengnttab_handle* xgt, uint32_t domid, uint32_t ref, int prot) {
  return map(xgt, Call::kXengnttabMapGrantRef, {.grants = {{domid, ref}}, .prot = prot});
}

void* xengnttab_map_grant_refs(xengnttab_handle* xgt, uint32_t count, uint32_t* domids,
                               uint32_t* refs, int prot) {
  MapRequest request{.grants = {}, .prot = prot};
  for (uint32_t i = 0; i < count; ++i) request.grants.push_back({domids[i], refs[i]});
  return map(xgt, Call::kXengnttabMapGrantRefs, request);
}

void* xengnttab_map_domain_grant_refs(xengnttab_handle* xgt, uint32_t count, uint32_t domid,
                                      uint32_t* refs, int prot) {
  MapRequest request{.grants = {}, .prot = prot};
  for (uint32_t i = 0; i < count; ++i) request.grants.push_back({domid, refs[i]});
  return map(xgt, Call::kXengnttabMapDomainGrantRefs, request);
}

void* xengnttab_map_grant_ref_notify(xengnttab_handle* xgt, uint32_t domid, uint32_t ref, int prot,
                                     uint32_t notify_offset, evtchn_port_t notify_port) {
  return map(xgt, Call::kXengnttabMapGrantRefNotify,
             {.grants = {{domid, ref}},
              .prot = prot,
              .notify_offset = notify_offset,
              .notify_port = notify_port});
}

int xengnttab_unmap(xengnttab_handle* xgt, void* start_address, uint32_t count) {
  if (const int error = xgt->client->injected(Call::kXengnttabUnmap); error != 0) {
    return fail(error);
  }
  if (!end_region(*xgt, start_address, count, Op::kUnmap)) return -1;
  xgt->client->count(Counter::kUnmapCalls);
  xgt->client->count(Counter::kUnmappedPages, count);
  return 0;
}

int xengnttab_set_max_grants(xengnttab_handle* xgt, uint32_t nr_grants) {
  static_cast<void>(nr_grants);
  // Linux's gntdev has no such limit any more, and the real library hides that.
  const int error = xgt->client->injected(Call::kXengnttabSetMaxGrants);
  return error == 0 ? 0 : fail(error);
}

int xengnttab_grant_copy(xengnttab_handle* xgt, uint32_t count,
                         xengnttab_grant_copy_segment_t* segs) {
  Client& client = *xgt->client;
  int error = client.injected(Call::kXengnttabGrantCopy);
  if (error == 0) {
    const std::lock_guard lock(xgt->mutex);
    client.count(Counter::kCopyCalls);
    client.count(Counter::kCopySegments, count);
    if (!xgt->copier) xgt->copier = std::make_unique<GrantCopier>(client);
    error = xgt->copier->copy(count, segs);
  }
  if (error == 0) return 0;
  log_error(xgt->logger, "gnttab", "grant copy failed", error);
  return fail(error);
}

int xengnttab_dmabuf_exp_from_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, const uint32_t*,
                                   uint32_t*) {
  say_not_mocked("xengnttab_dmabuf_exp_from_refs");
  return -1;
}

int xengnttab_dmabuf_exp_wait_released(xengnttab_handle*, uint32_t, uint32_t) {
  say_not_mocked("xengnttab_dmabuf_exp_wait_released");
  return -1;
}

int xengnttab_dmabuf_imp_to_refs(xengnttab_handle*, uint32_t, uint32_t, uint32_t, uint32_t*) {
  say_not_mocked("xengnttab_dmabuf_imp_to_refs");
  return -1;
}

int xengnttab_dmabuf_imp_release(xengnttab_handle*, uint32_t) {
  say_not_mocked("xengnttab_dmabuf_imp_release");
  return -1;
}

}  // extern "C"
