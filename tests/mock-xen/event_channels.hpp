// Event channels as Xen and Linux's evtchn driver keep them: making, connecting and ending ports.
// Raising events is event_bits.hpp; clients do that themselves.
//
// Errors are the errno values that the driver's ioctls give.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/mock-xen/event_queue.hpp"
#include "tests/mock-xen/handles.hpp"
#include "tests/mock-xen/segment.hpp"
#include "transport/result.hpp"

namespace vmsg::mock {

class EventChannels {
 public:
  EventChannels(Segment& segment, Handles& handles) : segment_(segment), handles_(handles) {}

  void domain_created(std::uint16_t domid);
  /// Every port of the domain goes; peers return to "unbound, for that domain".
  void domain_destroyed(std::uint16_t domid);
  void set_limit(std::uint16_t domid, std::uint32_t ports);

  Result<std::uint32_t, int> bind_unbound(Handle& handle, std::uint32_t remote_domid);
  Result<std::uint32_t, int> bind_interdomain(Handle& handle, std::uint32_t remote_domid,
                                              std::uint32_t remote_port);
  int unbind(Handle& handle, std::uint32_t port);
  int restrict_to(Handle& handle, std::uint32_t domid);
  /// Its ports go, except those that an unmap notification still needs.
  void handle_gone(Handle& handle);

  /// An unmap notification keeps its port open, whatever becomes of the handle, until release().
  /// False: there is no such port.
  bool hold(std::uint16_t domid, std::uint32_t port);
  void release(std::uint16_t domid, std::uint32_t port);
  /// What a notify on this port does.
  void notify(std::uint16_t domid, std::uint32_t port);

  /// One line a port.
  std::vector<std::string> held(std::uint16_t domid) const;

 private:
  struct PortRecord {
    std::uint32_t owner = 0;  ///< handle id; 0 when only notifications keep the port
    std::uint32_t holds = 0;
  };
  struct Domain {
    std::map<std::uint32_t, PortRecord> ports;
    std::uint32_t limit = kMaxPorts - 1;
  };

  Result<std::uint32_t, int> find_free_port(std::uint16_t domid);
  void open_port(std::uint16_t domid, std::uint32_t port, const Port& value);
  void close_port(std::uint16_t domid, std::uint32_t port);
  void raise(std::atomic<std::uint64_t>& word, std::uint32_t port);
  void wake(std::uint32_t owner, std::uint32_t port);
  std::optional<EventQueue> queue_of(std::uint32_t owner);
  std::atomic<std::uint64_t>* find_word(std::uint16_t domid, std::uint32_t port);

  Segment& segment_;
  Handles& handles_;
  std::map<std::uint16_t, Domain> domains_;
};

}  // namespace vmsg::mock
