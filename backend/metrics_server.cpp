#include "backend/metrics_server.hpp"

#include <fmt/format.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/read_until.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <utility>

namespace vmsg {
namespace {

constexpr std::size_t kMaxHead = 8192;
constexpr std::chrono::seconds kPatience{30};  // for the whole exchange

std::string response(std::string_view status, std::string_view body) {
  return fmt::format(
      "HTTP/1.1 {}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
      "Content-Length: {}\r\nConnection: close\r\n\r\n{}",
      status, body.size(), body);
}

}  // namespace

std::string metrics_response(std::string_view head, const std::function<std::string()>& page) {
  const std::string_view line = head.substr(0, head.find("\r\n"));
  const std::size_t space = line.find(' ');
  const std::size_t end = line.find(' ', space == std::string_view::npos ? space : space + 1);
  if (space == std::string_view::npos || end == std::string_view::npos ||
      !line.substr(end + 1).starts_with("HTTP/1.")) {
    return response("400 Bad Request", "this is no HTTP request\n");
  }
  if (line.substr(0, space) != "GET") {
    return response("405 Method Not Allowed", "only GET is served here\n");
  }
  std::string_view target = line.substr(space + 1, end - space - 1);
  target = target.substr(0, target.find('?'));
  if (target != "/metrics") return response("404 Not Found", "there is only /metrics\n");
  return response("200 OK", page());
}

class MetricsClient final : public std::enable_shared_from_this<MetricsClient> {
 public:
  MetricsClient(Socket socket, const std::function<std::string()>& page,
                std::function<void()> on_over)
      : socket_(std::move(socket)),
        page_(page),
        on_over_(std::move(on_over)),
        deadline_(socket_.get_executor(), kPatience) {}

  void start() {
    deadline_.async_wait([this, weak = weak_from_this()](const boost::system::error_code& error) {
      const auto self = weak.lock();
      if (self != nullptr && !error) end();
    });
    boost::asio::async_read_until(
        socket_, boost::asio::dynamic_buffer(text_, kMaxHead), "\r\n\r\n",
        [this, weak = weak_from_this()](const boost::system::error_code& error, std::size_t) {
          const auto self = weak.lock();
          if (self == nullptr) return;
          if (error) return end();
          answer();
        });
  }

 private:
  void answer() {
    text_ = metrics_response(text_, page_);
    boost::asio::async_write(
        socket_, boost::asio::buffer(text_),
        [this, weak = weak_from_this()](const boost::system::error_code&, std::size_t) {
          if (const auto self = weak.lock()) end();
        });
  }
  void end() {
    // Lets go of this, so it is the last thing that a handler does.
    if (const auto on_over = std::exchange(on_over_, nullptr)) on_over();
  }

  Socket socket_;
  const std::function<std::string()>& page_;
  std::function<void()> on_over_;
  boost::asio::steady_timer deadline_;
  std::string text_;
};

MetricsServer::MetricsServer(boost::asio::io_context& context, FileDescriptor listener,
                             std::function<std::string()> page)
    : page_(std::move(page)),
      listener_(context, std::move(listener), [this](Socket socket) { add(std::move(socket)); }) {}

MetricsServer::~MetricsServer() = default;

void MetricsServer::add(Socket socket) {
  // A scraper that is not heard tries again.
  if (clients_.size() >= kMaxClients) return;
  const std::uint64_t number = next_client_++;
  auto client = std::make_shared<MetricsClient>(std::move(socket), page_,
                                                [this, number, alive = std::weak_ptr(alive_)] {
                                                  if (!alive.expired()) clients_.erase(number);
                                                });
  client->start();
  clients_[number] = std::move(client);
}

}  // namespace vmsg
