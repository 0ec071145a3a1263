// What the parts of one network device share: the control thread, the worker of the control queue
// and the workers of the other queues. Everything here changes rarely; the data path looks at one
// atomic number a turn.
#pragma once

#include <atomic>
#include <cstdint>
#include <mutex>
#include <optional>

#include "devices/device_counters.hpp"
#include "devices/net/frame_io.hpp"
#include "devices/net/net_protocol.hpp"
#include "devices/net/receive_filter.hpp"

namespace vmsg::net {

/// What the queues of one pair count; each of them has one writer at a time.
struct PairCounters {
  OperationCounters receive;
  Counter receive_filtered;  // not for this guest, by its own filter
  Counter receive_dropped;   // did not fit into the guest's buffers, or relied on what it cannot do
  OperationCounters transmit;
  Counter transmit_refused;  // the host did not take it
};

class NetState {
 public:
  /// `host` outlives the state.
  NetState(NetHost& host, const MacAddress& mac) : host_(host), factory_mac_(mac) { reset(); }

  /// The part that the receive queues need, copied when it has changed.
  struct ReceiveView {
    std::uint64_t version = 0;
    ReceiveFilter filter;
    FeatureSet offloads;
  };

  /// Brings `view` up to date. One atomic load when nothing has changed.
  void refresh(ReceiveView& view) const {
    if (version_.load(std::memory_order_acquire) == view.version) return;
    const std::lock_guard lock(mutex_);
    view.version = version_.load(std::memory_order_relaxed);
    view.filter = filter_;
    view.offloads = settings_.guest_offloads;
  }

  void reset();
  void features_negotiated(const FeatureSet& selection);
  template <typename Change>
  void change_filter(Change change) {
    const std::lock_guard lock(mutex_);
    change(filter_);
    changed();
  }

  // These return a number for has_followed().
  std::uint64_t set_active_pairs(std::uint32_t pairs);
  /// nullopt when that is no subset of what was negotiated, or relies on what is missing.
  std::optional<std::uint64_t> set_guest_offloads(const FeatureSet& wanted,
                                                  const FeatureSet& negotiated);
  [[nodiscard]] bool has_followed(std::uint64_t number) const { return host_.followed() >= number; }

  /// The driver has told the network where it is.
  void announced();
  /// True when the driver is to be told.
  [[nodiscard]] bool set_link(bool is_up);

  /// The receive queue of the first pair takes frames, or does not any more.
  void set_carrier(bool has_carrier);

  [[nodiscard]] NetConfig config(std::uint16_t pairs, std::uint16_t mtu) const;

 private:
  void changed() { version_.fetch_add(1, std::memory_order_release); }

  NetHost& host_;
  const MacAddress factory_mac_;
  mutable std::mutex mutex_;
  std::atomic<std::uint64_t> version_{1};
  ReceiveFilter filter_;  // its `own` is the device's address now
  HostSettings settings_;
  FeatureSet features_;  // negotiated
  bool is_link_up_ = true;
  bool must_announce_ = false;
};

}  // namespace vmsg::net
