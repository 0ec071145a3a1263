// Where metrics may be served, and what a scraper gets.
#include "backend/metrics_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <chrono>

#include "backend/metrics_address.hpp"
#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

// ---- addresses ----------------------------------------------------------------------------------

TEST(MetricsAddress, UnixSocket) {
  EXPECT_EQ(parse_metrics_address("unix:/run/x"),
            (MetricsAddress{.path = "/run/x", .is_ipv6 = false, .host = "", .port = 0}));
}

TEST(MetricsAddress, LoopbackPort) {
  EXPECT_EQ(parse_metrics_address("127.0.0.1:9120"),
            (MetricsAddress{.path = "", .is_ipv6 = false, .host = "127.0.0.1", .port = 9120}));
}

TEST(MetricsAddress, LoopbackPortOfIpv6) {
  EXPECT_EQ(parse_metrics_address("[::1]:1"),
            (MetricsAddress{.path = "", .is_ipv6 = true, .host = "::1", .port = 1}));
}

class WrongMetricsAddress : public ::testing::TestWithParam<const char*> {};

TEST_P(WrongMetricsAddress, IsToldWhatIsAllowed) {
  const auto address = parse_metrics_address(GetParam());

  ASSERT_FALSE(address);
  EXPECT_EQ(address.error(), std::string("'") + GetParam() +
                                 "' is not allowed: unix:/PATH, 127.0.0.1:PORT, [::1]:PORT, or an "
                                 "empty text for none");
}

INSTANTIATE_TEST_SUITE_P(Texts, WrongMetricsAddress,
                         ::testing::Values("", "9120", ":9120", "unix:", "unix:x", "10.0.0.1:80",
                                           "127.0.0.1", "127.0.0.1:", "127.0.0.1:0",
                                           "127.0.0.1:65536", "127.0.0.1:+1", "localhost:80",
                                           "::1:80", "[::]:80", "127.0.0.1:80 "));

// ---- answers ------------------------------------------------------------------------------------

std::string answer_to(const std::string& head) {
  return metrics_response(head, [] { return std::string("a 1\n"); });
}

TEST(MetricsResponse, ThePage) {
  EXPECT_EQ(answer_to("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            "Content-Length: 4\r\nConnection: close\r\n\r\na 1\n");
}

TEST(MetricsResponse, AQueryMeansNothing) {
  EXPECT_THAT(answer_to("GET /metrics?x=1 HTTP/1.0\r\n\r\n"), StartsWith("HTTP/1.1 200 OK\r\n"));
}

TEST(MetricsResponse, AnotherPage) {
  EXPECT_THAT(answer_to("GET / HTTP/1.1\r\n\r\n"), StartsWith("HTTP/1.1 404 Not Found\r\n"));
}

TEST(MetricsResponse, AnotherMethod) {
  EXPECT_THAT(answer_to("POST /metrics HTTP/1.1\r\n\r\n"),
              StartsWith("HTTP/1.1 405 Method Not Allowed\r\n"));
}

class NoHttp : public ::testing::TestWithParam<const char*> {};

TEST_P(NoHttp, IsABadRequest) {
  EXPECT_THAT(answer_to(GetParam()), StartsWith("HTTP/1.1 400 Bad Request\r\n"));
}

INSTANTIATE_TEST_SUITE_P(Heads, NoHttp,
                         ::testing::Values("\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n",
                                           "GET /metrics FTP/1.1\r\n\r\n"));

// ---- connections --------------------------------------------------------------------------------

class MetricsServerTest : public ::testing::Test {
 protected:
  static constexpr std::chrono::seconds kDeadline{20};

  MetricsServerTest()
      : path_(directory_.path("metrics")),
        server_(loop_, std::move(*listen_for_metrics({.path = path_})), [this] {
          ++pages_;
          return std::string("vmsg 1\n");
        }) {}

  /// All that is answered until the end of the connection.
  std::string exchange(const std::string& request) {
    boost::asio::local::stream_protocol::socket socket(loop_);
    socket.connect(boost::asio::local::stream_protocol::endpoint(path_));
    socket.non_blocking(true);
    boost::asio::write(socket, boost::asio::buffer(request));
    std::string answer;
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (std::chrono::steady_clock::now() < deadline) {
      loop_.restart();
      loop_.run_for(std::chrono::milliseconds(1));
      std::array<char, 4096> bytes{};
      boost::system::error_code error;
      const std::size_t size = socket.read_some(boost::asio::buffer(bytes), error);
      answer.append(bytes.data(), size);
      if (error && error != boost::asio::error::would_block) return answer;
    }
    return "it did not end";
  }

  test::TemporaryDirectory directory_;
  std::string path_;
  boost::asio::io_context loop_;
  int pages_ = 0;
  MetricsServer server_;
};

TEST_F(MetricsServerTest, ServesThePage) {
  EXPECT_THAT(exchange("GET /metrics HTTP/1.1\r\n\r\n"), HasSubstr("\r\n\r\nvmsg 1\n"));
  EXPECT_EQ(pages_, 1);
  EXPECT_EQ(server_.client_count(), 0U);
}

TEST_F(MetricsServerTest, AnEndlessHeadIsCutOff) {
  EXPECT_EQ(exchange("GET /metrics HTTP/1.1\r\n" + std::string(8192, 'x')), "");
  EXPECT_EQ(pages_, 0);
}

}  // namespace
}  // namespace vmsg
