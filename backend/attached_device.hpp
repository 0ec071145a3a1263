// A device that the toolstack attached to a bus. It outlives connections: a guest that reconnects
// finds the same device, reset.
#pragma once

#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <memory>
#include <optional>

#include "devices/queue_service.hpp"

namespace vmsg {

struct AttachedDevice {
  std::uint16_t number = 0;
  std::unique_ptr<ServedDevice> device;
  /// It is to go: asked for gracefully (the timer runs), or on its way out already.
  bool is_ejecting = false;
  bool is_leaving = false;
  std::optional<boost::asio::steady_timer> eject_timer;
};

}  // namespace vmsg
