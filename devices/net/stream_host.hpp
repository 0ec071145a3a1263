// The host side of a network device that is a unix socket: passt, or whatever else speaks frames
// with a length before each. Needs no privileges.
#pragma once

#include <memory>
#include <string>

#include "devices/net/frame_io.hpp"
#include "devices/net/net_options.hpp"
#include "devices/net/stream_frames.hpp"
#include "transport/result.hpp"

namespace vmsg::net {

class StreamHost final : public NetHost {
 public:
  /// Connects; the other side may go and come back later.
  static Result<std::unique_ptr<NetHost>, std::string> open(const NetOptions& options);

  FeatureSet offloads() const override { return {}; }
  std::uint16_t mtu() const override { return mtu_; }
  std::vector<std::pair<std::string, std::string>> published() const override {
    return {{"socket", path_}};
  }
  bool has_one_worker() const override { return true; }
  std::uint64_t apply(const HostSettings&) override { return 0; }
  std::uint64_t followed() const override { return 0; }
  bool is_link_up() override { return connection_.is_connected(); }
  void set_link_listener(std::function<void(bool)> on_change) override {
    connection_.set_listener(std::move(on_change));
  }
  std::unique_ptr<FrameReceiver> open_receiver(std::uint32_t pair, IoRing& io,
                                               FrameListener& listener) override;
  std::unique_ptr<FrameTransmitter> open_transmitter(std::uint32_t pair, IoRing& io,
                                                     FrameListener& listener,
                                                     std::size_t capacity) override;

 private:
  StreamHost(std::string path, std::uint16_t mtu)
      : path_(std::move(path)), mtu_(mtu), connection_(path_) {}

  const std::string path_;
  const std::uint16_t mtu_;
  StreamConnection connection_;
};

}  // namespace vmsg::net
