// The toolstack's side: attaches devices and waits for what the daemon says, by watches.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "xenbus-glue/device_nodes.hpp"
#include "xenbus-glue/watches.hpp"

namespace vmsg::scale {

using Parameters = std::map<std::string, std::string, std::less<>>;

class ToolstackDomain {
 public:
  /// Opened in whatever domain the calling thread is in.
  ToolstackDomain();

  /// How long it took until the daemon said that the device is attached. Ends the process when it
  /// says otherwise or nothing.
  std::chrono::nanoseconds attach(const xen::DeviceNodeId& device, const std::string& type,
                                  const Parameters& parameters);

  /// Waits until the daemon has removed all that it had of a bus.
  void wait_gone(const xen::BusId& bus);

  [[nodiscard]] std::size_t nodes_of_buses(xen::DomainId device_domain);

 private:
  void wait(const xen::Path& path, const std::function<bool()>& is_done, const std::string& what);

  std::unique_ptr<xen::Store> store_;
  xen::Watches watches_;
};

}  // namespace vmsg::scale
