// One event-channel handle with errors as values. A port is never masked or unmasked behind the
// caller's back: that is what the contract is about.
#pragma once

#include <optional>

#include "tests/contract/abi/answer.hpp"
#include "tests/contract/abi/handles.hpp"

namespace vmsg::contract {

using Port = evtchn_port_t;

class Ports {
 public:
  // Throws std::system_error when the driver cannot be opened.
  Ports();

  [[nodiscard]] Answer<Port> offer_to(std::uint32_t domain);
  [[nodiscard]] Answer<Port> bind(std::uint32_t domain, Port remote);
  // 0 or the errno.
  [[nodiscard]] int unbind(Port port);
  [[nodiscard]] int notify(Port port);
  [[nodiscard]] int unmask(Port port);

  // Is there an event to be read at this moment?
  [[nodiscard]] bool readable() const;
  // The port of the next event, which stays masked; nothing if none came within kPatience.
  [[nodiscard]] std::optional<Port> next_event();
  // The same for an event that must be there already.
  [[nodiscard]] std::optional<Port> event_fired_so_far();

  [[nodiscard]] xenevtchn_handle* raw() const { return handle_.get(); }

 private:
  [[nodiscard]] bool becomes_readable(int timeout_ms) const;

  EvtchnHandle handle_;
};

}  // namespace vmsg::contract
