#include "devices/net/net_state.hpp"

#include <array>

namespace vmsg::net {
namespace {

constexpr std::array kGuestOffloads{NetFeature::kGuestCsum, NetFeature::kGuestTso4,
                                    NetFeature::kGuestTso6, NetFeature::kGuestEcn,
                                    NetFeature::kGuestUso4, NetFeature::kGuestUso6};

/// The offloads among these features.
FeatureSet guest_offloads_of(const FeatureSet& features) {
  FeatureSet offloads;
  for (const NetFeature feature : kGuestOffloads) {
    if (has(features, feature)) add(offloads, feature);
  }
  return offloads;
}

}  // namespace

void NetState::reset() {
  const std::lock_guard lock(mutex_);
  filter_ = {};
  filter_.own = factory_mac_;
  settings_ = {};
  features_ = {};
  must_announce_ = false;
  changed();
  host_.apply(settings_);
}

void NetState::features_negotiated(const FeatureSet& selection) {
  const std::lock_guard lock(mutex_);
  features_ = selection;
  settings_.guest_offloads = guest_offloads_of(selection);
  filter_.filters_vlans = has(selection, NetFeature::kCtrlVlan);
  changed();
  host_.apply(settings_);
}

std::uint64_t NetState::set_active_pairs(std::uint32_t pairs) {
  const std::lock_guard lock(mutex_);
  settings_.active_pairs = pairs;
  return host_.apply(settings_);
}

std::optional<std::uint64_t> NetState::set_guest_offloads(const FeatureSet& wanted,
                                                          const FeatureSet& negotiated) {
  if (!wanted.is_subset_of(guest_offloads_of(negotiated))) return std::nullopt;
  const bool is_nothing = wanted == FeatureSet{};
  if (!is_nothing && !has(wanted, NetFeature::kGuestCsum)) return std::nullopt;
  const std::lock_guard lock(mutex_);
  settings_.guest_offloads = wanted;
  changed();
  return host_.apply(settings_);
}

void NetState::announced() {
  const std::lock_guard lock(mutex_);
  must_announce_ = false;
}

bool NetState::set_link(bool is_up) {
  const std::lock_guard lock(mutex_);
  if (is_link_up_ == is_up) return false;
  is_link_up_ = is_up;
  // Whoever is at the other end now has to learn where the guest is.
  if (is_up) must_announce_ = has(features_, NetFeature::kGuestAnnounce);
  return has(features_, NetFeature::kStatus);
}

void NetState::set_carrier(bool has_carrier) {
  const std::lock_guard lock(mutex_);
  if (settings_.has_carrier == has_carrier) return;
  settings_.has_carrier = has_carrier;
  host_.apply(settings_);
}

NetConfig NetState::config(std::uint16_t pairs, std::uint16_t mtu) const {
  const std::lock_guard lock(mutex_);
  NetConfig config;
  config.mac = filter_.own.bytes;
  config.status = static_cast<std::uint16_t>((is_link_up_ ? kStatusLinkUp : 0) |
                                             (must_announce_ ? kStatusAnnounce : 0));
  config.max_virtqueue_pairs = pairs;
  config.mtu = mtu;
  return config;
}

}  // namespace vmsg::net
