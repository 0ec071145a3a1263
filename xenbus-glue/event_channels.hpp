// Event channels for a plain loop (poll, epoll, io_uring): one libxenevtchn handle, its ports as
// values that unbind themselves. asio_event_channels.hpp puts the same on an io_context.
//
// One thread at a time uses a handle and its ports; a worker has a handle of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>

#include "xenbus-glue/xen_types.hpp"

namespace vmsg::xen {

class EventChannels;

/// One bound port. Move-only; unbinds when destroyed. Must not outlive its EventChannels.
class Port {
 public:
  Port() = default;
  Port(Port&& other) noexcept;
  Port& operator=(Port&& other) noexcept;
  ~Port() { close(); }

  [[nodiscard]] bool is_open() const { return owner_ != nullptr; }

  /// Our number of it: what next_pending() returns and, for an unbound port, what the peer is told.
  [[nodiscard]] LocalPort local() const { return local_; }

  [[nodiscard]] Result<void, XenError> notify() const;
  [[nodiscard]] Result<void, XenError> unmask() const;

  /// Unbinds now. The peer's end returns to unbound; an event that is pending is forgotten.
  void close();

 private:
  friend class EventChannels;
  struct Owner;
  Port(Owner* owner, LocalPort local) : owner_(owner), local_(local) {}

  Owner* owner_ = nullptr;
  LocalPort local_{};
};

class EventChannels {
 public:
  static Result<EventChannels, XenError> open();

  EventChannels(EventChannels&&) noexcept;
  EventChannels& operator=(EventChannels&&) noexcept;
  /// All ports are closed by now; a port left open is our bug and ends the process.
  ~EventChannels();

  /// Readable while a port is pending, and a waiter for changes (EPOLLET) is told only of the
  /// first: it has to take all of them. Owned by the library: never close it, never read it.
  [[nodiscard]] int fd() const;

  /// Binds to a port that the peer keeps unbound for us. The bind itself raises one event.
  [[nodiscard]] Result<Port, XenError> bind_interdomain(DomainId domain, RemotePort remote);

  /// A new port that `domain` may bind to.
  [[nodiscard]] Result<Port, XenError> alloc_unbound(DomainId domain);

  [[nodiscard]] Result<void, XenError> notify(LocalPort port);

  /// The next pending port, nullopt when there is none. Never blocks. The port stays masked until
  /// unmask(): unmask first and look at the work after, or an event in between is lost.
  [[nodiscard]] Result<std::optional<LocalPort>, XenError> next_pending();

  [[nodiscard]] Result<void, XenError> unmask(LocalPort port);

  [[nodiscard]] std::uint32_t open_ports() const;

 private:
  explicit EventChannels(std::unique_ptr<Port::Owner> owner);

  std::unique_ptr<Port::Owner> owner_;  // on the heap: ports keep its address while this moves
};

}  // namespace vmsg::xen
