#include "devices/net/net_device.hpp"

#include <array>
#include <cstring>
#include <utility>

#include "devices/net/net_control_queue.hpp"
#include "devices/net/net_receive_queue.hpp"
#include "devices/net/net_transmit_queue.hpp"

namespace vmsg::net {
namespace {

constexpr std::uint32_t kVendor = 0x4d534756;  // "VGSM" as bytes
constexpr std::uint32_t kQueueSize = 256;

struct Dependency {
  NetFeature feature;
  NetFeature needs;
};

// virtio 1.3, "Feature bit requirements" of the network device.
constexpr std::array kDependencies{
    Dependency{NetFeature::kGuestTso4, NetFeature::kGuestCsum},
    Dependency{NetFeature::kGuestTso6, NetFeature::kGuestCsum},
    Dependency{NetFeature::kGuestUso4, NetFeature::kGuestCsum},
    Dependency{NetFeature::kGuestUso6, NetFeature::kGuestCsum},
    Dependency{NetFeature::kHostTso4, NetFeature::kCsum},
    Dependency{NetFeature::kHostTso6, NetFeature::kCsum},
    Dependency{NetFeature::kHostUso, NetFeature::kCsum},
    Dependency{NetFeature::kCtrlRx, NetFeature::kCtrlVq},
    Dependency{NetFeature::kCtrlRxExtra, NetFeature::kCtrlVq},
    Dependency{NetFeature::kCtrlVlan, NetFeature::kCtrlVq},
    Dependency{NetFeature::kGuestAnnounce, NetFeature::kCtrlVq},
    Dependency{NetFeature::kMq, NetFeature::kCtrlVq},
    Dependency{NetFeature::kCtrlMacAddr, NetFeature::kCtrlVq},
};

bool has_ecn_without_tso(const FeatureSet& selection) {
  const bool guest = has(selection, NetFeature::kGuestEcn) &&
                     !has(selection, NetFeature::kGuestTso4) &&
                     !has(selection, NetFeature::kGuestTso6);
  const bool host = has(selection, NetFeature::kHostEcn) &&
                    !has(selection, NetFeature::kHostTso4) &&
                    !has(selection, NetFeature::kHostTso6);
  return guest || host;
}

}  // namespace

NetDevice::NetDevice(const NetOptions& options, const MacAddress& mac,
                     std::unique_ptr<NetHost> host)
    : options_(options),
      host_(std::move(host)),
      state_(*host_, mac),
      limit_(options.bytes_per_second),
      counters_(options.queues) {
  identity_.device_id = kDeviceType;
  identity_.vendor_id = kVendor;
  identity_.config_size = sizeof(NetConfig);
  identity_.max_virtqueues = 2 * options_.queues + 1;
  static_cast<void>(state_.set_link(host_->is_link_up()));
  host_->set_link_listener([this](bool is_up) {
    if (state_.set_link(is_up)) tell_config_changed();
  });
}

FeatureSet NetDevice::device_features() const {
  FeatureSet features = host_->offloads();
  for (const NetFeature feature :
       {NetFeature::kMac, NetFeature::kMtu, NetFeature::kStatus, NetFeature::kMrgRxbuf,
        NetFeature::kCtrlVq, NetFeature::kCtrlRx, NetFeature::kCtrlRxExtra, NetFeature::kCtrlVlan,
        NetFeature::kCtrlMacAddr, NetFeature::kGuestAnnounce}) {
    add(features, feature);
  }
  if (options_.queues > 1) add(features, NetFeature::kMq);
  if (has(features, NetFeature::kGuestCsum)) add(features, NetFeature::kCtrlGuestOffloads);
  return features;
}

bool NetDevice::accepts(const FeatureSet& selection) const {
  for (const Dependency& dependency : kDependencies) {
    if (has(selection, dependency.feature) && !has(selection, dependency.needs)) return false;
  }
  return !has_ecn_without_tso(selection);
}

void NetDevice::features_negotiated(const FeatureSet& selection) {
  selection_ = selection;
  state_.features_negotiated(selection);
}

NetDevice::QueueKind NetDevice::kind_of(std::uint32_t index, const FeatureSet& selection) const {
  const std::uint32_t pairs = has(selection, NetFeature::kMq) ? options_.queues : 1;
  if (index < 2 * pairs) return index % 2 == 0 ? QueueKind::kReceive : QueueKind::kTransmit;
  return index == 2 * pairs && has(selection, NetFeature::kCtrlVq) ? QueueKind::kControl
                                                                   : QueueKind::kNone;
}

std::uint32_t NetDevice::max_queue_size(std::uint32_t index) const {
  return index < identity_.max_virtqueues ? kQueueSize : 0;
}

bool NetDevice::has_queue(std::uint32_t index, const FeatureSet& selection) const {
  return kind_of(index, selection) != QueueKind::kNone;
}

void NetDevice::read_config(std::uint32_t offset, std::span<std::byte> out) const {
  const NetConfig config = state_.config(static_cast<std::uint16_t>(options_.queues), host_->mtu());
  std::array<std::byte, sizeof(config)> bytes{};
  std::memcpy(bytes.data(), &config, sizeof(config));
  std::memcpy(out.data(), bytes.data() + offset, out.size());
}

void NetDevice::reset() {
  selection_ = {};
  state_.reset();
}

Result<void, std::string> NetDevice::refresh() {
  if (state_.set_link(host_->is_link_up())) tell_config_changed();
  return {};
}

PublishedFacts NetDevice::published() const {
  PublishedFacts facts = host_->published();
  facts.emplace_back("mac", to_string(MacAddress{state_.config(0, 0).mac}));
  return facts;
}

void NetDevice::report(CounterSink& sink) const {
  std::uint64_t filtered = 0;
  std::uint64_t dropped = 0;
  std::uint64_t refused = 0;
  for (const PairCounters& pair : counters_) {
    sink.operations("receive", pair.receive);
    sink.operations("transmit", pair.transmit);
    filtered += pair.receive_filtered.value();
    dropped += pair.receive_dropped.value();
    refused += pair.transmit_refused.value();
  }
  sink.number("receive-filtered", filtered);
  sink.number("receive-dropped", dropped);
  sink.number("transmit-refused", refused);
}

std::uint32_t NetDevice::queue_group(std::uint32_t index) const {
  const bool is_together = host_->has_one_worker() || limit_.is_limited();
  return is_together ? 0 : index;
}

QueueLimits NetDevice::queue_limits(std::uint32_t index) const {
  // A chain may have as many descriptors as the queue: how a driver divides its buffers is its own
  // business.
  switch (kind_of(index, selection_)) {
    case QueueKind::kReceive:
      return {.max_chain_segments = kQueueSize, .max_in_flight = NetReceiveQueue::kMaxInFlight};
    case QueueKind::kTransmit:
      return {.max_chain_segments = kQueueSize, .max_in_flight = NetTransmitQueue::kMaxInFlight};
    case QueueKind::kControl:
    case QueueKind::kNone:
      break;
  }
  return {.max_chain_segments = kQueueSize, .max_in_flight = NetControlQueue::kMaxInFlight};
}

std::unique_ptr<QueueService> NetDevice::open_queue(const QueueContext& context) {
  const std::uint32_t pair = context.setup.index / 2;
  switch (kind_of(context.setup.index, context.setup.features)) {
    case QueueKind::kReceive:
      return std::make_unique<NetReceiveQueue>(context, pair, *host_, state_, counters_[pair]);
    case QueueKind::kTransmit:
      return std::make_unique<NetTransmitQueue>(context, pair, *host_, limit_, counters_[pair]);
    case QueueKind::kControl:
      return std::make_unique<NetControlQueue>(context, static_cast<std::uint16_t>(options_.queues),
                                               state_);
    case QueueKind::kNone:
      break;
  }
  return nullptr;
}

}  // namespace vmsg::net
