// One client of the control socket, from its request to its end.
#pragma once

#include <array>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "backend/control_server.hpp"
#include "backend/socket_listener.hpp"
#include "backend/trace_hub.hpp"

namespace vmsg {

class ControlClient final : public TraceListener,
                            public std::enable_shared_from_this<ControlClient> {
 public:
  /// The most that waits for a client that does not read: then lines of a trace are lost.
  static constexpr std::size_t kMaxWaiting = std::size_t{256} * 1024;

  /// `on_over` lets go of the client; it is called from the loop, once.
  ControlClient(Socket socket, ControlView& view, std::function<void()> on_over);
  ~ControlClient() override;

  void start();
  void turn_away(std::string_view words);

 private:
  void on_line(const boost::system::error_code& error, std::size_t bytes);
  void answer(std::string line);
  void start_trace(std::uint16_t guest);
  void on_traced(const TracedFrame& frame) override;
  void watch_for_end();
  void say(std::string line);
  void tell_lost();
  void write();
  void on_written(const boost::system::error_code& error);
  void limit_time(std::chrono::seconds time);
  void end();

  Socket socket_;
  ControlView& view_;
  std::function<void()> on_over_;
  boost::asio::steady_timer deadline_;
  std::string request_;
  std::array<char, 256> ignored_{};  // what a client says after its request
  std::string waiting_;
  std::string writing_;
  std::uint64_t lost_ = 0;
  bool is_tracing_ = false;
  bool ends_when_written_ = false;
};

}  // namespace vmsg
