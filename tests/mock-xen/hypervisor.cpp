// Domains, handles and their requests: see hypervisor.hpp.
#include "tests/mock-xen/hypervisor.hpp"

#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace vmsg::mock {
namespace {

UniqueFd reopen(int fd, int flags) {
  const std::string path = "/proc/self/fd/" + std::to_string(fd);
  return UniqueFd(::open(path.c_str(), flags | O_CLOEXEC));
}

/// One descriptor of a new pipe, for reading and writing.
UniqueFd make_pipe_of_numbers() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return {};
  const UniqueFd read_end(ends[0]);
  const UniqueFd write_end(ends[1]);
  return reopen(read_end.get(), O_RDWR | O_NONBLOCK);
}

const char* service_name(Service service) {
  switch (service) {
    case Service::kEvtchn:
      return "event-channel handle";
    case Service::kGnttab:
      return "grant-table handle";
    case Service::kGntshr:
      return "grant-sharing handle";
    default:
      return "handle";
  }
}

bool belongs_to(Op op, Service service) {
  switch (op) {
    case Op::kBindUnbound:
    case Op::kBindInterdomain:
    case Op::kUnbind:
    case Op::kRestrict:
    case Op::kEventNumbers:
    case Op::kEventBell:
      return service == Service::kEvtchn;
    case Op::kDomainMemory:
    case Op::kMap:
    case Op::kUnmap:
      return service == Service::kGnttab;
    case Op::kShare:
    case Op::kUnshare:
      return service == Service::kGntshr;
    case Op::kHandleClosed:
      return service == Service::kGnttab || service == Service::kGntshr;
  }
  return false;
}

UnmapNotify notify_of(const Request& request) {
  UnmapNotify notify;
  if (request.notify_offset != kNoNotify) notify.offset = request.notify_offset;
  if (request.notify_port != kNoNotify) notify.port = request.notify_port;
  return notify;
}

}  // namespace

std::unique_ptr<Hypervisor> Hypervisor::create() {
  UniqueFd fd(::memfd_create("xen-mock-segment", MFD_CLOEXEC));
  if (!fd || ::ftruncate(fd.get(), sizeof(Segment)) != 0) return nullptr;
  void* const mapped =
      ::mmap(nullptr, sizeof(Segment), PROT_READ | PROT_WRITE, MAP_SHARED, fd.get(), 0);
  if (mapped == MAP_FAILED) return nullptr;
  // NOLINTNEXTLINE(cppcoreguidelines-owning-memory): the constructor is private
  std::unique_ptr<Hypervisor> hypervisor(
      new Hypervisor(std::move(fd), static_cast<Segment*>(mapped)));
  if (const int error = hypervisor->create_domain(0); error != 0) {
    errno = error;
    return nullptr;
  }
  return hypervisor;
}

Hypervisor::Hypervisor(UniqueFd segment_fd, Segment* segment)
    : segment_fd_(std::move(segment_fd)),
      segment_(segment),
      handles_(*segment),
      events_(*segment, handles_),
      grants_(*segment, handles_, events_) {}

Hypervisor::~Hypervisor() { ::munmap(segment_, sizeof(Segment)); }

// --- Domains --------------------------------------------------------------------------------

int Hypervisor::create_domain(std::uint32_t domid) {
  if (domid >= kFirstReservedDomid) return EINVAL;
  const auto id = static_cast<std::uint16_t>(domid);
  if (domains_.contains(id)) return EEXIST;
  const auto free = std::find(slots_taken_.begin(), slots_taken_.end(), false);
  if (free == slots_taken_.end()) return ENOSPC;
  const auto slot = static_cast<std::uint16_t>(free - slots_taken_.begin());

  DomainArea& area = segment_->domains[slot];
  std::memset(static_cast<void*>(&area), 0, sizeof(area));
  area.domid.store(domid, std::memory_order_relaxed);
  area.incarnation.store(next_incarnation_++, std::memory_order_relaxed);
  area.alive.store(1, std::memory_order_release);
  segment_->slots[domid].store(static_cast<std::uint16_t>(slot + 1U), std::memory_order_release);
  if (const int error = grants_.domain_created(id); error != 0) {
    segment_->slots[domid].store(0, std::memory_order_release);
    return error;
  }
  events_.domain_created(id);
  *free = true;
  domains_[id] = {.domid = id, .dying = false};
  return 0;
}

