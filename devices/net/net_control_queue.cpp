#include "devices/net/net_control_queue.hpp"

#include <algorithm>
#include <cstring>
#include <utility>

namespace vmsg::net {
namespace {

// How often the host is asked whether it has followed. It takes well under a millisecond unless
// somebody else changes the host's network at that moment.
constexpr Nanoseconds kAskAgain = 1'000'000;

constexpr std::size_t kCommandHeader = 2;  // class and command

std::optional<std::uint8_t> flag(std::span<const std::byte> data) {
  if (data.empty()) return std::nullopt;
  return std::to_integer<std::uint8_t>(data[0]);
}

template <typename T>
std::optional<T> load(std::span<const std::byte> data) {
  if (data.size() < sizeof(T)) return std::nullopt;
  T value;
  std::memcpy(&value, data.data(), sizeof(T));
  return value;
}

/// Reads one table of struct virtio_net_ctrl_mac and returns what follows it; nullopt when the
/// command is too short for the table.
std::optional<std::span<const std::byte>> read_table(std::span<const std::byte> data,
                                                     MacTable& table) {
  const auto count = load<Le32>(data);
  if (!count) return std::nullopt;
  data = data.subspan(sizeof(Le32));
  if (count->get() > data.size() / sizeof(MacAddress)) return std::nullopt;
  for (std::uint32_t i = 0; i < count->get(); ++i) {
    table.add(*load<MacAddress>(data));
    data = data.subspan(sizeof(MacAddress));
  }
  return data;
}

}  // namespace

std::span<std::byte> NetControlQueue::bytes_of(std::size_t index, std::size_t size) {
  return std::span(bytes_).subspan(commands_.place(index) * kMaxCommand, size);
}

void NetControlQueue::take(std::span<Chain> chains, const GuestRef& guest, CopyBatch& fetch,
                           Nanoseconds) {
  for (Chain& chain : chains) {
    has_bad_buffer_ |=
        chain.readable_length() < kCommandHeader || chain.writable_length() < sizeof(std::byte);
    const std::size_t size = std::min<std::size_t>(chain.readable_length(), kMaxCommand + 1);
    Command& command = commands_.push({.chain = std::move(chain), .size = size});
    if (size <= kMaxCommand) {
      add_copies(fetch, guest, command.chain.readable(), 0, bytes_of(commands_.size() - 1, size),
                 command.outcome);
    }
  }
}

std::optional<ServiceFault> NetControlQueue::start(Nanoseconds now) {
  if (has_bad_buffer_) return ServiceFault::kBadRequest;
  wake_at_.reset();
  if (commands_.empty()) return std::nullopt;
  // One at a time: each may rely on what the one before it did.
  Command& command = commands_.front();
  if (command.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
  if (!awaited_) {
    const bool is_right = command.size <= kMaxCommand && execute(bytes_of(0, command.size));
    command.ack = is_right ? kAckOk : kAckError;
  }
  if (awaited_ && !state_.has_followed(*awaited_)) {
    wake_at_ = now + kAskAgain;
    return std::nullopt;
  }
  awaited_.reset();
  is_done_ = true;
  return std::nullopt;
}

void NetControlQueue::deliver(const GuestRef& guest, CopyBatch& give) {
  if (!is_done_) return;
  Command& command = commands_.front();
  add_copies(give, guest, command.chain.writable(), 0, std::span(&command.ack, 1), command.outcome);
}

std::optional<ServiceFault> NetControlQueue::retire(DeviceQueue& queue, Nanoseconds) {
  if (!std::exchange(is_done_, false)) return std::nullopt;
  Command& command = commands_.front();
  if (command.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
  queue.complete(std::move(command.chain), sizeof(command.ack));
  commands_.pop();
  if (!commands_.empty()) waker_.wake();
  return std::nullopt;
}

void NetControlQueue::abandon() {
  commands_.clear();
  is_done_ = false;
  awaited_.reset();
  wake_at_.reset();
}

bool NetControlQueue::execute(std::span<const std::byte> command) {
  const auto type = std::to_integer<std::uint8_t>(command[0]);
  const auto number = std::to_integer<std::uint8_t>(command[1]);
  const auto data = command.subspan(kCommandHeader);
  switch (type) {
    case kCtrlRx:
      return set_receive_mode(number, data);
    case kCtrlMac:
      return set_addresses(number, data);
    case kCtrlVlan:
      return set_vlan(number, data);
    case kCtrlAnnounce:
      if (!has(features_, NetFeature::kGuestAnnounce) || number != kCtrlAnnounceAck) return false;
      state_.announced();
      return true;
    case kCtrlMq:
      return set_pairs(number, data);
    case kCtrlGuestOffloads:
      return set_offloads(number, data);
    default:
      return false;
  }
}

bool NetControlQueue::set_receive_mode(std::uint8_t command, std::span<const std::byte> data) {
  const bool is_extra = command > kCtrlRxAllMulti;
  if (!has(features_, is_extra ? NetFeature::kCtrlRxExtra : NetFeature::kCtrlRx)) return false;
  const auto value = flag(data);
  if (!value || *value > 1) return false;
  const bool is_on = *value == 1;
  bool ReceiveFilter::* mode = nullptr;
  switch (command) {
    case kCtrlRxPromisc:
      mode = &ReceiveFilter::promiscuous;
      break;
    case kCtrlRxAllMulti:
      mode = &ReceiveFilter::all_multicast;
      break;
    case kCtrlRxAllUni:
      mode = &ReceiveFilter::all_unicast;
      break;
    case kCtrlRxNoMulti:
      mode = &ReceiveFilter::no_multicast;
      break;
    case kCtrlRxNoUni:
      mode = &ReceiveFilter::no_unicast;
      break;
    case kCtrlRxNoBcast:
      mode = &ReceiveFilter::no_broadcast;
      break;
    default:
      return false;
  }
  state_.change_filter([&](ReceiveFilter& filter) { filter.*mode = is_on; });
  return true;
}

bool NetControlQueue::set_addresses(std::uint8_t command, std::span<const std::byte> data) {
  if (command == kCtrlMacAddrSet && has(features_, NetFeature::kCtrlMacAddr)) {
    const auto mac = load<MacAddress>(data);
    if (!mac || !mac->is_station()) return false;
    state_.change_filter([&](ReceiveFilter& filter) { filter.own = *mac; });
    return true;
  }
  if (command == kCtrlMacTableSet && has(features_, NetFeature::kCtrlRx)) {
    MacTable unicast;
    MacTable multicast;
    const auto rest = read_table(data, unicast);
    if (!rest || !read_table(*rest, multicast)) return false;
    state_.change_filter([&](ReceiveFilter& filter) {
      filter.unicast = unicast;
      filter.multicast = multicast;
    });
    return true;
  }
  return false;
}

bool NetControlQueue::set_vlan(std::uint8_t command, std::span<const std::byte> data) {
  if (!has(features_, NetFeature::kCtrlVlan) || command > kCtrlVlanDel) return false;
  const auto vlan = load<Le16>(data);
  if (!vlan || vlan->get() >= ReceiveFilter::kVlans) return false;
  state_.change_filter(
      [&](ReceiveFilter& filter) { filter.vlans.set(vlan->get(), command == kCtrlVlanAdd); });
  return true;
}

bool NetControlQueue::set_pairs(std::uint8_t command, std::span<const std::byte> data) {
  if (!has(features_, NetFeature::kMq) || command != kCtrlMqPairsSet) return false;
  const auto pairs = load<Le16>(data);
  if (!pairs || pairs->get() == 0 || pairs->get() > max_pairs_) return false;
  // The driver may use the new pairs as soon as it has its answer.
  awaited_ = state_.set_active_pairs(pairs->get());
  return true;
}

bool NetControlQueue::set_offloads(std::uint8_t command, std::span<const std::byte> data) {
  if (!has(features_, NetFeature::kCtrlGuestOffloads) || command != kCtrlGuestOffloadsSet) {
    return false;
  }
  const auto bits = load<Le64>(data);
  if (!bits) return false;
  FeatureSet wanted;
  wanted.set_word(0, static_cast<std::uint32_t>(bits->get()));
  wanted.set_word(1, static_cast<std::uint32_t>(bits->get() >> 32U));
  const auto awaited = state_.set_guest_offloads(wanted, features_);
  if (awaited) awaited_ = awaited;
  return awaited.has_value();
}

}  // namespace vmsg::net
