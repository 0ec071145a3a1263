// libxenstore.so.4 over the mock: the functions of <xenstore.h>. What each may fail with, who frees
// what and how strings are terminated is as in Debian's libxenstore4 4.17.
extern "C" {
#include <xenstore.h>
}

#include <array>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/client.hpp"
#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/store/store_handle.hpp"
#include "tests/mock-xen/store/xenstore_text.hpp"

using vmsg::mock::Call;
using vmsg::mock::store::Buffer;

namespace {

// Failure injection: sets errno if this call has to fail.
bool is_injected(const xs_handle* handle, Call call) {
  const int error = handle->client().injected(call);
  if (error != 0) errno = error;
  return error != 0;
}

// A C string with its NUL, as the protocol wants most of them.
std::string_view terminated(const char* text) { return {text, std::strlen(text) + 1}; }
std::string_view terminated(const std::string& text) { return {text.c_str(), text.size() + 1}; }

std::optional<Buffer> talk(xs_handle* handle, xsd_sockmsg_type type, xs_transaction_t transaction,
                           std::initializer_list<std::string_view> parts) {
  return handle->talk(type, transaction, {parts.begin(), parts.size()});
}

bool did(const std::optional<Buffer>& reply) { return reply.has_value(); }

std::vector<std::string_view> strings_in(std::string_view text) {
  std::vector<std::string_view> strings;
  for (std::size_t end = text.find('\0'); end != std::string_view::npos; end = text.find('\0')) {
    strings.push_back(text.substr(0, end));
    text.remove_prefix(end + 1);
  }
  return strings;
}

// One malloc'ed block: the pointers, and behind them the strings they point to.
char** string_array(std::string_view text, unsigned int* count) {
  const std::vector<std::string_view> strings = strings_in(text);
  const std::size_t pointers = strings.size() * sizeof(char*);
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): the caller calls free()
  void* block = std::malloc(pointers + text.size() + 1);
  if (block == nullptr) return nullptr;
  auto** array = static_cast<char**>(block);
  char* copy = static_cast<char*>(block) + pointers;
  if (!text.empty()) std::memcpy(copy, text.data(), text.size());
  for (std::size_t i = 0; i < strings.size(); ++i) {
    array[i] = copy + (strings[i].data() - text.data());
  }
  *count = static_cast<unsigned int>(strings.size());
  return array;
}

// A directory whose names do not fit one reply, in parts; from the start again if it changed
// meanwhile, which the generation in front of each part tells.
std::optional<std::string> directory_in_parts(xs_handle* handle, xs_transaction_t transaction,
                                              const char* path) {
  for (;;) {
    std::string names;
    std::string generation;
    for (;;) {
      const auto part = talk(handle, XS_DIRECTORY_PART, transaction,
                             {terminated(path), terminated(std::to_string(names.size()))});
      if (!part) return std::nullopt;
      const std::string_view view = part->view();
      const std::size_t end = view.find('\0');
      if (end == std::string_view::npos) {
        errno = EINVAL;
        return std::nullopt;
      }
      if (!generation.empty() && view.substr(0, end) != generation) break;
      generation = view.substr(0, end);
      const std::string_view more = view.substr(end + 1);
      // An empty name ends the list.
      if (more.empty() || more == std::string_view("\0", 1)) return names;
      if (more.ends_with(std::string_view("\0\0", 2))) {
        return names.append(more.substr(0, more.size() - 1));
      }
      names.append(more);
    }
  }
}

bool domain_request(xs_handle* handle, Call call, xsd_sockmsg_type type,
                    std::initializer_list<unsigned long> numbers) {
  if (is_injected(handle, call)) return false;
  std::string payload;
  for (const unsigned long number : numbers) payload.append(std::to_string(number)).push_back('\0');
  return did(talk(handle, type, XBT_NULL, {payload}));
}

}  // namespace

