// Accepts connections on a listening stream socket of any family. Control thread only.
#pragma once

#include <boost/asio/basic_socket_acceptor.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <functional>
#include <memory>

#include "devices/file_descriptor.hpp"

namespace vmsg {

using Socket = boost::asio::generic::stream_protocol::socket;

class SocketListener {
 public:
  using Handler = std::function<void(Socket)>;

  /// `handler` runs on the loop.
  SocketListener(boost::asio::io_context& context, FileDescriptor listener, Handler handler);
  SocketListener(const SocketListener&) = delete;
  SocketListener& operator=(const SocketListener&) = delete;
  ~SocketListener() = default;

 private:
  struct Alive {};

  void accept();
  void on_accepted(const boost::system::error_code& error, Socket socket);

  Handler handler_;
  boost::asio::basic_socket_acceptor<boost::asio::generic::stream_protocol> acceptor_;
  boost::asio::steady_timer pause_;
  // Teardown is bottom up: the token first, so that no handler runs any more.
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
