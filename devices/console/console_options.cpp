#include "devices/console/console_options.hpp"

#include <fmt/format.h>

#include <charconv>
#include <optional>
#include <string_view>
#include <utility>

namespace vmsg::console {
namespace {

constexpr std::uint64_t kLeastBacklog = 4096;
constexpr std::uint64_t kMostBacklog = 16 << 20;
constexpr std::uint64_t kLeastRotateSize = 4096;
constexpr std::uint64_t kMostRotateSize = std::uint64_t{1} << 40;
constexpr std::size_t kMostSocketPath = 107;  // sun_path, with its zero

/// Port 0 is what a device with one port has: its parameters need no number.
std::string parameter(std::size_t port, std::string_view what) {
  if (port == 0) return std::string(what);
  if (what == "output") return fmt::format("port{}", port);
  return fmt::format("port{}-{}", port, what);
}

bool starts_with_path(std::string_view text, std::string_view prefix, std::string& path) {
  if (!text.starts_with(prefix)) return false;
  path = text.substr(prefix.size());
  return path.size() > 1 && path.front() == '/';
}

void parse_output(ParameterReader& reader, std::size_t number, PortOptions& port) {
  const std::string name = parameter(number, "output");
  // Only port 0 has a default: what a further port is for, nobody can guess.
  const std::string text =
      number == 0 ? reader.text(name).value_or("pty") : reader.required_text(name);
  if (text.empty() || text == "pty") {
    port.output = OutputKind::kTerminal;
  } else if (starts_with_path(text, "unix:", port.path)) {
    port.output = OutputKind::kSocket;
    if (port.path.size() > kMostSocketPath) {
      reader.complain(fmt::format("{}='{}': the path of a socket may have {} bytes", name, text,
                                  kMostSocketPath));
    }
  } else if (starts_with_path(text, "file:", port.path)) {
    port.output = OutputKind::kFile;
  } else {
    reader.complain(fmt::format("{}='{}': pty, unix:/PATH or file:/PATH is allowed", name, text));
  }
}

void parse_port(ParameterReader& reader, std::size_t number, PortOptions& port) {
  parse_output(reader, number, port);

  const std::string name = parameter(number, "name");
  port.name = reader.text(name).value_or("");
  if (port.name.size() > kMaxPortName) {
    reader.complain(fmt::format("{}: a name may have {} bytes", name, kMaxPortName));
  }

  const std::string link = parameter(number, "link");
  port.link = reader.text(link).value_or("");
  if (!port.link.empty() && port.link.front() != '/') {
    reader.complain(fmt::format("{}='{}': an absolute path is allowed", link, port.link));
  }
  if (!port.link.empty() && port.output != OutputKind::kTerminal) {
    reader.complain(fmt::format("{}: only a port with output pty can have one", link));
  }

  // A port with a name is a channel between programs, as hosts and agents use them.
  port.is_console = reader.flag(parameter(number, "console"), port.name.empty());
}

std::optional<WindowSize> parse_window(std::string_view text) {
  const auto parse = [](std::string_view word, std::uint16_t& value) {
    const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
    return error == std::errc{} && end == word.data() + word.size() && value != 0;
  };
  const auto times = text.find('x');
  WindowSize size;
  if (times == std::string_view::npos || !parse(text.substr(0, times), size.cols) ||
      !parse(text.substr(times + 1), size.rows)) {
    return std::nullopt;
  }
  return size;
}

}  // namespace

Result<ConsoleOptions, std::string> parse_options(const DeviceParameters& parameters) {
  ParameterReader reader(parameters);
  ConsoleOptions options;
  const std::uint64_t ports = reader.number("ports", 1, {.least = 1, .most = kMaxPorts});
  options.ports.resize(ports);
  bool has_file = false;
  for (std::size_t i = 0; i < ports; ++i) {
    parse_port(reader, i, options.ports[i]);
    has_file = has_file || options.ports[i].output == OutputKind::kFile;
  }

  if (const auto text = reader.text("size")) {
    const auto size = parse_window(*text);
    if (!size) {
      reader.complain(fmt::format("size='{}': COLUMNSxROWS is allowed, as 80x24", *text));
    }
    options.size = size.value_or(WindowSize{});
  }
  options.backlog = static_cast<std::uint32_t>(
      reader.size("backlog", options.backlog, {.least = kLeastBacklog, .most = kMostBacklog}));
  options.patience =
      static_cast<std::uint32_t>(reader.number("patience", options.patience, {.most = 3600}));
  options.rotate_size = reader.size("rotate-size", 0, {.most = kMostRotateSize});
  if (options.rotate_size != 0 && options.rotate_size < kLeastRotateSize) {
    reader.complain(fmt::format("rotate-size={}: 0 or at least {} is allowed", options.rotate_size,
                                kLeastRotateSize));
  }
  options.rotate_count =
      static_cast<std::uint32_t>(reader.number("rotate-count", options.rotate_count, {.most = 99}));
  if (!has_file && options.rotate_size != 0) {
    reader.complain("rotate-size: no port has a file as its output");
  }
  if (auto read = reader.finish(); !read) return std::unexpected(read.error());
  return options;
}

}  // namespace vmsg::console
