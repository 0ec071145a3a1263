// libxengnttab of the mock, the producing half: xengntshr_* of Xen's own C interface, xengnttab.h.
#include <sys/mman.h>

#include <algorithm>
#include <cerrno>
#include <mutex>
#include <vector>

// Xen's headers say nothing about C++.
extern "C" {
#include <xengnttab.h>
}

#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/grant_handle.hpp"
#include "tests/mock-xen/page_mapping.hpp"
#include "tests/mock-xen/segment.hpp"

using namespace vmsg::mock;

namespace {

struct ShareRequest {
  std::uint32_t domid = 0;
  std::uint32_t count = 0;
  bool writable = false;
  std::uint32_t notify_offset = kNoNotify;
  evtchn_port_t notify_port = kNoNotify;
};

void* share_locked(xengntdev_handle& handle, const ShareRequest& share, uint32_t* refs) {
  Client& client = *handle.client;
  Request request{.op = Op::kShare, .domid = share.domid};
  request.count = share.count;
  request.writable = share.writable ? 1 : 0;
  // As in the real library, an offset behind the first page means none.
  if (share.notify_offset < kPageSize) request.notify_offset = share.notify_offset;
  request.notify_port = share.notify_port;
  if (share.count == 0) {
    errno = EINVAL;
    return nullptr;
  }
  if (share.count > kMaxGrants) {
    errno = ENOSPC;
    return nullptr;
  }
  std::vector<std::uint32_t> granted(share.count);
  Reply reply;
  if (!client.call(request, nullptr, reply, granted.data(), granted.size() * sizeof(std::uint32_t),
                   nullptr)) {
    return nullptr;
  }

  std::vector<PageSource> pages;
  pages.reserve(granted.size());
  for (const std::uint32_t ref : granted) pages.push_back({.fd = handle.memory, .page = ref});
  void* const address = map_pages(pages, PROT_READ | PROT_WRITE);
  if (address == nullptr) {
    const int error = errno;
    Request undo{.op = Op::kUnshare};
    undo.id = reply.id;
    client.call(undo, nullptr, reply, nullptr, 0, nullptr);
    errno = error;
    return nullptr;
  }
  handle.regions[address] = {.id = reply.id, .pages = share.count};
  std::copy(granted.begin(), granted.end(), refs);
  client.count(Counter::kShareCalls);
  client.count(Counter::kSharedPages, share.count);
  return address;
}

void* share(xengntdev_handle* handle, Call call, const ShareRequest& share, uint32_t* refs) {
  int error = handle->client->injected(call);
  void* address = nullptr;
  if (error == 0) {
    const std::lock_guard lock(handle->mutex);
    address = share_locked(*handle, share, refs);
    error = errno;
  }
  if (address == nullptr) log_error(handle->logger, "gntshr", "ioctl failed", error);
  return address;
}

}  // namespace

extern "C" {

xengntshr_handle* xengntshr_open(xentoollog_logger* logger, unsigned open_flags) {
  static_cast<void>(open_flags);
  xengntdev_handle* const handle =
      open_grant_handle(Service::kGntshr, Call::kXengntshrOpen, logger);
  if (handle == nullptr) log_error(logger, "gntshr", "cannot open", errno);
  return handle;
}

int xengntshr_close(xengntshr_handle* xgs) {
  return close_grant_handle(xgs, Call::kXengntshrClose);
}

int xengntshr_fd(xengntshr_handle* xgs) { return xgs->client->fd(); }

void* xengntshr_share_pages(xengntshr_handle* xgs, uint32_t domid, int count, uint32_t* refs,
                            int writable) {
  // A negative count is a huge one to the driver, and refused as that.
  return share(xgs, Call::kXengntshrSharePages,
               {.domid = domid,
                .count = count < 0 ? 0 : static_cast<std::uint32_t>(count),
                .writable = writable != 0},
               refs);
}

void* xengntshr_share_page_notify(xengntshr_handle* xgs, uint32_t domid, uint32_t* ref,
                                  int writable, uint32_t notify_offset, evtchn_port_t notify_port) {
  return share(xgs, Call::kXengntshrSharePageNotify,
               {.domid = domid,
                .count = 1,
                .writable = writable != 0,
                .notify_offset = notify_offset,
                .notify_port = notify_port},
               ref);
}

int xengntshr_unshare(xengntshr_handle* xgs, void* start_address, uint32_t count) {
  if (const int error = xgs->client->injected(Call::kXengntshrUnshare); error != 0) {
    errno = error;
    return -1;
  }
  if (!end_region(*xgs, start_address, count, Op::kUnshare)) return -1;
  xgs->client->count(Counter::kUnshareCalls);
  return 0;
}

}  // extern "C"
