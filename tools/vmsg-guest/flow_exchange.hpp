// Two hosts that send each other packets of several flows at the same time, with flow control, and
// see whether everything arrives: nothing lost, nothing twice, in order in each flow, unchanged.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <random>
#include <vector>

#include "tools/vmsg-guest/net_host.hpp"

namespace vmsg::guest {

struct ExchangeOptions {
  std::uint64_t count = 10000;  // packets each way
  std::uint32_t window = 64;    // packets under way; below what the other side has buffers for
  std::uint32_t most_data = 1472;
  bool is_random_size = true;
  bool checks_data = true;
  /// Every other packet leaves its checksum to the device.
  bool leaves_checksums = false;
  std::uint64_t seed = 1;
  std::chrono::nanoseconds patience{};
};

struct ExchangeResult {
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  std::uint64_t bytes_sent = 0;
  std::uint64_t bytes_received = 0;
  std::uint64_t partial_received = 0;  // whose checksum was left to us
  double seconds = 0;
};

class FlowExchange {
 public:
  /// `host` outlives it.
  FlowExchange(NetHost& host, const Endpoint& peer, const ExchangeOptions& options);

  /// Meets the other side, exchanges everything, and parts from it.
  Result<ExchangeResult, Failure> run();

 private:
  static constexpr std::size_t kFlows = 4;
  enum class Kind : std::uint8_t { kHello = 1, kData = 2, kAck = 3, kBye = 4 };

  void on_frame(const net::NetHeader& header, const ParsedFrame& frame);
  void on_data(std::uint16_t flow, std::uint32_t sequence, std::span<const std::byte> body);
  Result<void, Failure> send(Kind kind, std::uint16_t flow, std::uint32_t sequence,
                             std::uint32_t body);
  Result<void, Failure> meet();
  /// Sends what the window allows; whether it sent anything.
  Result<bool, Failure> send_data();
  Result<void, Failure> part();
  void fail(Failure why);

  NetHost& host_;
  const Endpoint peer_;
  const ExchangeOptions options_;
  std::mt19937_64 random_;
  ExchangeResult result_;
  std::array<std::uint32_t, kFlows> next_to_send_{};
  std::array<std::uint32_t, kFlows> next_to_receive_{};
  std::uint64_t acknowledged_ = 0;  // by the other side
  std::uint64_t told_ = 0;          // how many we said that we have
  bool has_met_ = false;
  bool has_bye_ = false;
  Failure failure_;
  std::vector<std::byte> data_;
  std::vector<std::byte> expected_;
  std::vector<std::byte> frame_;
};

}  // namespace vmsg::guest
