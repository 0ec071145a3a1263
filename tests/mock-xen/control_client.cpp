// The control service's client: see control_client.hpp.
#include "tests/mock-xen/control_client.hpp"

#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <system_error>
#include <utility>

#include "tests/mock-xen/protocol.hpp"
#include "tests/mock-xen/wire_io.hpp"

namespace vmsg::mock {
namespace {

std::string error_text() { return std::generic_category().message(errno); }

}  // namespace

Result<ControlClient, std::string> ControlClient::connect(const std::string& socket) {
  sockaddr_un address{};
  socklen_t length = 0;
  if (!make_socket_address(socket, address, length)) {
    return std::unexpected("not a socket's name: '" + socket + "'");
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  // SAFETY: the sockets API takes every family's address by this pointer type.
  // NOLINTNEXTLINE(cppcoreguidelines-pro-type-reinterpret-cast)
  if (!fd || ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), length) != 0) {
    return std::unexpected("no broker at " + socket + ": " + error_text());
  }
  const Hello hello{.service = Service::kControl, .pid = static_cast<std::uint32_t>(::getpid())};
  HelloReply reply;
  if (!send_all(fd.get(), &hello, sizeof(hello)) ||
      !receive_all(fd.get(), &reply, sizeof(reply), nullptr) || reply.error != 0 ||
      reply.magic != kHelloMagic) {
    return std::unexpected("what listens at " + socket + " is no broker of this version");
  }
  return ControlClient(std::move(fd));
}

Result<nlohmann::json, std::string> ControlClient::call(const nlohmann::json& request) {
  const std::string text = request.dump();
  auto length = static_cast<std::uint32_t>(text.size());
  std::string answer;
  bool ok = send_all(fd_.get(), &length, sizeof(length)) &&
            send_all(fd_.get(), text.data(), text.size()) &&
            receive_all(fd_.get(), &length, sizeof(length), nullptr);
  if (ok) {
    answer.resize(length);
    ok = receive_all(fd_.get(), answer.data(), answer.size(), nullptr);
  }
  if (!ok) return std::unexpected("the broker hung up: " + error_text());
  nlohmann::json parsed = nlohmann::json::parse(answer, nullptr, false);
  if (!parsed.is_object()) return std::unexpected("the broker answers nonsense");
  if (parsed.contains("error")) return std::unexpected(parsed.at("error").get<std::string>());
  return parsed;
}

}  // namespace vmsg::mock
