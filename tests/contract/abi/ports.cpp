#include "tests/contract/abi/ports.hpp"

#include <poll.h>

#include <cerrno>
#include <system_error>

namespace vmsg::contract {
namespace {

Answer<Port> port_or_errno(xenevtchn_port_or_error_t result) {
  if (result < 0) return std::unexpected(errno);
  return static_cast<Port>(result);
}

int zero_or_errno(int result) { return result < 0 ? errno : result; }

}  // namespace

Ports::Ports() : handle_(xenevtchn_open(nullptr, 0)) {
  if (!handle_) throw std::system_error(errno, std::generic_category(), "xenevtchn_open");
}

Answer<Port> Ports::offer_to(std::uint32_t domain) {
  errno = 0;
  return port_or_errno(xenevtchn_bind_unbound_port(raw(), domain));
}

Answer<Port> Ports::bind(std::uint32_t domain, Port remote) {
  errno = 0;
  return port_or_errno(xenevtchn_bind_interdomain(raw(), domain, remote));
}

int Ports::unbind(Port port) {
  errno = 0;
  return zero_or_errno(xenevtchn_unbind(raw(), port));
}

int Ports::notify(Port port) {
  errno = 0;
  return zero_or_errno(xenevtchn_notify(raw(), port));
}

int Ports::unmask(Port port) {
  errno = 0;
  return zero_or_errno(xenevtchn_unmask(raw(), port));
}

bool Ports::readable() const { return becomes_readable(0); }

std::optional<Port> Ports::next_event() {
  if (!becomes_readable(static_cast<int>(kPatience.count()))) return std::nullopt;
  return event_fired_so_far();
}

std::optional<Port> Ports::event_fired_so_far() {
  if (!readable()) return std::nullopt;  // the descriptor blocks: only ask when there is something
  const auto port = port_or_errno(xenevtchn_pending(raw()));
  if (!port) return std::nullopt;
  return *port;
}

bool Ports::becomes_readable(int timeout_ms) const {
  pollfd ready{.fd = xenevtchn_fd(raw()), .events = POLLIN, .revents = 0};
  return poll(&ready, 1, timeout_ms) == 1 && (ready.revents & POLLIN) != 0;
}

}  // namespace vmsg::contract
