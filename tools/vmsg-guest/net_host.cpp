#include "tools/vmsg-guest/net_host.hpp"

#include <fmt/format.h>

#include <utility>

namespace vmsg::guest {

Result<std::unique_ptr<NetHost>, Failure> NetHost::open(GuestLink& link, NicOptions nic_options,
                                                        CommandOptions options,
                                                        const NetCommandOptions& net) {
  const auto address = parse_ip(net.address);
  if (!address) {
    return std::unexpected(fmt::format("--address {}: an IPv4 address is allowed", net.address));
  }
  // Indirect tables need memory of their own, which this program does without.
  options.device.indirect = false;
  for (const net::NetFeature feature :
       {net::NetFeature::kMac, net::NetFeature::kMtu, net::NetFeature::kMrgRxbuf}) {
    net::add(options.device.features, feature);
  }
  if (net.offloads) {
    net::add(options.device.features, net::NetFeature::kCsum);
    net::add(options.device.features, net::NetFeature::kGuestCsum);
  }
  auto device = find_device(link, options, net::kDeviceType, "network device");
  if (!device) return std::unexpected(device.error());
  nic_options.most_descriptors = net.descriptors;
  nic_options.receive_buffer_size = net.buffer_size;
  nic_options.seed = net.seed;
  auto nic = GuestNic::open(link, std::move(*device), nic_options);
  if (!nic) return std::unexpected(nic.error());
  const Endpoint self{.mac = (*nic)->mac(), .ip = *address};
  return std::unique_ptr<NetHost>(new NetHost(std::move(*nic), self));
}

void NetHost::on_frame(const net::NetHeader& header, std::span<const std::byte> frame) {
  const bool is_partial = (header.flags & net::kFlagNeedsCsum) != 0;
  const ParsedFrame parsed = parse_frame(frame, is_partial);
  if (parsed.kind == ParsedFrame::Kind::kOther || parsed.to != self_.ip) return;
  if (!parsed.is_checksum_right) {
    ++wrong_checksums_;
    return;
  }
  switch (parsed.kind) {
    case ParsedFrame::Kind::kArpRequest:
      make_arp_reply(answers_.emplace_back(), self_, parsed.from);
      return;
    case ParsedFrame::Kind::kArpReply:
      answered_ = parsed.from;
      return;
    case ParsedFrame::Kind::kIcmpEcho:
      make_echo_reply(answers_.emplace_back(), self_, parsed.from, parsed.id, parsed.sequence,
                      parsed.data);
      return;
    default:
      if (handler_) handler_(header, parsed);
  }
}

Result<void, Failure> NetHost::send_answers() {
  for (const auto& answer : answers_) {
    if (auto sent = send(answer); !sent) return sent;
  }
  answers_.clear();
  return {};
}

Result<void, Failure> NetHost::send(std::span<const std::byte> frame,
                                    const net::NetHeader& header) {
  auto room = nic_->room();
  if (!room) return std::unexpected(room.error());
  if (*room == 0) {
    nic_->flush();
    if (auto drained = nic_->drain(); !drained) return drained;
  }
  if (auto added = nic_->add(header, frame); !added) return added;
  nic_->flush();
  return {};
}

Result<bool, Failure> NetHost::turn(std::chrono::nanoseconds patience) {
  auto came = nic_->receive([this](const net::NetHeader& header, std::span<const std::byte> frame) {
    on_frame(header, frame);
  });
  if (!came) return std::unexpected(came.error());
  if (auto sent = send_answers(); !sent) return std::unexpected(sent.error());
  if (*came > 0) return true;
  // What was sent would end the wait at once, and again and again.
  if (auto room = nic_->room(); !room) return std::unexpected(room.error());
  return nic_->wait(patience);
}

Result<bool, Failure> NetHost::turn_until(const std::function<bool()>& is_done,
                                          std::chrono::nanoseconds patience) {
  const Instant deadline = now() + patience;
  while (!is_done()) {
    const Instant time = now();
    if (time >= deadline) return false;
    if (auto turned = turn(deadline - time); !turned) return turned;
  }
  return true;
}

Result<Endpoint, Failure> NetHost::resolve(IpAddress address, std::chrono::nanoseconds patience) {
  constexpr auto kAgain = std::chrono::milliseconds(200);
  const Instant deadline = now() + patience;
  std::vector<std::byte> frame;
  make_arp_request(frame, self_, address);
  answered_.reset();
  while (now() < deadline) {
    if (auto sent = send(frame); !sent) return std::unexpected(sent.error());
    const auto is_known =
        turn_until([&] { return answered_.has_value() && answered_->ip == address; }, kAgain);
    if (!is_known) return std::unexpected(is_known.error());
    if (*is_known) return *answered_;
  }
  return std::unexpected(fmt::format("nobody answers for {}", to_string(address)));
}

}  // namespace vmsg::guest
