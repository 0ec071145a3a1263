// Where metrics are served: "unix:/run/vmsg/metrics.sock", "127.0.0.1:9120", "[::1]:9120", or ""
// for nowhere. Never an address that others on the network reach.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "backend/local_listener.hpp"

namespace vmsg {

struct MetricsAddress {
  std::string path{};  // of a unix socket; empty for a port
  bool is_ipv6 = false;
  std::string host{};  // a loopback address
  std::uint16_t port = 0;

  friend bool operator==(const MetricsAddress&, const MetricsAddress&) = default;
};

/// The error says in words what is allowed.
[[nodiscard]] Result<MetricsAddress, std::string> parse_metrics_address(std::string_view text);

[[nodiscard]] Result<FileDescriptor, std::string> listen_for_metrics(
    const MetricsAddress& address, std::optional<SocketOwner> owner = std::nullopt);

}  // namespace vmsg
