// What a client library and the broker say to each other over the unix socket.
//
// Every connection opens with a Hello and its answer. After that a hypervisor connection carries
// Request/Reply frames (one in flight), a control connection length-prefixed JSON, and a store
// connection xenstore's own wire format. Both ends are built from one source tree and run on one
// machine: native byte order, no versioning beyond the magic number.
#pragma once

#include <cstdint>

namespace vmsg::mock {

inline constexpr std::uint32_t kHelloMagic = 0x584d3031;  // "XM01": changes with the layout

enum class Service : std::uint32_t {
  kControl = 1,  ///< the operator: domains, counters, failures
  kEvtchn = 2,   ///< one event-channel handle
  kGnttab = 3,   ///< one handle that maps and copies grants
  kGntshr = 4,   ///< one handle that grants pages
  kStore = 5,    ///< one xenstore connection
};

struct Hello {
  std::uint32_t magic = kHelloMagic;
  Service service = Service::kControl;
  std::uint32_t domid = 0;
  std::uint32_t pid = 0;
};

/// Comes with the shared segment as a file descriptor; for an event-channel handle also with what
/// it polls, the bell of its event queue; for a granting handle with the domain's memory.
struct HelloReply {
  std::uint32_t magic = kHelloMagic;
  std::int32_t error = 0;  ///< errno; on error nothing else counts and no descriptor comes along
  std::uint32_t handle_id = 0;
  std::uint32_t handle_slot = 0;
  std::uint32_t domain_slot = 0;
};

enum class Op : std::uint32_t {
  kBindUnbound = 1,
  kBindInterdomain,
  kUnbind,
  kRestrict,
  kEventNumbers,  ///< id = a handle: where ports are posted to it; answers with its slot
  kEventBell,     ///< id = a handle: what rings for them
  kDomainMemory,  ///< the memory of a domain
  kMap,           ///< `count` GrantName follow; answers with the id of the mapping
  kUnmap,         ///< id = a mapping, already gone from the caller's address space
  kShare,         ///< answers with the id of the sharing, and `count` references follow
  kUnshare,       ///< id = a sharing, already gone from the caller's address space
  kHandleClosed,  ///< the program closed its handle, but mappings made with it live on
};

inline constexpr std::uint32_t kNoNotify = 0xffffffff;

/// A request and `payload` bytes behind it.
struct Request {
  Op op = Op::kBindUnbound;
  std::uint32_t domid = 0;
  std::uint32_t port = 0;
  std::uint32_t count = 0;
  std::uint64_t id = 0;
  std::uint32_t writable = 0;
  std::uint32_t notify_offset = kNoNotify;
  std::uint32_t notify_port = kNoNotify;
  std::uint32_t payload = 0;  ///< bytes that follow
};

/// The answer and `payload` bytes behind it.
struct Reply {
  std::int32_t error = 0;
  std::uint32_t value = 0;
  std::uint64_t id = 0;
  std::uint32_t payload = 0;
  std::uint32_t fds = 0;  ///< descriptors that came along
};

struct GrantName {
  std::uint32_t domid = 0;
  std::uint32_t ref = 0;
};

}  // namespace vmsg::mock
