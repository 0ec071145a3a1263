#include "xenbus-glue/event_channels.hpp"

#include <fcntl.h>

#include <cerrno>
#include <utility>

#include "xenbus-glue/silent_logger.hpp"

extern "C" {
#include <xenevtchn.h>
}

namespace vmsg::xen {
namespace {

XenError failed(XenCall call, std::optional<DomainId> domain = std::nullopt) {
  return {call, errno, domain};
}

evtchn_port_t number(LocalPort port) { return static_cast<evtchn_port_t>(port); }

}  // namespace

struct Port::Owner {
  explicit Owner(xenevtchn_handle* opened) : handle(opened) {}
  Owner(const Owner&) = delete;
  Owner& operator=(const Owner&) = delete;
  ~Owner() {
    VMSG_INVARIANT(open_ports == 0);
    // The only failure is EBADF, and the handle is gone either way.
    static_cast<void>(xenevtchn_close(handle));
  }

  Result<Port, XenError> adopt(xenevtchn_port_or_error_t port, XenCall call, DomainId domain) {
    if (port < 0) return std::unexpected(failed(call, domain));
    ++open_ports;
    return Port(this, static_cast<LocalPort>(port));
  }

  xenevtchn_handle* handle;
  std::uint32_t open_ports = 0;
};

Port::Port(Port&& other) noexcept
    : owner_(std::exchange(other.owner_, nullptr)), local_(other.local_) {}

Port& Port::operator=(Port&& other) noexcept {
  if (this != &other) {
    close();
    owner_ = std::exchange(other.owner_, nullptr);
    local_ = other.local_;
  }
  return *this;
}

Result<void, XenError> Port::notify() const {
  VMSG_INVARIANT(owner_ != nullptr);
  if (xenevtchn_notify(owner_->handle, number(local_)) != 0) {
    return std::unexpected(failed(XenCall::kEvtchnNotify));
  }
  return {};
}

Result<void, XenError> Port::unmask() const {
  VMSG_INVARIANT(owner_ != nullptr);
  if (xenevtchn_unmask(owner_->handle, number(local_)) != 0) {
    return std::unexpected(failed(XenCall::kEvtchnUnmask));
  }
  return {};
}

void Port::close() {
  Owner* const owner = std::exchange(owner_, nullptr);
  if (owner == nullptr) return;
  // An unbind that fails leaves a port that closing the handle takes with it; there is nothing
  // else that anybody could do.
  static_cast<void>(xenevtchn_unbind(owner->handle, number(local_)));
  --owner->open_ports;
}

EventChannels::EventChannels(std::unique_ptr<Port::Owner> owner) : owner_(std::move(owner)) {}
EventChannels::EventChannels(EventChannels&&) noexcept = default;
EventChannels& EventChannels::operator=(EventChannels&&) noexcept = default;
EventChannels::~EventChannels() = default;

Result<EventChannels, XenError> EventChannels::open() {
  xenevtchn_handle* const handle = xenevtchn_open(silent_logger(), 0);
  if (handle == nullptr) return std::unexpected(failed(XenCall::kEvtchnOpen));
  auto owner = std::make_unique<Port::Owner>(handle);
  // The library's header knows of kernels (3.12) on which such a descriptor blocks all the same. On
  // those that we run on it does not, which the contract suite asks them; a poll before each read
  // would be a system call more for each event.
  const int fd = xenevtchn_fd(handle);
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
    return std::unexpected(failed(XenCall::kEvtchnOpen));
  }
  return EventChannels(std::move(owner));
}

int EventChannels::fd() const { return xenevtchn_fd(owner_->handle); }

Result<Port, XenError> EventChannels::bind_interdomain(DomainId domain, RemotePort remote) {
  return owner_->adopt(
      xenevtchn_bind_interdomain(owner_->handle, domain, static_cast<evtchn_port_t>(remote)),
      XenCall::kEvtchnBindInterdomain, domain);
}

Result<Port, XenError> EventChannels::alloc_unbound(DomainId domain) {
  return owner_->adopt(xenevtchn_bind_unbound_port(owner_->handle, domain),
                       XenCall::kEvtchnAllocUnbound, domain);
}

Result<void, XenError> EventChannels::notify(LocalPort port) {
  if (xenevtchn_notify(owner_->handle, number(port)) != 0) {
    return std::unexpected(failed(XenCall::kEvtchnNotify));
  }
  return {};
}

Result<std::optional<LocalPort>, XenError> EventChannels::next_pending() {
  const xenevtchn_port_or_error_t port = xenevtchn_pending(owner_->handle);
  if (port >= 0) return static_cast<LocalPort>(port);
  if (errno == EAGAIN || errno == EINTR) return std::nullopt;
  return std::unexpected(failed(XenCall::kEvtchnPending));
}

Result<void, XenError> EventChannels::unmask(LocalPort port) {
  if (xenevtchn_unmask(owner_->handle, number(port)) != 0) {
    return std::unexpected(failed(XenCall::kEvtchnUnmask));
  }
  return {};
}

std::uint32_t EventChannels::open_ports() const { return owner_->open_ports; }

}  // namespace vmsg::xen
