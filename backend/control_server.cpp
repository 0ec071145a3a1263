#include "backend/control_server.hpp"

#include <utility>

#include "backend/control_client.hpp"

namespace vmsg {

ControlServer::ControlServer(boost::asio::io_context& context, FileDescriptor listener,
                             ControlView view)
    : view_(std::move(view)),
      listener_(context, std::move(listener), [this](Socket socket) { add(std::move(socket)); }) {}

ControlServer::~ControlServer() = default;

void ControlServer::add(Socket socket) {
  const std::uint64_t number = next_client_++;
  auto client = std::make_shared<ControlClient>(std::move(socket), view_,
                                                [this, number, alive = std::weak_ptr(alive_)] {
                                                  if (!alive.expired()) clients_.erase(number);
                                                });
  if (clients_.size() < kMaxClients) {
    client->start();
  } else {
    client->turn_away("too many clients: try again later");
  }
  // One that is turned away lives for a moment too, until it has its answer.
  if (clients_.size() < 2 * kMaxClients) clients_[number] = std::move(client);
}

}  // namespace vmsg
