// Opening and closing libxengnttab's handles, and ending regions: see grant_handle.hpp.
#include "tests/mock-xen/grant_handle.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <new>
#include <utility>

#include "tests/mock-xen/graveyard.hpp"
#include "tests/mock-xen/segment.hpp"

namespace vmsg::mock {

xengntdev_handle* open_grant_handle(Service service, Call call, xentoollog_logger* logger) {
  std::unique_ptr<Client> client = Client::connect(service, call);
  if (!client) return nullptr;
  auto* const handle = new (std::nothrow) xengntdev_handle;
  if (handle == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  handle->memory = client->take_extra_fd();
  handle->client = std::move(client);
  handle->logger = logger;
  return handle;
}

int close_grant_handle(xengntdev_handle* handle, Call call) {
  if (handle == nullptr) return 0;
  int error = 0;
  if (handle->client->is_ours()) {
    error = handle->client->injected(call);
    handle->copier.reset();
    if (!handle->regions.empty()) bury(std::move(handle->client));
  }
  if (handle->memory >= 0) ::close(handle->memory);
  delete handle;
  if (error == 0) return 0;
  errno = error;
  return -1;
}

bool end_region(xengntdev_handle& handle, void* address, std::uint32_t pages, Op op) {
  const std::lock_guard lock(handle.mutex);
  const auto at = handle.regions.find(address);
  if (at == handle.regions.end() || at->second.pages != pages) {
    errno = EINVAL;
    return false;
  }
  if (::munmap(address, pages * kPageSize) != 0) return false;
  Request request{.op = op};
  request.id = at->second.id;
  handle.regions.erase(at);
  Reply reply;
  return handle.client->call(request, nullptr, reply, nullptr, 0, nullptr);
}

}  // namespace vmsg::mock
