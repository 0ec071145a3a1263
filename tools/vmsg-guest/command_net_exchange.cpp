// vmsg-guest net verify, bench and answer: what two of these do with each other on a network.
#include <fmt/format.h>

#include <algorithm>
#include <memory>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/flow_exchange.hpp"
#include "tools/vmsg-guest/net_host.hpp"

namespace vmsg::guest {
namespace {

using Work = std::function<Result<void, Failure>(NetHost&)>;

/// Runs `work` on a host of the network and gives everything back.
int on_network(const CommandOptions& options, const NetCommandOptions& net, const Work& work) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  int status = 0;
  {
    auto host = NetHost::open(**link, {}, options, net);
    if (!host) return complain(host.error());
    if (auto done = work(**host); !done) status = complain(done.error());
    if (auto stopped = (*host)->nic().stop(); !stopped) status = complain(stopped.error());
  }
  (*link)->close();
  return status;
}

Result<void, Failure> exchange(NetHost& host, const CommandOptions& options,
                               const NetCommandOptions& net, bool is_measured) {
  const auto peer_ip = parse_ip(net.peer);
  if (!peer_ip) {
    return std::unexpected(fmt::format("--peer {}: an IPv4 address is allowed", net.peer));
  }
  const auto peer = host.resolve(*peer_ip, options.link.patience);
  if (!peer) return std::unexpected(peer.error());

  ExchangeOptions how;
  how.count = net.count;
  how.most_data = static_cast<std::uint32_t>(host.nic().mtu() - kIpSize - kUdpSize);
  if (is_measured) how.most_data = std::clamp(net.size, 64U, how.most_data);
  how.is_random_size = !is_measured;
  how.checks_data = !is_measured;
  how.leaves_checksums = has(host.nic().features(), net::NetFeature::kCsum);
  how.seed = net.seed;
  how.patience = options.link.patience;
  FlowExchange flows(host, *peer, how);
  const auto result = flows.run();
  if (!result) return std::unexpected(result.error());
  constexpr double kMega = 1e6;
  constexpr double kBits = 8;
  fmt::print("sent {} received {} partial {} seconds {:.3f} packets/s {:.0f} Mbit/s {:.1f}\n",
             result->sent, result->received, result->partial_received, result->seconds,
             static_cast<double>(result->sent + result->received) / result->seconds,
             static_cast<double>(result->bytes_sent + result->bytes_received) * kBits / kMega /
                 result->seconds);
  return {};
}

}  // namespace

int run_net_verify(const CommandOptions& options, const NetCommandOptions& net) {
  return on_network(options, net,
                    [&](NetHost& host) { return exchange(host, options, net, false); });
}

int run_net_bench(const CommandOptions& options, const NetCommandOptions& net) {
  return on_network(options, net,
                    [&](NetHost& host) { return exchange(host, options, net, true); });
}

int run_net_answer(const CommandOptions& options, const NetCommandOptions& net) {
  return on_network(options, net, [&](NetHost& host) -> Result<void, Failure> {
    fmt::print("{} is at {}\n", net.address, net::to_string(host.self().mac));
    static_cast<void>(std::fflush(stdout));
    while (true) {
      const auto turned = host.turn(std::chrono::hours(1));
      if (!turned) return std::unexpected(turned.error());
    }
  });
}

}  // namespace vmsg::guest
