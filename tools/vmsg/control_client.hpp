// The client of vmsgd's control socket: a line of JSON asks, lines of JSON answer.
#pragma once

#include <cstdint>
#include <expected>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>

#include "devices/file_descriptor.hpp"
#include "tools/vmsg/control_socket.hpp"
#include "transport/result.hpp"

namespace vmsg::tool {

class ControlClient {
 public:
  /// The error is one line: who could not be reached and why.
  [[nodiscard]] static Result<ControlClient, std::string> connect(const std::string& socket);

  [[nodiscard]] Result<void, std::string> ask(const nlohmann::json& request);

  /// The next line of the answer; nullopt at its end, or when `cancel_fd` became readable. An
  /// {"error": ...} of the daemon is an error here.
  [[nodiscard]] Result<std::optional<nlohmann::json>, std::string> next(int cancel_fd = -1);

 private:
  ControlClient(std::string socket, FileDescriptor fd)
      : socket_(std::move(socket)), fd_(std::move(fd)) {}

  enum class Received : std::uint8_t { kSome, kEnd };

  [[nodiscard]] std::unexpected<std::string> failed(std::string_view what) const;
  /// A whole line of what was received; nullopt when there is none yet.
  [[nodiscard]] Result<std::optional<nlohmann::json>, std::string> take_line();
  [[nodiscard]] Result<Received, std::string> receive(int cancel_fd);

  std::string socket_;
  FileDescriptor fd_;
  std::string received_;
  std::size_t searched_ = 0;  // so much of it has no end of a line
};

/// {"command":"status"}, asked and answered.
[[nodiscard]] Result<nlohmann::json, std::string> read_daemon_status(const std::string& socket);

/// What the daemon says about one bus, or one device on it; null when it says nothing.
[[nodiscard]] nlohmann::json find_bus(const nlohmann::json& status, unsigned backend,
                                      unsigned guest, unsigned bus);
[[nodiscard]] nlohmann::json find_device(const nlohmann::json& bus, unsigned number);

}  // namespace vmsg::tool
