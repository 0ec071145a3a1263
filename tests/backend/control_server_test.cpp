// The control socket as a client sees it: real sockets, a loop that is pumped.
#include "backend/control_server.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <list>
#include <nlohmann/json.hpp>
#include <optional>

#include "backend/control_client.hpp"
#include "backend/control_request.hpp"
#include "backend/local_listener.hpp"
#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

using boost::asio::local::stream_protocol;
using nlohmann::json;
using ::testing::HasSubstr;

constexpr const char* kStatus = "{\"command\":\"status\"}\n";

class ControlServerTest : public ::testing::Test {
 protected:
  // How long a test waits for something that is sure to come before it gives up.
  static constexpr std::chrono::seconds kDeadline{20};

  ControlServerTest() : path_(directory_.path("control")) {
    server_.emplace(
        loop_, std::move(*listen_local(path_)),
        ControlView{.version = "9", .snapshot = [this] { return snapshot_; }, .trace = trace_});
  }

  void pump_until(const std::function<bool()>& is_done) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!is_done()) {
      if (std::chrono::steady_clock::now() > deadline) {
        FAIL() << "it did not come";
      }
      loop_.restart();
      loop_.run_for(std::chrono::milliseconds(1));
    }
  }

  /// One frame of `guest` passes: a bus message.
  void pass_frame(std::uint16_t guest) {
    static constexpr std::array<std::uint8_t, 12> kPing{0x02, 0x03, 0, 0, 0, 0, 12, 0, 1, 2, 3, 4};
    trace_.frame({.guest = guest,
                  .bus = 1,
                  .is_in = false,
                  .bytes = std::as_bytes(std::span<const std::uint8_t>(kPing))});
  }

  test::TemporaryDirectory directory_;
  std::string path_;
  boost::asio::io_context loop_;
  TraceHub trace_;
  Snapshot snapshot_;
  std::optional<ControlServer> server_;
};

/// The client's end.
class Client {
 public:
  Client(boost::asio::io_context& loop, const std::string& path) : socket_(loop) {
    socket_.connect(stream_protocol::endpoint(path));
    socket_.non_blocking(true);
  }

  void say(const std::string& words) { boost::asio::write(socket_, boost::asio::buffer(words)); }
  void finish_speaking() { socket_.shutdown(stream_protocol::socket::shutdown_send); }
  void hang_up() { socket_.close(); }

  /// Takes what has arrived; true once the server has closed.
  bool read() {
    std::array<char, 65536> bytes{};
    boost::system::error_code error;
    std::size_t size = 0;
    while (!error) {
      size = socket_.read_some(boost::asio::buffer(bytes), error);
      received.append(bytes.data(), size);
    }
    return error != boost::asio::error::would_block;
  }
  [[nodiscard]] bool has_line() {
    is_closed = read();
    return received.find('\n') != std::string::npos;
  }
  std::string take_line() {
    const std::size_t end = received.find('\n');
    std::string line = received.substr(0, end);
    received.erase(0, end == std::string::npos ? end : end + 1);
    return line;
  }

  std::string received;
  bool is_closed = false;

 private:
  stream_protocol::socket socket_;
};

TEST_F(ControlServerTest, StatusIsALineAndThenTheEnd) {
  snapshot_.domain = 5;
  Client client(loop_, path_);

  client.say(kStatus);
  pump_until([&] { return client.read(); });

  const json answer = json::parse(client.take_line());
  EXPECT_EQ(answer["version"], "9");
  EXPECT_EQ(answer["domain"], 5);
  EXPECT_EQ(client.received, "");
}

TEST_F(ControlServerTest, ALineMayComeInPieces) {
  Client client(loop_, path_);

  client.say("{\"command\":");
  loop_.poll();
  client.say("\"status\"}\n");
  pump_until([&] { return client.read(); });

  EXPECT_THAT(client.received, HasSubstr("\"version\":\"9\""));
}

TEST_F(ControlServerTest, TheEndEndsALineToo) {
  Client client(loop_, path_);

  client.say("{\"command\":\"status\"}");
  client.finish_speaking();
  pump_until([&] { return client.read(); });

  EXPECT_THAT(client.received, HasSubstr("\"version\":\"9\""));
}