int Hypervisor::destroy_domain(std::uint32_t domid) {
  if (!is_alive(domid)) return ESRCH;
  const auto id = static_cast<std::uint16_t>(domid);
  std::vector<std::uint32_t> handles;
  for (const auto& [handle_id, handle] : handles_.all()) {
    if (handle.domid == id) handles.push_back(handle_id);
  }
  for (const std::uint32_t handle_id : handles) close_handle(handle_id);
  segment_->find_domain(domid)->alive.store(0, std::memory_order_release);
  events_.domain_destroyed(id);
  grants_.domain_destroyed(id);
  domains_.at(id).dying = true;
  settle();
  return 0;
}

bool Hypervisor::is_alive(std::uint32_t domid) const {
  const auto at = domid < kFirstReservedDomid ? domains_.find(static_cast<std::uint16_t>(domid))
                                              : domains_.end();
  return at != domains_.end() && !at->second.dying;
}

std::vector<DomainInfo> Hypervisor::domains() const {
  std::vector<DomainInfo> all;
  all.reserve(domains_.size());
  for (const auto& [domid, info] : domains_) all.push_back(info);
  return all;
}

int Hypervisor::set_port_limit(std::uint32_t domid, std::uint32_t ports) {
  if (!is_alive(domid)) return ESRCH;
  events_.set_limit(static_cast<std::uint16_t>(domid), ports);
  return 0;
}

bool Hypervisor::settle() {
  const bool again = grants_.retry_ending();
  std::erase_if(domains_, [this](const auto& entry) {
    const auto& [domid, info] = entry;
    if (!info.dying || !grants_.is_dying_domain_done(domid)) return false;
    slots_taken_[segment_->slot_of(*segment_->find_domain(domid))] = false;
    segment_->slots[domid].store(0, std::memory_order_release);
    grants_.forget_domain(domid);
    return true;
  });
  return again;
}

// --- Handles --------------------------------------------------------------------------------

Hypervisor::Opened Hypervisor::open_handle(Service service, std::uint32_t domid,
                                           std::uint32_t pid) {
  Opened opened;
  if (!is_alive(domid)) {
    opened.error = ENXIO;
    return opened;
  }
  const auto id = static_cast<std::uint16_t>(domid);
  UniqueFd numbers;
  UniqueFd bell;
  if (service == Service::kEvtchn) {
    numbers = make_pipe_of_numbers();
    if (numbers) bell.reset(::eventfd(0, EFD_CLOEXEC));
    if (bell) opened.fd.reset(::fcntl(bell.get(), F_DUPFD_CLOEXEC, 0));
    if (!opened.fd) {
      opened.error = errno;
      return opened;
    }
  } else if (service == Service::kGntshr) {
    opened.fd = reopen(grants_.memory(id, true), O_RDWR);
  }
  opened.handle = handles_.create(service, id, pid);
  if (opened.handle == nullptr) {
    opened.error = ENFILE;
    return opened;
  }
  opened.handle->numbers = std::move(numbers);
  opened.handle->bell = std::move(bell);
  return opened;
}

void Hypervisor::close_handle(std::uint32_t id) {
  Handle* const handle = handles_.find(id);
  if (handle == nullptr) return;
  // Hazards of a dead copier must not keep pages: before the grants are looked at.
  for (auto& hazard : segment_->handles[handle->slot].hazards) {
    hazard.store(0, std::memory_order_release);
  }
  grants_.handle_gone(*handle);
  events_.handle_gone(*handle);
  handles_.destroy(id);
}

