// vmsg trace: the messages of a guest's buses, decoded, as they pass.
#include <fmt/format.h>

#include <cstdio>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/control_client.hpp"
#include "tools/vmsg/device_words.hpp"
#include "tools/vmsg/stop_signals.hpp"

namespace vmsg::tool {
namespace {

void print_message(const nlohmann::json& message, bool as_json, double start) {
  if (as_json) {
    fmt::print("{}\n", message.dump());
  } else {
    const std::string direction = member_text(message, "direction");
    fmt::print("{:12.6f}  bus {}  {}  {}\n", (member_number(message, "t_ns") - start) / 1e9,
               member_text(message, "bus"),
               direction == "out" ? "->" : (direction == "in" ? "<-" : direction),
               member_text(message, "text"));
  }
  static_cast<void>(std::fflush(stdout));  // somebody may be watching through a pipe
}

}  // namespace

int trace(const TraceOptions& options) {
  std::optional<xen::DomainId> guest;
  const int found = with_guest(options.guest, [&](Toolstack&, xen::DomainId id) {
    guest = id;
    return 0;
  });
  if (found != 0) return found;
  auto client = ControlClient::connect(options.socket);
  if (!client) return complain(kExitFailed, client.error());
  if (auto asked = client->ask({{"command", "trace"}, {"guest", *guest}}); !asked) {
    return complain(kExitFailed, asked.error());
  }
  const StopSignals stop;
  std::optional<double> start;
  for (unsigned seen = 0; options.count == 0 || seen < options.count; ++seen) {
    const auto message = client->next(stop.fd());
    if (!message) return complain(kExitFailed, message.error());
    if (!*message) {
      if (stop.is_raised()) return 0;
      return complain(kExitFailed, "vmsgd has ended the trace");
    }
    if (!start) start = member_number(**message, "t_ns");
    print_message(**message, options.json, *start);
  }
  return 0;
}

}  // namespace vmsg::tool
