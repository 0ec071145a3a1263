#include "backend/socket_listener.hpp"

#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <chrono>
#include <utility>

namespace vmsg {
namespace {

// When no descriptor is left, accept() would fail again at once.
constexpr std::chrono::seconds kPauseAfterError{1};

}  // namespace

SocketListener::SocketListener(boost::asio::io_context& context, FileDescriptor listener,
                               Handler handler)
    : handler_(std::move(handler)),
      // The family matters to sockets that are made here, and none is.
      acceptor_(context, boost::asio::generic::stream_protocol(AF_UNIX, 0), listener.release()),
      pause_(context) {
  accept();
}

void SocketListener::accept() {
  acceptor_.async_accept(
      [this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error, Socket socket) {
        if (alive.expired() || error == boost::asio::error::operation_aborted) return;
        on_accepted(error, std::move(socket));
      });
}

void SocketListener::on_accepted(const boost::system::error_code& error, Socket socket) {
  if (!error) {
    handler_(std::move(socket));
    return accept();
  }
  pause_.expires_after(kPauseAfterError);
  pause_.async_wait([this, alive = std::weak_ptr(alive_)](const auto& failed) {
    if (!alive.expired() && !failed) accept();
  });
}

}  // namespace vmsg
