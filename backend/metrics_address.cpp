#include "backend/metrics_address.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <system_error>

namespace vmsg {
namespace {

constexpr std::string_view kForms =
    "unix:/PATH, 127.0.0.1:PORT, [::1]:PORT, or an empty text for none";

std::optional<std::uint16_t> parse_port(std::string_view text) {
  std::uint16_t port = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
  if (error != std::errc{} || end != text.data() + text.size() || port == 0) return std::nullopt;
  return port;
}

bool is_loopback(const std::string& host) {
  in_addr address{};
  return ::inet_pton(AF_INET, host.c_str(), &address) == 1 &&
         (ntohl(address.s_addr) >> 24) == IN_LOOPBACKNET;
}

}  // namespace

Result<MetricsAddress, std::string> parse_metrics_address(std::string_view text) {
  const auto wrong = [&] {
    return std::unexpected(fmt::format("'{}' is not allowed: {}", text, kForms));
  };
  constexpr std::string_view kUnix = "unix:";
  MetricsAddress address;
  if (text.starts_with(kUnix)) {
    address.path = text.substr(kUnix.size());
    if (!address.path.starts_with('/')) return wrong();
    return address;
  }
  const std::size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return wrong();
  const auto port = parse_port(text.substr(colon + 1));
  if (!port) return wrong();
  address.port = *port;
  address.host = text.substr(0, colon);
  address.is_ipv6 = address.host == "[::1]";
  if (address.is_ipv6) address.host = "::1";
  if (!address.is_ipv6 && !is_loopback(address.host)) return wrong();
  return address;
}

Result<FileDescriptor, std::string> listen_for_metrics(const MetricsAddress& address,
                                                       std::optional<SocketOwner> owner) {
  if (!address.path.empty()) return listen_local(address.path, owner);

  const auto failed = [&](int error) {
    return std::unexpected(fmt::format("{} port {}: {}", address.host, address.port,
                                       std::generic_category().message(error)));
  };
  FileDescriptor listener(::socket(address.is_ipv6 ? AF_INET6 : AF_INET,
                                   SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!listener.is_open()) return failed(errno);
  const int yes = 1;
  ::setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
  union {
    sockaddr generic;
    sockaddr_in v4;
    sockaddr_in6 v6;
  } place{};
  if (address.is_ipv6) {
    place.v6.sin6_family = AF_INET6;
    place.v6.sin6_port = htons(address.port);
    place.v6.sin6_addr = in6addr_loopback;
  } else {
    place.v4.sin_family = AF_INET;
    place.v4.sin_port = htons(address.port);
    ::inet_pton(AF_INET, address.host.c_str(), &place.v4.sin_addr);
  }
  const socklen_t size = address.is_ipv6 ? sizeof(place.v6) : sizeof(place.v4);
  if (::bind(listener.get(), &place.generic, size) != 0 || ::listen(listener.get(), 8) != 0) {
    return failed(errno);
  }
  return listener;
}

}  // namespace vmsg