extern "C" {

// --- Handles.

xs_handle* xs_open(unsigned long flags) {
  auto client = vmsg::mock::Client::connect(vmsg::mock::Service::kStore, Call::kXsOpen);
  if (!client) return nullptr;
  return std::make_unique<xs_handle>(std::move(client), (flags & XS_UNWATCH_FILTER) != 0).release();
}

xs_handle* xs_daemon_open(void) { return xs_open(0); }
xs_handle* xs_daemon_open_readonly(void) { return xs_open(0); }
xs_handle* xs_domain_open(void) { return xs_open(0); }

void xs_daemon_close(xs_handle* handle) {
  std::unique_ptr<xs_handle> closed(handle);
  if (closed && !closed->client().is_ours()) closed.release()->abandon();
}

void xs_close(xs_handle* handle) { xs_daemon_close(handle); }
void xs_daemon_destroy_postfork(xs_handle* handle) { xs_daemon_close(handle); }

// --- Nodes.

char** xs_directory(xs_handle* handle, xs_transaction_t transaction, const char* path,
                    unsigned int* count) {
  if (is_injected(handle, Call::kXsDirectory)) return nullptr;
  if (const auto reply = talk(handle, XS_DIRECTORY, transaction, {terminated(path)})) {
    return string_array(reply->view(), count);
  }
  if (errno != E2BIG) return nullptr;
  const auto names = directory_in_parts(handle, transaction, path);
  return names ? string_array(*names, count) : nullptr;
}

void* xs_read(xs_handle* handle, xs_transaction_t transaction, const char* path,
              unsigned int* length) {
  if (is_injected(handle, Call::kXsRead)) return nullptr;
  auto reply = talk(handle, XS_READ, transaction, {terminated(path)});
  if (!reply) return nullptr;
  if (length != nullptr) *length = static_cast<unsigned int>(reply->size);
  return reply->bytes.release();
}

bool xs_write(xs_handle* handle, xs_transaction_t transaction, const char* path, const void* data,
              unsigned int length) {
  if (is_injected(handle, Call::kXsWrite)) return false;
  return did(talk(handle, XS_WRITE, transaction,
                  {terminated(path), {static_cast<const char*>(data), length}}));
}

bool xs_mkdir(xs_handle* handle, xs_transaction_t transaction, const char* path) {
  if (is_injected(handle, Call::kXsMkdir)) return false;
  return did(talk(handle, XS_MKDIR, transaction, {terminated(path)}));
}

bool xs_rm(xs_handle* handle, xs_transaction_t transaction, const char* path) {
  if (is_injected(handle, Call::kXsRm)) return false;
  return did(talk(handle, XS_RM, transaction, {terminated(path)}));
}

// Always false, here as in the real library: the request was removed from the protocol.
bool xs_restrict(xs_handle* /*handle*/, unsigned /*domid*/) {
  errno = ENOSYS;
  return false;
}

xs_permissions* xs_get_permissions(xs_handle* handle, xs_transaction_t transaction,
                                   const char* path, unsigned int* count) {
  if (is_injected(handle, Call::kXsGetPermissions)) return nullptr;
  const auto reply = talk(handle, XS_GET_PERMS, transaction, {terminated(path)});
  if (!reply) return nullptr;
  const std::size_t entries = strings_in(reply->view()).size();
  // NOLINTNEXTLINE(cppcoreguidelines-no-malloc): the caller calls free()
  auto* permissions =
      static_cast<xs_permissions*>(std::calloc(entries + 1, sizeof(xs_permissions)));
  if (permissions == nullptr) return nullptr;
  if (!xs_strings_to_perms(permissions, static_cast<unsigned int>(entries), reply->bytes.get())) {
    const int error = errno;
    std::free(permissions);  // NOLINT(cppcoreguidelines-no-malloc)
    errno = error;
    return nullptr;
  }
  *count = static_cast<unsigned int>(entries);
  return permissions;
}

bool xs_set_permissions(xs_handle* handle, xs_transaction_t transaction, const char* path,
                        xs_permissions* permissions, unsigned int count) {
  if (is_injected(handle, Call::kXsSetPermissions)) return false;
  std::string payload(terminated(path));
  for (unsigned int i = 0; i < count; ++i) {
    const auto text = vmsg::mock::store::permission_text(permissions[i]);
    if (!text) {
      errno = EINVAL;
      return false;
    }
    payload.append(terminated(*text));
  }
  return did(talk(handle, XS_SET_PERMS, transaction, {payload}));
}

// --- Watches.

bool xs_watch(xs_handle* handle, const char* path, const char* token) {
  if (is_injected(handle, Call::kXsWatch)) return false;
  if (!handle->start_reader()) return false;
  return did(talk(handle, XS_WATCH, XBT_NULL, {terminated(path), terminated(token)}));
}

bool xs_unwatch(xs_handle* handle, const char* path, const char* token) {
  if (is_injected(handle, Call::kXsUnwatch)) return false;
  const bool done = did(talk(handle, XS_UNWATCH, XBT_NULL, {terminated(path), terminated(token)}));
  if (handle->filters_unwatched()) handle->forget_events(path, token);
  return done;
}

int xs_fileno(xs_handle* handle) { return handle->event_fd(); }

char** xs_read_watch(xs_handle* handle, unsigned int* count) {
  if (is_injected(handle, Call::kXsReadWatch)) return nullptr;
  const auto event = handle->next_event(true);
  return event ? string_array(event->view(), count) : nullptr;
}

char** xs_check_watch(xs_handle* handle) {
  if (is_injected(handle, Call::kXsCheckWatch)) return nullptr;
  const auto event = handle->next_event(false);
  unsigned int count = 0;
  return event ? string_array(event->view(), &count) : nullptr;
}

// --- Transactions.

xs_transaction_t xs_transaction_start(xs_handle* handle) {
  if (is_injected(handle, Call::kXsTransactionStart)) return XBT_NULL;
  const auto reply = talk(handle, XS_TRANSACTION_START, XBT_NULL, {terminated("")});
  if (!reply) return XBT_NULL;
  xs_transaction_t id = XBT_NULL;
  std::from_chars(reply->bytes.get(), reply->bytes.get() + reply->size, id);
  return id;
}

bool xs_transaction_end(xs_handle* handle, xs_transaction_t transaction, bool abort) {
  if (is_injected(handle, Call::kXsTransactionEnd)) {
    // xenstored forgets a transaction whatever it answers, and one whose connection is lost as
    // well.
    const int error = errno;
    static_cast<void>(talk(handle, XS_TRANSACTION_END, transaction, {terminated("F")}));
    errno = error;
    return false;
  }
  return did(talk(handle, XS_TRANSACTION_END, transaction, {terminated(abort ? "F" : "T")}));
}

// --- Domains.

bool xs_introduce_domain(xs_handle* handle, unsigned int domid, unsigned long mfn,
                         unsigned int event_channel) {
  return domain_request(handle, Call::kXsIntroduceDomain, XS_INTRODUCE,
                        {domid, mfn, event_channel});
}

bool xs_set_target(xs_handle* handle, unsigned int domid, unsigned int target) {
  return domain_request(handle, Call::kXsSetTarget, XS_SET_TARGET, {domid, target});
}

bool xs_resume_domain(xs_handle* handle, unsigned int domid) {
  return domain_request(handle, Call::kXsResumeDomain, XS_RESUME, {domid});
}

bool xs_release_domain(xs_handle* handle, unsigned int domid) {
  return domain_request(handle, Call::kXsReleaseDomain, XS_RELEASE, {domid});
}

char* xs_get_domain_path(xs_handle* handle, unsigned int domid) {
  if (is_injected(handle, Call::kXsGetDomainPath)) return nullptr;
  auto reply = talk(handle, XS_GET_DOMAIN_PATH, XBT_NULL, {terminated(std::to_string(domid))});
  return reply ? reply->bytes.release() : nullptr;
}

bool xs_is_domain_introduced(xs_handle* handle, unsigned int domid) {
  if (is_injected(handle, Call::kXsIsDomainIntroduced)) return false;
  const auto reply =
      talk(handle, XS_IS_DOMAIN_INTRODUCED, XBT_NULL, {terminated(std::to_string(domid))});
  return reply && reply->view().starts_with('T');
}

// By comparison of strings alone, so nothing is below "/".
bool xs_path_is_subpath(const char* parent, const char* child) {
  const std::size_t length = std::strlen(parent);
  return std::strncmp(parent, child, length) == 0 &&
         (child[length] == '\0' || child[length] == '/');
}

int xs_suspend_evtchn_port(int domid) {
  const std::unique_ptr<xs_handle> handle(xs_daemon_open());
  if (!handle) return -1;
  const std::string path =
      "/local/domain/" + std::to_string(domid) + "/device/suspend/event-channel";
  const auto reply = talk(handle.get(), XS_READ, XBT_NULL, {terminated(path)});
  if (!reply || reply->size == 0) return -1;
  int port = -1;
  std::from_chars(reply->bytes.get(), reply->bytes.get() + reply->size, port);
  return port;
}

char* xs_control_command(xs_handle* handle, const char* command, void* data, unsigned int length) {
  if (is_injected(handle, Call::kXsControlCommand)) return nullptr;
  auto reply = talk(handle, XS_CONTROL, XBT_NULL,
                    {terminated(command), {static_cast<const char*>(data), length}});
  return reply ? reply->bytes.release() : nullptr;
}

char* xs_debug_command(xs_handle* handle, const char* command, void* data, unsigned int length) {
  return xs_control_command(handle, command, data, length);
}

}  // extern "C"