TEST_F(ControlServerTest, AWrongRequestIsToldWhy) {
  Client client(loop_, path_);

  client.say("hello\n");
  pump_until([&] { return client.read(); });

  EXPECT_THAT(client.received, HasSubstr("\"error\":\"a line with a JSON object is expected"));
}

TEST_F(ControlServerTest, AnEndlessRequestIsCutOff) {
  Client client(loop_, path_);

  client.say(std::string(ControlRequest::kMaxLine + 1, ' '));
  pump_until([&] { return client.read(); });

  EXPECT_THAT(client.received, HasSubstr("the request is too long"));
}

TEST_F(ControlServerTest, OneThatSaysNothingAndLeavesIsForgotten) {
  std::optional<Client> client(std::in_place, loop_, path_);
  pump_until([&] { return server_->client_count() == 1; });

  client.reset();

  pump_until([&] { return server_->client_count() == 0; });
}

TEST_F(ControlServerTest, TooManyAreTurnedAway) {
  std::list<Client> clients;
  for (std::size_t i = 0; i < ControlServer::kMaxClients; ++i) clients.emplace_back(loop_, path_);
  pump_until([&] { return server_->client_count() == ControlServer::kMaxClients; });
  Client one_more(loop_, path_);

  pump_until([&] { return one_more.read(); });

  EXPECT_THAT(one_more.received, HasSubstr("too many clients"));
  EXPECT_EQ(server_->client_count(), ControlServer::kMaxClients);
}

TEST_F(ControlServerTest, ATraceHasALineAMessageOfItsGuest) {
  Client client(loop_, path_);
  client.say("{\"command\":\"trace\",\"guest\":3}\n");
  pump_until([&] { return trace_.listener_count() == 1; });

  pass_frame(4);
  pass_frame(3);
  pump_until([&] { return client.has_line(); });

  json line = json::parse(client.take_line());
  EXPECT_TRUE(line["t_ns"].is_number_unsigned());
  line.erase("t_ns");
  EXPECT_THAT(std::string(line["text"]), HasSubstr("PING"));
  line.erase("text");
  EXPECT_EQ(line, json::parse(R"({"guest":3,"bus":1,"direction":"out"})"));
  EXPECT_EQ(client.received, "");
}

TEST_F(ControlServerTest, ATraceEndsWhenItsClientCloses) {
  Client client(loop_, path_);
  client.say("{\"command\":\"trace\",\"guest\":3}\n");
  pump_until([&] { return trace_.listener_count() == 1; });

  client.hang_up();

  pump_until([&] { return trace_.listener_count() == 0; });
  EXPECT_EQ(server_->client_count(), 0U);
}

TEST_F(ControlServerTest, ASlowReaderLosesLinesAndHearsHowMany) {
  Client client(loop_, path_);
  client.say("{\"command\":\"trace\",\"guest\":3}\n");
  pump_until([&] { return trace_.listener_count() == 1; });
  constexpr std::uint64_t kFrames = 20'000;

  for (std::uint64_t i = 0; i < kFrames; ++i) {
    pass_frame(3);
    loop_.restart();
    loop_.poll_one();
  }
  std::uint64_t seen = 0;
  std::uint64_t lost = 0;
  pump_until([&] {
    while (client.has_line()) {
      const json line = json::parse(client.take_line());
      if (line.contains("lost")) {
        lost += line["lost"].get<std::uint64_t>();
      } else {
        ++seen;
      }
    }
    return seen + lost == kFrames;
  });

  EXPECT_GT(lost, 0U);
  EXPECT_GT(seen, 100U);
}

TEST_F(ControlServerTest, ClientsMayOutliveTheServer) {
  Client client(loop_, path_);
  client.say("{\"command\":\"trace\",\"guest\":3}\n");
  pump_until([&] { return trace_.listener_count() == 1; });

  server_.reset();
  loop_.restart();
  loop_.poll();

  EXPECT_EQ(trace_.listener_count(), 0U);
  EXPECT_TRUE(client.read());
}

}  // namespace
}  // namespace vmsg
