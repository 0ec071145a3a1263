// What an administrator may say about a network device. Names and meanings are those of xl's vif
// where it has them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "devices/device_parameters.hpp"
#include "devices/net/mac_address.hpp"
#include "transport/result.hpp"

namespace vmsg::net {

struct NetOptions {
  std::optional<MacAddress> mac;       // else one that depends on the device's place
  std::optional<std::uint16_t> mtu;    // else the bridge's, or the interface's own
  std::uint32_t queues = 1;            // pairs
  std::uint64_t bytes_per_second = 0;  // what the guest may send, 0 for no limit; rate=
  bool offloads = true;                // checksums and segmentation may be left to others

  // Behind the device is a TAP interface, or the socket if one is named.
  std::string bridge;   // put the interface there
  std::string vifname;  // the interface's name; else made of the device's place
  std::string script;   // calls this with add and remove instead of attaching to the bridge
  std::string ip;       // handed to the script
  std::string
      socket;  // a unix socket that speaks length-prefixed frames (passt, qemu -netdev stream)
};

[[nodiscard]] Result<NetOptions, std::string> parse_options(const DeviceParameters& parameters);

}  // namespace vmsg::net
