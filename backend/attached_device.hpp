// A device that the toolstack attached to a bus. It outlives connections: a guest that reconnects
// finds the same device, reset.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "devices/queue_service.hpp"
#include "xenbus-glue/device_nodes.hpp"

namespace vmsg {

/// Brings what a device says on any thread to the control thread.
class DeviceVoice final : public DeviceHost {
 public:
  DeviceVoice(boost::asio::io_context& context, std::function<void()> on_config_changed)
      : context_(context),
        on_config_changed_(std::make_shared<std::function<void()>>(std::move(on_config_changed))) {}

  void config_changed() override {
    boost::asio::post(context_, [weak = std::weak_ptr(on_config_changed_)] {
      // The device's owner destroys this on the control thread, where the handler runs too.
      if (const auto handler = weak.lock()) (*handler)();
    });
  }

 private:
  boost::asio::io_context& context_;
  std::shared_ptr<std::function<void()>> on_config_changed_;
};

struct AttachedDevice {
  std::uint16_t number = 0;
  std::string type;
  xen::AttachStatus status = xen::AttachStatus::kAttaching;
  std::string error;
  PublishedFacts published;
  bool is_told = true;                   // the three above, to xenstore
  std::unique_ptr<DeviceVoice> voice;    // outlives the device, which speaks with it
  std::unique_ptr<ServedDevice> device;  // null while it is being made, and while it is closed
  /// It is to go: asked for gracefully (the timer runs), or on its way out already.
  bool is_ejecting = false;
  bool is_leaving = false;
  bool is_closing = false;  // handed to the maker, which closes it
  /// The toolstack removed the directory itself: what is there now is not this device's.
  bool is_directory_gone = false;
  std::string refusal;  // why the bus would not have it, told once it is closed
  std::optional<boost::asio::steady_timer> eject_timer;
};

}  // namespace vmsg
