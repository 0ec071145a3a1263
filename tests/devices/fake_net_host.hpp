// A host side that a test plays by hand: frames that it has, frames that it gets.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/net/frame_io.hpp"
#include "devices/net/net_protocol.hpp"

namespace vmsg::net {

/// All that a host side may offer.
inline FeatureSet all_offloads() {
  FeatureSet all;
  for (const NetFeature feature :
       {NetFeature::kCsum, NetFeature::kGuestCsum, NetFeature::kGuestTso4, NetFeature::kGuestTso6,
        NetFeature::kGuestEcn, NetFeature::kGuestUso4, NetFeature::kGuestUso6,
        NetFeature::kHostTso4, NetFeature::kHostTso6, NetFeature::kHostEcn, NetFeature::kHostUso}) {
    add(all, feature);
  }
  return all;
}

class FakeNetHost : public NetHost {
 public:
  // The test's side.
  FeatureSet can_offload;
  std::deque<std::vector<std::byte>> incoming;  // header included
  std::vector<std::vector<std::byte>> sent;     // header included
  std::size_t most_requested = 0;               // at a time
  bool takes_frames = true;                     // else they stay under way
  int send_error = 0;
  std::vector<HostSettings> applied;
  bool follows = true;
  bool link = true;
  std::function<void(bool)> on_link;

  void arrive(std::vector<std::byte> frame, const NetHeader& header = {}) {
    std::vector<std::byte> all(kHeaderSize);
    std::memcpy(all.data(), &header, sizeof(header));
    all.insert(all.end(), frame.begin(), frame.end());
    incoming.push_back(std::move(all));
  }

  // NetHost
  FeatureSet offloads() const override { return can_offload; }
  std::uint16_t mtu() const override { return 1500; }
  std::vector<std::pair<std::string, std::string>> published() const override {
    return {{"tap", "fake0"}};
  }
  bool has_one_worker() const override { return false; }
  std::uint64_t apply(const HostSettings& settings) override {
    applied.push_back(settings);
    return applied.size();
  }
  std::uint64_t followed() const override { return follows ? applied.size() : 0; }
  bool is_link_up() override { return link; }
  void set_link_listener(std::function<void(bool)> listener) override {
    on_link = std::move(listener);
  }

  std::unique_ptr<FrameReceiver> open_receiver(std::uint32_t, IoRing&, FrameListener&) override {
    return std::make_unique<Receiver>(*this);
  }
  std::unique_ptr<FrameTransmitter> open_transmitter(std::uint32_t, IoRing&, FrameListener&,
                                                     std::size_t capacity) override {
    return std::make_unique<Transmitter>(*this, capacity);
  }

 private:
  class Receiver final : public FrameReceiver {
   public:
    explicit Receiver(FakeNetHost& host) : host_(host) {}
    void request(std::size_t frames) override {
      host_.most_requested = std::max(host_.most_requested, frames);
      for (; frames > 0 && !host_.incoming.empty(); --frames) {
        received_.push_back(std::move(host_.incoming.front()));
        host_.incoming.pop_front();
      }
    }
    bool is_idle() const override { return false; }
    bool has_failed() const override { return false; }
    std::size_t received() const override { return received_.size(); }
    std::span<std::byte> frame(std::size_t index) override { return received_[index]; }
    void release(std::size_t count) override {
      received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(count));
    }
    bool has_work_in_flight() const override { return false; }
    void stop() override {}

   private:
    FakeNetHost& host_;
    std::deque<std::vector<std::byte>> received_;
  };

  class Transmitter final : public FrameTransmitter {
   public:
    Transmitter(FakeNetHost& host, std::size_t capacity) : host_(host), results_(capacity) {}
    bool send(std::size_t slot, std::span<std::byte> bytes) override {
      results_[slot] = host_.takes_frames ? std::optional(host_.send_error) : std::nullopt;
      if (host_.send_error == 0) host_.sent.emplace_back(bytes.begin(), bytes.end());
      return true;
    }
    void flush() override {}
    std::optional<int> result(std::size_t slot) const override { return results_[slot]; }
    bool has_work_in_flight() const override { return false; }
    void stop() override {}

   private:
    FakeNetHost& host_;
    std::vector<std::optional<int>> results_;
  };
};

}  // namespace vmsg::net
