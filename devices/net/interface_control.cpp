#include "devices/net/interface_control.hpp"

#include <fmt/format.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

namespace vmsg::net {
namespace {

std::string words(int error) { return std::generic_category().message(error); }

ifreq request_for(const std::string& interface) {
  ifreq request{};
  interface.copy(std::data(request.ifr_name), IFNAMSIZ - 1);
  return request;
}

Result<void, std::string> call(const FileDescriptor& socket, unsigned long number, ifreq& request,
                               const std::string& interface, const char* doing) {
  if (ioctl(socket.get(), number, &request) == 0) return {};
  return std::unexpected(fmt::format("cannot {} {}: {}", doing, interface, words(errno)));
}

}  // namespace

Result<InterfaceControl, std::string> InterfaceControl::open() {
  FileDescriptor made(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!made.is_open()) {
    return std::unexpected(fmt::format("cannot control network interfaces: {}", words(errno)));
  }
  return InterfaceControl(std::move(made));
}

Result<std::uint16_t, std::string> InterfaceControl::mtu(const std::string& interface) const {
  ifreq request = request_for(interface);
  if (auto done = call(socket_, SIOCGIFMTU, request, interface, "read the MTU of"); !done) {
    return std::unexpected(done.error());
  }
  constexpr int kMost = 65535;  // lo has one more
  return static_cast<std::uint16_t>(request.ifr_mtu < kMost ? request.ifr_mtu : kMost);
}

InterfaceControl::Done InterfaceControl::set_mtu(const std::string& interface,
                                                 std::uint16_t mtu) const {
  ifreq request = request_for(interface);
  request.ifr_mtu = mtu;
  return call(socket_, SIOCSIFMTU, request, interface,
              fmt::format("set the MTU {} of", mtu).c_str());
}

InterfaceControl::Done InterfaceControl::set_mac(const std::string& interface,
                                                 const MacAddress& mac) const {
  ifreq request = request_for(interface);
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(std::data(request.ifr_hwaddr.sa_data), mac.bytes.data(), mac.bytes.size());
  return call(socket_, SIOCSIFHWADDR, request, interface, "set the address of");
}

InterfaceControl::Done InterfaceControl::bring_up(const std::string& interface) const {
  ifreq request = request_for(interface);
  if (auto done = call(socket_, SIOCGIFFLAGS, request, interface, "look at"); !done) return done;
  request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
  return call(socket_, SIOCSIFFLAGS, request, interface, "bring up");
}

Result<bool, std::string> InterfaceControl::is_up(const std::string& interface) const {
  ifreq request = request_for(interface);
  if (auto done = call(socket_, SIOCGIFFLAGS, request, interface, "look at"); !done) {
    return std::unexpected(done.error());
  }
  return (request.ifr_flags & IFF_UP) != 0;
}

InterfaceControl::Done InterfaceControl::check_bridge(const std::string& bridge) const {
  if (if_nametoindex(bridge.c_str()) == 0) {
    return std::unexpected(fmt::format("bridge='{}': there is no such interface", bridge));
  }
  // No interface has the number 0: a bridge says so, anything else does not know what is meant.
  ifreq request = request_for(bridge);
  request.ifr_ifindex = 0;
  if (ioctl(socket_.get(), SIOCBRDELIF, &request) == 0 || errno == EINVAL) return {};
  const int error = errno;
  if (error == EOPNOTSUPP || error == ENOTTY) {
    return std::unexpected(fmt::format(
        "bridge='{}': it is no bridge of the Linux kernel; other switches need script=...",
        bridge));
  }
  return std::unexpected(fmt::format("bridge='{}': {}", bridge, words(error)));
}

InterfaceControl::Done InterfaceControl::add_to_bridge(const std::string& bridge,
                                                       const std::string& interface) const {
  const unsigned index = if_nametoindex(interface.c_str());
  if (index == 0) return std::unexpected(fmt::format("there is no interface {}", interface));
  ifreq request = request_for(bridge);
  request.ifr_ifindex = static_cast<int>(index);
  if (ioctl(socket_.get(), SIOCBRADDIF, &request) == 0) return {};
  return std::unexpected(
      fmt::format("bridge='{}': cannot add {}: {}", bridge, interface, words(errno)));
}

}  // namespace vmsg::net
