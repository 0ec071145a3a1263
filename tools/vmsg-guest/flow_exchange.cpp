#include "tools/vmsg-guest/flow_exchange.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "transport/endian.hpp"

namespace vmsg::guest {
namespace {

constexpr std::uint16_t kPort = 7400;  // of flow 0
constexpr std::uint32_t kMagic = 0x776f6c66;

struct PacketHeader {
  Le32 magic;
  std::uint8_t kind = 0;
  std::uint8_t reserved = 0;
  Le16 flow;
  Le32 sequence;
  Le64 received;  // packets of the other side, in all
};
static_assert(sizeof(PacketHeader) == 20);

/// What the data of a packet is: both sides know.
void fill(std::span<std::byte> body, std::uint16_t flow, std::uint32_t sequence) {
  std::uint64_t state = (std::uint64_t{flow} << 32U | sequence) * 0x9e3779b97f4a7c15 + 1;
  for (std::size_t at = 0; at < body.size(); at += sizeof(state)) {
    state ^= state << 13U;
    state ^= state >> 7U;
    state ^= state << 17U;
    std::memcpy(body.data() + at, &state, std::min(sizeof(state), body.size() - at));
  }
}

}  // namespace

FlowExchange::FlowExchange(NetHost& host, const Endpoint& peer, const ExchangeOptions& options)
    : host_(host), peer_(peer), options_(options), random_(options.seed) {
  host_.set_handler(
      [this](const net::NetHeader& header, const ParsedFrame& frame) { on_frame(header, frame); });
}

void FlowExchange::fail(Failure why) {
  if (failure_.empty()) failure_ = std::move(why);
}

void FlowExchange::on_frame(const net::NetHeader& header, const ParsedFrame& frame) {
  if (frame.kind != ParsedFrame::Kind::kUdp || frame.from.ip != peer_.ip) return;
  PacketHeader packet;
  if (frame.data.size() < sizeof(packet)) return;
  std::memcpy(&packet, frame.data.data(), sizeof(packet));
  if (packet.magic.get() != kMagic) return;
  has_met_ = true;
  if (packet.received.get() > result_.sent) fail("the other side has more than was sent");
  acknowledged_ = std::max(acknowledged_, packet.received.get());
  if ((header.flags & net::kFlagNeedsCsum) != 0) ++result_.partial_received;
  switch (static_cast<Kind>(packet.kind)) {
    case Kind::kData:
      if (frame.to_port != kPort + packet.flow.get()) fail("a packet came to another port");
      return on_data(packet.flow.get(), packet.sequence.get(), frame.data.subspan(sizeof(packet)));
    case Kind::kBye:
      has_bye_ = true;
      return;
    default:
      return;
  }
}

void FlowExchange::on_data(std::uint16_t flow, std::uint32_t sequence,
                           std::span<const std::byte> body) {
  if (flow >= kFlows) return fail(fmt::format("there is no flow {}", flow));
  if (sequence != next_to_receive_[flow]) {
    return fail(fmt::format("flow {}: number {} came where {} was due: {}", flow, sequence,
                            next_to_receive_[flow],
                            sequence > next_to_receive_[flow] ? "lost or out of order" : "twice"));
  }
  ++next_to_receive_[flow];
  ++result_.received;
  result_.bytes_received += body.size();
  if (!options_.checks_data) return;
  expected_.resize(body.size());
  fill(expected_, flow, sequence);
  if (!std::ranges::equal(body, expected_)) {
    fail(fmt::format("flow {}: number {} was changed on the way", flow, sequence));
  }
}

Result<void, Failure> FlowExchange::send(Kind kind, std::uint16_t flow, std::uint32_t sequence,
                                         std::uint32_t body) {
  PacketHeader packet;
  packet.magic = kMagic;
  packet.kind = static_cast<std::uint8_t>(kind);
  packet.flow = flow;
  packet.sequence = sequence;
  packet.received = result_.received;
  told_ = result_.received;
  data_.resize(sizeof(packet) + body);
  std::memcpy(data_.data(), &packet, sizeof(packet));
  fill(std::span(data_).subspan(sizeof(packet)), flow, sequence);

  const bool is_partial = options_.leaves_checksums && sequence % 2 == 0;
  const auto port = static_cast<std::uint16_t>(kPort + flow);
  make_udp(frame_, host_.self(), peer_, port, port, data_, is_partial);
  net::NetHeader header;
  if (is_partial) {
    header.flags = net::kFlagNeedsCsum;
    header.csum_start = static_cast<std::uint16_t>(kEthernetSize + kIpSize);
    header.csum_offset = std::uint16_t{6};
  }
  return host_.nic().add(header, frame_);
}

Result<void, Failure> FlowExchange::meet() {
  constexpr auto kAgain = std::chrono::milliseconds(100);
  const Instant deadline = now() + options_.patience;
  while (!has_met_) {
    if (now() >= deadline) return std::unexpected("the other side is not there");
    const auto room = host_.nic().room();
    if (!room) return std::unexpected(room.error());
    if (*room > 0) {
      if (auto sent = send(Kind::kHello, 0, 0, 0); !sent) return sent;
      host_.nic().flush();
    }
    if (auto met = host_.turn_until([this] { return has_met_; }, kAgain); !met) {
      return std::unexpected(met.error());
    }
  }
  return {};
}

Result<bool, Failure> FlowExchange::send_data() {
  auto room = host_.nic().room();
  if (!room) return std::unexpected(room.error());
  bool has_sent = false;
  std::uniform_int_distribution<std::uint32_t> size(
      0, options_.most_data - static_cast<std::uint32_t>(sizeof(PacketHeader)));
  std::uniform_int_distribution<std::uint16_t> flow_of(0, kFlows - 1);
  // One place is kept for what must be said apart from data.
  while (*room > 1 && result_.sent < options_.count &&
         result_.sent - acknowledged_ < options_.window) {
    const std::uint16_t flow = flow_of(random_);
    const std::uint32_t body = options_.is_random_size ? size(random_) : size.max();
    if (auto sent = send(Kind::kData, flow, next_to_send_[flow]++, body); !sent) {
      return std::unexpected(sent.error());
    }
    ++result_.sent;
    result_.bytes_sent += body;
    has_sent = true;
    --*room;
  }
  if (!has_sent && told_ != result_.received && *room > 0) {
    if (auto sent = send(Kind::kAck, 0, 0, 0); !sent) return std::unexpected(sent.error());
    has_sent = true;
  }
  if (has_sent) host_.nic().flush();
  return has_sent;
}

Result<void, Failure> FlowExchange::part() {
  if (auto drained = host_.nic().drain(); !drained) return drained;
  if (auto sent = send(Kind::kBye, 0, 0, 0); !sent) return sent;
  host_.nic().flush();
  const auto parted = host_.turn_until([this] { return has_bye_; }, options_.patience);
  if (!parted) return std::unexpected(parted.error());
  if (!*parted) return std::unexpected("the other side does not come to an end");
  return host_.nic().drain();
}

Result<ExchangeResult, Failure> FlowExchange::run() {
  if (auto met = meet(); !met) return std::unexpected(met.error());
  const Instant begun = now();
  Instant progress = begun;
  while (acknowledged_ < options_.count || result_.received < options_.count) {
    const auto sent = send_data();
    if (!sent) return std::unexpected(sent.error());
    const std::uint64_t before = acknowledged_ + result_.received;
    if (auto turned = host_.turn(options_.patience); !turned) {
      return std::unexpected(turned.error());
    }
    if (!failure_.empty()) return std::unexpected(failure_);
    if (host_.wrong_checksums() != 0) return std::unexpected("a packet has a wrong checksum");
    const Instant time = now();
    if (acknowledged_ + result_.received != before) {
      progress = time;
    } else if (time - progress > options_.patience) {
      return std::unexpected(fmt::format("nothing comes any more: {} of {} were confirmed, {} came",
                                         acknowledged_, result_.sent, result_.received));
    }
  }
  result_.seconds = std::chrono::duration<double>(now() - begun).count();
  if (auto parted = part(); !parted) return std::unexpected(parted.error());
  return result_;
}

}  // namespace vmsg::guest
