// The client side of a connection to the broker: which broker, which domain, the hello, and the
// two things every mocked call begins with (shall it fail now? count it).
//
// One Client a library handle, as one file descriptor a handle with the real libraries: when the
// process dies the socket hangs up and the broker takes back whatever the handle held.
// Nothing here throws; functions that fail set errno.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "tests/mock-xen/calls.hpp"
#include "tests/mock-xen/protocol.hpp"

struct xentoollog_logger;

namespace vmsg::mock {

struct Segment;
enum class Counter : std::uint32_t;

/// Where a handle that is opened now connects to, and in which domain the process counts as.
struct Endpoint {
  std::string socket;  ///< a path, or '@' and a name of the abstract namespace
  std::uint32_t domid = 0;
};

/// The calling thread's endpoint, else the process's, else XEN_MOCK and XEN_MOCK_DOMID of the
/// environment. Empty, with errno ENOENT as from a missing device node, when there is none.
std::optional<Endpoint> current_endpoint();

/// For static builds: while it lives, handles opened by this thread (and by threads that have no
/// ScopedEndpoint of their own) belong to this endpoint. Ends in reverse order of beginning.
class ScopedEndpoint {
 public:
  explicit ScopedEndpoint(Endpoint endpoint);
  ~ScopedEndpoint();
  ScopedEndpoint(const ScopedEndpoint&) = delete;
  ScopedEndpoint& operator=(const ScopedEndpoint&) = delete;

 private:
  std::shared_ptr<const Endpoint> endpoint_;
  std::shared_ptr<const Endpoint> outer_thread_;
};

class Client {
 public:
  /// Connects and says hello. Null with errno on failure; `opening` is the call on whose behalf
  /// this happens, so that failure injection can stop it.
  static std::unique_ptr<Client> connect(Service service, Call opening);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  /// The connection. For Service::kStore: xenstore's wire format from here on, both ways; blocking
  /// until the owner says otherwise.
  int fd() const { return fd_; }
  std::uint32_t domid() const { return domid_; }
  std::uint32_t handle_id() const { return hello_.handle_id; }
  std::uint32_t handle_slot() const { return hello_.handle_slot; }
  std::uint32_t domain_slot() const { return hello_.domain_slot; }
  Segment& segment() const { return *segment_; }
  /// False once the domain has been destroyed.
  bool is_domain_alive() const;
  /// The descriptor that came with the hello besides the segment; the caller takes it over.
  int take_extra_fd();

  /// False in a child that inherited the handle over fork(): it may only close it.
  bool is_ours() const;

  /// 0, or the errno with which `call` has to fail now (failure injection). Costs two loads when
  /// nothing is armed.
  int injected(Call call) const;

  void count(Counter counter, std::uint64_t by = 1) const;

  /// One request and its answer. `in` may be empty; of the answer's payload at most `out_size`
  /// bytes are kept, of its descriptors at most one, in `*fd`. False with errno when the broker
  /// refused (its errno) or is gone (EIO). Calls on one Client must not overlap.
  bool call(Request request, const void* in, Reply& reply, void* out, std::size_t out_size,
            int* fd);

 private:
  Client() = default;

  int fd_ = -1;
  int extra_fd_ = -1;
  std::uint32_t domid_ = 0;
  int pid_ = 0;
  std::uint32_t incarnation_ = 0;  ///< of the domain, when we connected
  HelloReply hello_;
  std::shared_ptr<Segment> segment_;
};

/// "NAME: not mocked" on stderr, once a process and name; sets errno to ENOSYS.
void say_not_mocked(const char* name);

/// An error as the real libraries log one: to the caller's logger, else to stderr.
void log_error(xentoollog_logger* logger, const char* context, const char* what, int error);

}  // namespace vmsg::mock
