// What has to be said to the host's kernel about a network interface by its name: address, MTU,
// bridge, up. The calls wait for the kernel's network configuration lock.
#pragma once

#include <cstdint>
#include <string>

#include "devices/file_descriptor.hpp"
#include "devices/net/mac_address.hpp"
#include "transport/result.hpp"

namespace vmsg::net {

class InterfaceControl {
 public:
  /// Errors say in words what could not be done to which interface, and why.
  using Done = Result<void, std::string>;

  static Result<InterfaceControl, std::string> open();

  [[nodiscard]] Result<std::uint16_t, std::string> mtu(const std::string& interface) const;
  [[nodiscard]] Done set_mtu(const std::string& interface, std::uint16_t mtu) const;
  [[nodiscard]] Done set_mac(const std::string& interface, const MacAddress& mac) const;
  [[nodiscard]] Done bring_up(const std::string& interface) const;
  [[nodiscard]] Result<bool, std::string> is_up(const std::string& interface) const;
  /// Whether it is a bridge of the kernel's.
  [[nodiscard]] Done check_bridge(const std::string& bridge) const;
  [[nodiscard]] Done add_to_bridge(const std::string& bridge, const std::string& interface) const;

 private:
  explicit InterfaceControl(FileDescriptor socket) : socket_(std::move(socket)) {}

  FileDescriptor socket_;
};

}  // namespace vmsg::net
