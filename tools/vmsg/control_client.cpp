#include "tools/vmsg/control_client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

constexpr std::size_t kMaxLine = std::size_t{64} << 20;
constexpr int kPatienceMs = 10'000;  // for an answer that was asked for

}  // namespace

Result<ControlClient, std::string> ControlClient::connect(const std::string& socket_path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof address.sun_path) {
    return std::unexpected(fmt::format("{}: the path of a socket has at most {} characters",
                                       socket_path, sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  FileDescriptor fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd.is_open() ||
      // SAFETY: the one way to give connect() an address of a family.
      // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
      ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return std::unexpected(
        fmt::format("cannot reach vmsgd at {}: {}", socket_path, words_of_errno(errno)));
  }
  return ControlClient(socket_path, std::move(fd));
}

Result<void, std::string> ControlClient::ask(const nlohmann::json& request) {
  const std::string line = request.dump() + '\n';
  std::size_t sent = 0;
  while (sent < line.size()) {
    const ssize_t done = send(fd_.get(), line.data() + sent, line.size() - sent, MSG_NOSIGNAL);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) return std::unexpected(fmt::format("{}: {}", socket_, words_of_errno(errno)));
    sent += static_cast<std::size_t>(done);
  }
  return {};
}

std::unexpected<std::string> ControlClient::failed(std::string_view what) const {
  return std::unexpected(fmt::format("{}: {}", socket_, what));
}

Result<std::optional<nlohmann::json>, std::string> ControlClient::take_line() {
  const auto end = received_.find('\n', searched_);
  if (end == std::string::npos) {
    searched_ = received_.size();
    return std::nullopt;
  }
  auto line = nlohmann::json::parse(received_.substr(0, end), nullptr, false);
  received_.erase(0, end + 1);
  searched_ = 0;
  if (line.is_discarded() || !line.is_object()) return failed("an answer that is no JSON");
  if (const auto error = line.find("error"); error != line.end() && error->is_string()) {
    return std::unexpected("vmsgd: " + printable(error->get<std::string>(), 1024));
  }
  return line;
}

Result<ControlClient::Received, std::string> ControlClient::receive(int cancel_fd) {
  pollfd ready[]{{.fd = fd_.get(), .events = POLLIN, .revents = 0},
                 {.fd = cancel_fd, .events = POLLIN, .revents = 0}};
  // Somebody who can cancel has all the time in the world.
  const int count = poll(ready, 2, cancel_fd >= 0 ? -1 : kPatienceMs);
  if (count < 0 && errno == EINTR) return Received::kSome;
  if (count < 0) return failed(words_of_errno(errno));
  if (count == 0) return failed("no answer within 10 s");
  if (ready[1].revents != 0) return Received::kEnd;
  std::array<char, 65536> buffer;  // NOLINT(cppcoreguidelines-pro-type-member-init): read into
  const ssize_t got = read(fd_.get(), buffer.data(), buffer.size());
  if (got < 0 && errno == EINTR) return Received::kSome;
  if (got < 0) return failed(words_of_errno(errno));
  if (got > 0) {
    received_.append(buffer.data(), static_cast<std::size_t>(got));
    return Received::kSome;
  }
  if (received_.empty()) return Received::kEnd;
  return failed("the answer ends in the middle of a line");
}

Result<std::optional<nlohmann::json>, std::string> ControlClient::next(int cancel_fd) {
  for (;;) {
    auto line = take_line();
    if (!line || *line) return line;
    if (received_.size() > kMaxLine) return failed("an answer without an end");
    const auto received = receive(cancel_fd);
    if (!received) return std::unexpected(received.error());
    if (*received == Received::kEnd) return std::nullopt;
  }
}

Result<nlohmann::json, std::string> read_daemon_status(const std::string& socket) {
  auto client = ControlClient::connect(socket);
  if (!client) return std::unexpected(client.error());
  if (auto asked = client->ask({{"command", "status"}}); !asked) {
    return std::unexpected(asked.error());
  }
  auto answer = client->next();
  if (!answer) return std::unexpected(answer.error());
  if (!*answer) return std::unexpected(socket + ": closed without an answer");
  return std::move(**answer);
}

namespace {

bool has_number(const nlohmann::json& object, const char* key, unsigned wanted) {
  if (!object.is_object()) return false;
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() && *found == wanted;
}

/// The element of an array member for which `matches`; null when there is none.
nlohmann::json find_in(const nlohmann::json& object, const char* key, const auto& matches) {
  if (!object.is_object()) return nullptr;
  const auto list = object.find(key);
  if (list == object.end() || !list->is_array()) return nullptr;
  for (const auto& element : *list) {
    if (matches(element)) return element;
  }
  return nullptr;
}

}  // namespace

nlohmann::json find_bus(const nlohmann::json& status, unsigned backend, unsigned guest,
                        unsigned bus) {
  if (!has_number(status, "domain", backend)) return nullptr;
  return find_in(status, "buses", [&](const nlohmann::json& element) {
    return has_number(element, "guest", guest) && has_number(element, "bus", bus);
  });
}

nlohmann::json find_device(const nlohmann::json& bus, unsigned number) {
  return find_in(bus, "devices", [&](const nlohmann::json& element) {
    return has_number(element, "number", number);
  });
}

}  // namespace vmsg::tool
