#include "backend/control_request.hpp"

#include <nlohmann/json.hpp>

namespace vmsg {
namespace {

using nlohmann::json;

// No guest has a higher number: from here on they are Xen's own.
constexpr std::uint64_t kMaxGuest = 0x7fef;

std::unexpected<std::string> wrong(std::string words) { return std::unexpected(std::move(words)); }

}  // namespace

Result<ControlRequest, std::string> parse_control_request(std::string_view line) {
  const json request = json::parse(line, nullptr, false);
  if (!request.is_object()) {
    return wrong(R"(a line with a JSON object is expected, such as {"command":"status"})");
  }
  ControlRequest result;
  const auto command = request.find("command");
  if (command == request.end() || !command->is_string()) {
    return wrong(R"("command" is missing: "status" or "trace")");
  }
  if (*command == "status") {
    result.command = ControlRequest::Command::kStatus;
  } else if (*command == "trace") {
    result.command = ControlRequest::Command::kTrace;
  } else {
    return wrong(R"(no such command: there are "status" and "trace")");
  }
  for (const auto& [key, value] : request.items()) {
    if (key == "command") continue;
    if (key != "guest") return wrong(R"(unknown key: there are "command" and "guest")");
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > kMaxGuest) {
      return wrong(R"("guest": the number of a domain is expected, 0 to 32751)");
    }
    result.guest = value.get<std::uint16_t>();
  }
  if (result.command == ControlRequest::Command::kTrace && !result.guest) {
    return wrong(R"("trace" needs a "guest": the number of a domain)");
  }
  return result;
}

std::string error_line(std::string_view words) {
  return json{{"error", words}}.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

}  // namespace vmsg
