// The host side of a network device that is a TAP interface: made, put into a bridge or handed to a
// script, and told what the guest chose.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>

#include "devices/background_thread.hpp"
#include "devices/net/frame_io.hpp"
#include "devices/net/net_options.hpp"
#include "devices/net/network_script.hpp"
#include "devices/net/tap_interface.hpp"
#include "transport/result.hpp"

namespace vmsg::net {

class TapHost final : public NetHost {
 public:
  /// Makes the interface and attaches it. `name`: what the interface is called unless the options
  /// say. `background` and `scripts` outlive it; without scripts there are none to be had.
  static Result<std::unique_ptr<NetHost>, std::string> open(const NetOptions& options,
                                                            const std::string& name,
                                                            BackgroundThread& background,
                                                            NetworkScripts* scripts);
  ~TapHost() override;

  FeatureSet offloads() const override { return offloads_; }
  std::uint16_t mtu() const override { return mtu_; }
  std::vector<std::pair<std::string, std::string>> published() const override {
    return {{"tap", tap_.name()}};
  }
  bool has_one_worker() const override { return false; }
  std::uint64_t apply(const HostSettings& settings) override;
  std::uint64_t followed() const override { return followed_.load(std::memory_order_acquire); }
  bool is_link_up() override;
  /// An interface that is taken down is noticed when somebody asks.
  void set_link_listener(std::function<void(bool)>) override {}
  std::unique_ptr<FrameReceiver> open_receiver(std::uint32_t pair, IoRing& io,
                                               FrameListener& listener) override;
  std::unique_ptr<FrameTransmitter> open_transmitter(std::uint32_t pair, IoRing& io,
                                                     FrameListener& listener,
                                                     std::size_t capacity) override;

 private:
  TapHost(const NetOptions& options, TapInterface tap, BackgroundThread& background,
          NetworkScripts* scripts, std::uint16_t mtu);

  const NetOptions options_;
  TapInterface tap_;  // its settings are the background thread's
  BackgroundThread& background_;
  NetworkScripts* scripts_;
  FeatureSet offloads_;
  std::uint16_t mtu_;

  std::mutex mutex_;
  HostSettings wanted_;
  std::uint64_t number_ = 0;  // of what is wanted
  std::atomic<std::uint64_t> followed_{0};
  bool is_waiting_ = false;  // a task will apply what is wanted
};

}  // namespace vmsg::net
