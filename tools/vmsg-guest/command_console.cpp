// vmsg-guest console: a port of a virtio-console on this terminal, or in a pipe.
#include <fmt/format.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <poll.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstring>
#include <memory>
#include <optional>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/guest_console.hpp"

namespace vmsg::guest {
namespace {

constexpr char kEscape = 0x1d;  // Ctrl-], as xl console has it

/// Standard input of a terminal as it is typed, until this goes.
class RawTerminal {
 public:
  RawTerminal() {
    if (tcgetattr(STDIN_FILENO, &saved_) != 0) return;
    termios raw = saved_;
    cfmakeraw(&raw);
    is_changed_ = tcsetattr(STDIN_FILENO, TCSANOW, &raw) == 0;
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;
  ~RawTerminal() {
    if (is_changed_) static_cast<void>(tcsetattr(STDIN_FILENO, TCSANOW, &saved_) == 0);
  }

 private:
  termios saved_{};
  bool is_changed_ = false;
};

bool write_all(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t count = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    bytes = bytes.subspan(static_cast<std::size_t>(count));
  }
  return true;
}

/// Between standard input and output and the port, until there is an end to it.
class Talk {
 public:
  Talk(GuestLink& link, GuestDevice& device, GuestConsole& console, const ConsoleChoice& choice)
      : link_(link), device_(device), console_(console), choice_(choice) {}

  Result<void, Failure> run() {
    const auto patience =
        choice_.is_pipe ? std::chrono::nanoseconds(link_.options().patience) : kForever;
    while (!is_over()) {
      watch_input();
      const auto moved = device_.run_until([this] { return step(); }, patience);
      link_.loop().remove(STDIN_FILENO);
      if (!moved) return std::unexpected(moved.error());
      if (!failure_.empty()) return std::unexpected(failure_);
      if (!*moved) {
        return std::unexpected(fmt::format("nothing moves any more: {} bytes received", received_));
      }
    }
    return {};
  }

 private:
  static constexpr std::chrono::nanoseconds kForever = std::chrono::hours(24 * 365);

  [[nodiscard]] bool is_over() const {
    if (was_left_) return true;
    return has_ended_ && console_.is_written() && received_ >= choice_.receive;
  }

  void watch_input() {
    is_readable_ = false;
    if (has_ended_ || !console_.can_write()) return;
    if (choice_.waits_for_input && received_ == 0) return;
    link_.loop().add(STDIN_FILENO, [this] { is_readable_ = true; });
  }

  /// True when something moved.
  bool step() {
    auto turned = console_.turn([this](std::span<const std::byte> bytes) {
      received_ += bytes.size();
      return write_all(bytes);
    });
    if (!turned) {
      failure_ = turned.error();
      return true;
    }
    return (is_readable_ && read_input()) || *turned;
  }

  bool read_input() {
    is_readable_ = false;
    std::array<std::byte, GuestConsole::kPiece> bytes{};
    const ssize_t count = read(STDIN_FILENO, bytes.data(), bytes.size());
    if (count < 0 && (errno == EINTR || errno == EAGAIN)) return false;
    if (count <= 0) {
      has_ended_ = true;
      return true;
    }
    const auto text = std::span(bytes).first(static_cast<std::size_t>(count));
    if (!choice_.is_pipe && text.front() == std::byte{kEscape}) {
      was_left_ = true;
    } else if (auto written = console_.write(text); !written) {
      failure_ = written.error();
    }
    return true;
  }

  GuestLink& link_;
  GuestDevice& device_;
  GuestConsole& console_;
  const ConsoleChoice& choice_;
  bool is_readable_ = false;
  bool has_ended_ = false;
  bool was_left_ = false;
  std::uint64_t received_ = 0;
  Failure failure_;
};

Result<void, Failure> write_emergency(GuestDevice& device, const std::string& text) {
  for (const char character : text) {
    const std::array<std::byte, 4> value{static_cast<std::byte>(character)};
    if (auto done = device.write_config(offsetof(virtio_console_config, emerg_wr), value); !done) {
      return done;
    }
  }
  return {};
}

Result<void, Failure> show_config(GuestDevice& device) {
  const auto bytes = device.read_config();
  if (!bytes) return std::unexpected(bytes.error());
  virtio_console_config config{};
  if (bytes->size() < sizeof(config)) return std::unexpected("the configuration is too short");
  std::memcpy(&config, bytes->data(), sizeof(config));
  fmt::print("cols={} rows={} max_nr_ports={}\n", static_cast<unsigned>(config.cols),
             static_cast<unsigned>(config.rows), static_cast<unsigned>(config.max_nr_ports));
  return {};
}

Result<void, Failure> use_console(GuestLink& link, GuestDevice& device,
                                  const ConsoleChoice& choice) {
  if (choice.shows_config) return show_config(device);
  if (!choice.emergency.empty()) return write_emergency(device, choice.emergency);
  auto console = GuestConsole::open(device, choice.port, [&](const std::string& text) {
    if (choice.is_verbose) fmt::print(stderr, "{}\n", text);
  });
  if (!console) return std::unexpected(console.error());
  std::optional<RawTerminal> raw;
  if (!choice.is_pipe && isatty(STDIN_FILENO) == 1) {
    fmt::print(stderr, "Connected. Leave with Ctrl-].\n");
    raw.emplace();
  }
  return Talk(link, device, **console, choice).run();
}

}  // namespace

int run_console(const CommandOptions& options, const ConsoleChoice& choice) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  int status = 0;
  {
    CommandOptions with_features = options;
    with_features.device.features = {VIRTIO_CONSOLE_F_SIZE, VIRTIO_CONSOLE_F_EMERG_WRITE};
    if (choice.is_multiport) with_features.device.features.set(VIRTIO_CONSOLE_F_MULTIPORT);
    auto device = find_device(**link, with_features, VIRTIO_ID_CONSOLE, "console");
    if (!device) return complain(device.error());
    if (auto used = use_console(**link, **device, choice); !used) status = complain(used.error());
    if (auto stopped = (*device)->stop(); !stopped) status = complain(stopped.error());
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
