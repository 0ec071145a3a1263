// vmsg-guest net ping: asks another host for answers.
#include <fmt/format.h>
#include <unistd.h>

#include <memory>
#include <vector>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/net_host.hpp"

namespace vmsg::guest {
namespace {

Result<void, Failure> ping(NetHost& host, const CommandOptions& options,
                           const NetCommandOptions& net) {
  const auto peer_ip = parse_ip(net.peer);
  if (!peer_ip) {
    return std::unexpected(fmt::format("--peer {}: an IPv4 address is allowed", net.peer));
  }
  const auto peer = host.resolve(*peer_ip, options.link.patience);
  if (!peer) return std::unexpected(peer.error());
  fmt::print("{} is at {}\n", net.peer, net::to_string(peer->mac));

  std::vector<std::byte> data(net.size);
  for (std::size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(i * 7 + net.seed);
  std::vector<std::byte> frame;
  // An answer to somebody who had this interface before may still be on its way.
  const auto our_id = static_cast<std::uint16_t>(::getpid());
  for (std::uint32_t i = 0; i < net.count; ++i) {
    const auto sequence = static_cast<std::uint16_t>(i);
    bool is_answered = false;
    bool is_the_same = false;
    host.set_handler([&](const net::NetHeader&, const ParsedFrame& got) {
      if (got.kind != ParsedFrame::Kind::kIcmpReply || got.id != our_id ||
          got.sequence != sequence) {
        return;
      }
      is_answered = true;
      is_the_same = std::ranges::equal(got.data, data);
    });
    make_echo_request(frame, host.self(), *peer, our_id, sequence, data);
    const Instant sent_at = now();
    if (auto sent = host.send(frame); !sent) return sent;
    const auto done = host.turn_until([&] { return is_answered; }, options.link.patience);
    if (!done) return std::unexpected(done.error());
    if (!*done) return std::unexpected(fmt::format("no answer to number {}", sequence));
    if (!is_the_same) {
      return std::unexpected(fmt::format("number {} came back with other data", sequence));
    }
    fmt::print("{} bytes from {}: seq={} time={} us\n", data.size(), net.peer, sequence,
               std::chrono::duration_cast<std::chrono::microseconds>(now() - sent_at).count());
  }
  return {};
}

}  // namespace

int run_net_ping(const CommandOptions& options, const NetCommandOptions& net) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  int status = 0;
  {
    NicOptions nic;
    nic.send_buffers = 16;
    nic.receive_buffers = 64;
    auto host = NetHost::open(**link, nic, options, net);
    if (!host) return complain(host.error());
    if (auto done = ping(**host, options, net); !done) status = complain(done.error());
    if (auto stopped = (*host)->nic().stop(); !stopped) status = complain(stopped.error());
  }
  (*link)->close();
  return status;
}

}  // namespace vmsg::guest
