// Metrics for Prometheus: HTTP with one page, /metrics, on a local socket or a loopback port.
//
// Only as much of HTTP as a scraper uses: a request, an answer, the end of the connection. Bounded
// like the control socket. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "backend/socket_listener.hpp"

namespace vmsg {

class MetricsClient;

/// The answer to the head of a request; `page` makes the metrics when they are asked for.
[[nodiscard]] std::string metrics_response(std::string_view head,
                                           const std::function<std::string()>& page);

class MetricsServer {
 public:
  static constexpr std::size_t kMaxClients = 8;

  /// `page` makes the metrics.
  MetricsServer(boost::asio::io_context& context, FileDescriptor listener,
                std::function<std::string()> page);
  MetricsServer(const MetricsServer&) = delete;
  MetricsServer& operator=(const MetricsServer&) = delete;
  ~MetricsServer();

  [[nodiscard]] std::size_t client_count() const { return clients_.size(); }

 private:
  struct Alive {};

  void add(Socket socket);

  std::function<std::string()> page_;
  std::uint64_t next_client_ = 0;
  std::map<std::uint64_t, std::shared_ptr<MetricsClient>> clients_;
  // Teardown is bottom up: no handler runs any more once the token is gone.
  SocketListener listener_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
