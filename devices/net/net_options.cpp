#include "devices/net/net_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <string_view>

#include "devices/net/net_protocol.hpp"
#include "devices/net/network_script.hpp"

namespace vmsg::net {
namespace {

constexpr std::size_t kMaxInterfaceName = 15;  // IFNAMSIZ - 1
constexpr std::size_t kMaxSocketPath = 107;    // sizeof(sockaddr_un::sun_path) - 1
constexpr std::uint64_t kMaxQueues = 16;

bool is_interface_name(std::string_view name) {
  return !name.empty() && name.size() <= kMaxInterfaceName && name != "." && name != ".." &&
         std::ranges::all_of(
             name, [](char c) { return c > ' ' && c < 0x7f && c != '/' && c != ':' && c != '%'; });
}

std::string interface_name(ParameterReader& reader, std::string_view parameter) {
  const auto name = reader.text(parameter);
  if (!name) return {};
  if (!is_interface_name(*name)) {
    reader.complain(fmt::format(
        "{}='{}': the name of a network interface is allowed, 1 to {} characters without '/', "
        "':' and '%'",
        parameter, *name, kMaxInterfaceName));
  }
  return *name;
}

std::string absolute_path(ParameterReader& reader, std::string_view parameter,
                          std::size_t longest) {
  const auto path = reader.text(parameter);
  if (!path) return {};
  if (!path->starts_with('/') || path->size() > longest) {
    reader.complain(fmt::format("{}='{}': an absolute path of at most {} characters is allowed",
                                parameter, *path, longest));
  }
  return *path;
}

std::string script(ParameterReader& reader) {
  const auto path = reader.text("script");
  if (!path) return {};
  const std::string_view name = std::string_view(*path).substr(path->rfind('/') + 1);
  if (!name.starts_with(kScriptPrefix) || name == kScriptPrefix) {
    reader.complain(
        fmt::format("script='{}': the name of a file in the backend's folder of scripts is "
                    "allowed, which begins "
                    "with {}",
                    *path, kScriptPrefix));
  }
  return *path;
}

std::optional<MacAddress> mac_address(ParameterReader& reader) {
  const auto text = reader.text("mac");
  if (!text) return std::nullopt;
  const auto mac = parse_mac(*text);
  if (!mac || !mac->is_station()) {
    reader.complain(
        fmt::format("mac='{}': a unicast address such as 00:16:3e:12:34:56 is allowed", *text));
  }
  return mac;
}

void check_combination(ParameterReader& reader, const NetOptions& options) {
  if (options.socket.empty()) {
    if (!options.ip.empty() && options.script.empty()) {
      reader.complain("ip=... is for a script; name it with script=...");
    }
    return;
  }
  const std::array<std::pair<std::string_view, bool>, 4> tap_only{{
      {"bridge", !options.bridge.empty()},
      {"vifname", !options.vifname.empty()},
      {"script", !options.script.empty()},
      {"ip", !options.ip.empty()},
  }};
  for (const auto& [name, is_given] : tap_only) {
    if (is_given) {
      reader.complain(
          fmt::format("{}=... does not go with socket=..., which needs no interface", name));
    }
  }
  if (options.queues > 1)
    reader.complain("queues=... does not go with socket=...: it has one pair");
}

}  // namespace

Result<NetOptions, std::string> parse_options(const DeviceParameters& parameters) {
  constexpr std::uint64_t kMostBytes = std::uint64_t{1} << 40;
  ParameterReader reader(parameters);
  NetOptions options;
  options.mac = mac_address(reader);
  if (reader.text("mtu")) {
    options.mtu =
        static_cast<std::uint16_t>(reader.number("mtu", 0, {.least = kLeastMtu, .most = 65535}));
  }
  options.queues =
      static_cast<std::uint32_t>(reader.number("queues", 1, {.least = 1, .most = kMaxQueues}));
  options.bytes_per_second = reader.size("rate", 0, {.most = kMostBytes});
  options.offloads = reader.flag("offloads", true);
  options.bridge = interface_name(reader, "bridge");
  options.vifname = interface_name(reader, "vifname");
  options.script = script(reader);
  options.ip = reader.text("ip").value_or("");
  options.socket = absolute_path(reader, "socket", kMaxSocketPath);
  check_combination(reader, options);
  if (auto read = reader.finish(); !read) return std::unexpected(read.error());
  return options;
}

}  // namespace vmsg::net