Hypervisor::Answer Hypervisor::serve(Handle& handle, const Request& request,
                                     std::span<const std::byte> payload) {
  Answer answer;
  if (!belongs_to(request.op, handle.service)) {
    answer.reply.error = ENOTTY;
    return answer;
  }
  const auto give_port = [&answer](const Result<std::uint32_t, int>& port) {
    if (port) {
      answer.reply.value = *port;
    } else {
      answer.reply.error = port.error();
    }
  };
  switch (request.op) {
    case Op::kBindUnbound:
      give_port(events_.bind_unbound(handle, request.domid));
      break;
    case Op::kBindInterdomain:
      give_port(events_.bind_interdomain(handle, request.domid, request.port));
      break;
    case Op::kUnbind:
      answer.reply.error = events_.unbind(handle, request.port);
      break;
    case Op::kRestrict:
      answer.reply.error = events_.restrict_to(handle, request.domid);
      break;
    case Op::kEventNumbers:
    case Op::kEventBell: {
      const Handle* const owner = handles_.find(static_cast<std::uint32_t>(request.id));
      if (owner == nullptr || !owner->bell) {
        answer.reply.error = ESRCH;
      } else {
        const bool numbers = request.op == Op::kEventNumbers;
        answer.fd = numbers ? owner->numbers.get() : owner->bell.get();
        answer.reply.value = owner->slot;
      }
      break;
    }
    default:
      serve_grants(handle, request, payload, answer);
      break;
  }
  return answer;
}

void Hypervisor::serve_grants(Handle& handle, const Request& request,
                              std::span<const std::byte> payload, Answer& answer) {
  switch (request.op) {
    case Op::kDomainMemory:
      answer.fd =
          request.domid < kFirstReservedDomid
              ? grants_.memory(static_cast<std::uint16_t>(request.domid), request.writable != 0)
              : -1;
      if (answer.fd < 0) answer.reply.error = EINVAL;
      break;
    case Op::kMap: {
      std::vector<GrantName> grants(payload.size() / sizeof(GrantName));
      std::memcpy(grants.data(), payload.data(), grants.size() * sizeof(GrantName));
      const auto id = grants_.map(handle, grants, request.writable != 0, notify_of(request));
      answer.reply.error = id ? 0 : id.error();
      answer.reply.id = id.value_or(0);
      break;
    }
    case Op::kUnmap:
      answer.reply.error = grants_.unmap(handle, request.id);
      break;
    case Op::kShare: {
      const auto shared = grants_.share(handle, request.domid, request.count, request.writable != 0,
                                        notify_of(request));
      if (!shared) {
        answer.reply.error = shared.error();
        break;
      }
      answer.reply.id = shared->id;
      answer.payload.resize(shared->refs.size() * sizeof(std::uint32_t));
      std::memcpy(answer.payload.data(), shared->refs.data(), answer.payload.size());
      break;
    }
    case Op::kUnshare:
      answer.reply.error = grants_.unshare(handle, request.id);
      break;
    case Op::kHandleClosed:
      handle.closed = true;
      break;
    default:
      answer.reply.error = ENOTTY;
      break;
  }
}

std::vector<std::string> Hypervisor::held(std::uint16_t domid) const {
  std::vector<std::string> lines;
  for (const auto& [id, handle] : handles_.all()) {
    if (handle.domid != domid || handle.closed) continue;
    lines.push_back(std::string(service_name(handle.service)) + " of process " +
                    std::to_string(handle.pid));
  }
  const std::vector<std::string> ports = events_.held(domid);
  lines.insert(lines.end(), ports.begin(), ports.end());
  const std::vector<std::string> grants = grants_.held(domid);
  lines.insert(lines.end(), grants.begin(), grants.end());
  return lines;
}

}  // namespace vmsg::mock
