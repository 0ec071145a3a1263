// The control socket: people (by way of `vmsg`) look at the daemon. A client sends one line
// (control_request.hpp) and gets lines of JSON; nothing can be changed here, that is xenstore's.
//
//   {"command":"status"}             one line (status_text.hpp), then the end
//   {"command":"trace","guest":3}    a line a message until the client closes
//
// Bounded: so many clients, so much waiting for each of them, so long for a request. Control thread
// only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "backend/snapshot.hpp"
#include "backend/socket_listener.hpp"
#include "backend/trace_hub.hpp"
#include "devices/file_descriptor.hpp"

namespace vmsg {

class ControlClient;

/// What clients are shown.
struct ControlView {
  std::string version;
  std::function<Snapshot()> snapshot;
  TraceHub& trace;
};

class ControlServer {
 public:
  static constexpr std::size_t kMaxClients = 32;

  /// `listener` is a listening stream socket.
  ControlServer(boost::asio::io_context& context, FileDescriptor listener, ControlView view);
  ControlServer(const ControlServer&) = delete;
  ControlServer& operator=(const ControlServer&) = delete;
  ~ControlServer();

  [[nodiscard]] std::size_t client_count() const { return clients_.size(); }

 private:
  struct Alive {};

  void add(Socket socket);

  ControlView view_;
  std::uint64_t next_client_ = 0;
  std::map<std::uint64_t, std::shared_ptr<ControlClient>> clients_;
  // Teardown is bottom up: no handler runs any more once the token is gone.
  SocketListener listener_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
