// What a client of the control socket asks for: one line of JSON.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "transport/result.hpp"

namespace vmsg {

struct ControlRequest {
  static constexpr std::size_t kMaxLine = 4096;

  enum class Command : std::uint8_t { kStatus, kTrace };
  Command command = Command::kStatus;
  std::optional<std::uint16_t> guest;  // kTrace has one

  friend bool operator==(const ControlRequest&, const ControlRequest&) = default;
};

/// The error says in words what is wrong and what is allowed.
[[nodiscard]] Result<ControlRequest, std::string> parse_control_request(std::string_view line);

/// {"error":"words"} and a newline.
[[nodiscard]] std::string error_line(std::string_view words);

}  // namespace vmsg
