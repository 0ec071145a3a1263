// vmsg top: what the devices of all guests do at this moment.
#include <fmt/format.h>

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdio>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/control_client.hpp"
#include "tools/vmsg/device_words.hpp"
#include "tools/vmsg/rates.hpp"
#include "tools/vmsg/stop_signals.hpp"
#include "tools/vmsg/terminal.hpp"

namespace vmsg::tool {
namespace {

using Clock = std::chrono::steady_clock;

struct Sample {
  nlohmann::json status;
  Clock::time_point at;
};

Result<Sample, std::string> take_sample(const std::string& socket) {
  auto status = read_daemon_status(socket);
  if (!status) return std::unexpected(status.error());
  return Sample{std::move(*status), Clock::now()};
}

/// The other screen of a terminal, without a cursor; what was there before comes back.
class OtherScreen {
 public:
  OtherScreen() { fmt::print("\x1b[?1049h\x1b[?25l"); }
  OtherScreen(const OtherScreen&) = delete;
  OtherScreen& operator=(const OtherScreen&) = delete;
  ~OtherScreen() {
    fmt::print("\x1b[?25h\x1b[?1049l");
    static_cast<void>(std::fflush(stdout));
  }
};

std::vector<std::string> names_of(Toolstack* toolstack, const std::vector<DeviceRates>& rates) {
  std::vector<std::string> names;
  names.reserve(rates.size());
  for (const DeviceRates& device : rates) {
    names.push_back(toolstack != nullptr
                        ? toolstack->name_of(static_cast<xen::DomainId>(device.guest))
                        : fmt::format("{}", device.guest));
  }
  return names;
}

void print(const TopOptions& options, Toolstack* toolstack, const Sample& before,
           const Sample& after, std::optional<unsigned> lines) {
  const double seconds = std::chrono::duration<double>(after.at - before.at).count();
  const auto rates = rates_between(before.status, after.status, seconds);
  const auto names = names_of(toolstack, rates);
  if (options.json) {
    auto all = nlohmann::json::array();
    for (std::size_t i = 0; i < rates.size(); ++i) all.push_back(to_json(rates[i], names[i]));
    fmt::print("{}\n", options.once ? all.dump(2) : all.dump());
  } else {
    constexpr unsigned kHeading = 2;
    const std::string heading =
        fmt::format("vmsgd {} up {} s, {} devices; every {} s, Ctrl-C or q ends\n\n",
                    member_text(after.status, "version"),
                    member_text(after.status, "uptime_seconds"), rates.size(), options.interval);
    if (lines) fmt::print("\x1b[H\x1b[J{}", heading);
    // The last line of a screen stays empty: the cursor goes there.
    const std::size_t room =
        lines ? std::max(*lines, kHeading + 3) - kHeading - 1 : rates.size() + 1;
    fmt::print("{}", rates_table(rates, names, room));
  }
  static_cast<void>(std::fflush(stdout));
}

/// True when it is time to end.
bool wait_interval(const StopSignals& stop, double interval, bool has_keys) {
  const auto deadline = Clock::now() + std::chrono::duration<double>(interval);
  for (;;) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now());
    if (left.count() <= 0) return false;
    pollfd ready[]{{.fd = stop.fd(), .events = POLLIN, .revents = 0},
                   {.fd = has_keys ? STDIN_FILENO : -1, .events = POLLIN, .revents = 0}};
    poll(ready, 2, static_cast<int>(left.count()));
    if (ready[0].revents != 0) return true;
    if (ready[1].revents == 0) continue;
    constexpr char kControlC = 3;
    char key = 0;
    const ssize_t got = read(STDIN_FILENO, &key, 1);
    if (got <= 0) has_keys = false;
    if (got > 0 && (key == 'q' || key == kControlC)) return true;
  }
}

}  // namespace

int top(const TopOptions& options) {
  const auto toolstack =
      Toolstack::open();  // for the names of guests; without it they have numbers
  Toolstack* const names = toolstack ? toolstack->get() : nullptr;
  auto before = take_sample(options.socket);
  if (!before) return complain(kExitFailed, before.error());
  const StopSignals stop;
  const bool is_live = !options.once && !options.json && terminal_lines().has_value();
  const bool has_keys = is_live && isatty(STDIN_FILENO) != 0;
  std::optional<OtherScreen> screen;
  std::optional<RawTerminal> raw;
  if (is_live) {
    screen.emplace();
    if (has_keys) raw.emplace(RawTerminal::Output::kCooked);
    print(options, names, *before, *before, terminal_lines());
  }
  while (!wait_interval(stop, options.interval, has_keys)) {
    auto after = take_sample(options.socket);
    if (!after) {
      raw.reset();
      screen.reset();
      return complain(kExitFailed, after.error());
    }
    print(options, names, *before, *after, is_live ? terminal_lines() : std::nullopt);
    if (options.once) break;
    before = std::move(after);
  }
  return 0;
}

}  // namespace vmsg::tool
