// What a request costs from its bytes to the bytes of its answer: a whole device-side bus with one
// live device, without the ring. GET_CONFIG of 8 bytes, as drivers read a field; EVENT_AVAIL, as
// every kick that has no channel of its own.
#include <benchmark/benchmark.h>

#include <array>
#include <memory>

#include "tests/support/fake_device.hpp"
#include "transport/bus_endpoint.hpp"

namespace vmsg::test {
namespace {

class Discard final : public FrameSink {
 public:
  bool has_room(std::size_t) override { return true; }
  void send(std::span<const std::byte> frame) override { benchmark::DoNotOptimize(frame.data()); }
};

class NoQueues final : public QueueHost {
 public:
  [[nodiscard]] bool enable(const QueueSetup&) override { return true; }
  void go_live() override {}
  void kick(std::uint32_t index, std::uint32_t) override { benchmark::DoNotOptimize(index); }
  void stop() override {}
  [[nodiscard]] Release release(std::uint32_t) override { return Release::kDone; }
  [[nodiscard]] Release release_all() override { return Release::kDone; }
};

class NoHost final : public BusHost {
 public:
  [[nodiscard]] PortAnswer bind_queue_port(std::uint16_t, std::uint32_t, std::uint32_t) override {
    return PortAnswer::kLimit;
  }
  void unbind_queue_port(std::uint16_t, std::uint32_t) override {}
  [[nodiscard]] RegionAnswer share_region(std::uint32_t, GrantAddress, std::uint32_t) override {
    return RegionAnswer::kLimit;
  }
  [[nodiscard]] Release unshare_region(std::uint32_t) override { return Release::kDone; }
  void ejected(std::uint16_t, bool) override {}
};

class Bus {
 public:
  Bus() : bus_(BusEndpoint::create(host_, sink_, {})) {
    VMSG_INVARIANT(bus_->attach(kNumber, device_, queues_, {}, Instant{}).has_value());
    const std::array<Le32, 2> words{Le32(0), Le32(3)};
    deliver(SetDeviceStatusRequest{.status = 0x03});
    deliver(SetDriverFeaturesRequest{.block_index = 0,
                                     .words = FeatureWords(std::span<const Le32>(words))});
    deliver(SetDeviceStatusRequest{.status = 0x0b});
    deliver(SetVqueueRequest{.index = 0,
                             .flags = 1,
                             .size = 256,
                             .descriptor_addr = GrantAddress::of(1).raw(),
                             .driver_addr = GrantAddress::of(2).raw(),
                             .device_addr = GrantAddress::of(3).raw()});
    deliver(SetDeviceStatusRequest{.status = 0x0f});
    VMSG_INVARIANT(bus_->find(kNumber)->is_live());
  }

  template <typename Message>
  std::span<const std::byte> frame_of(const Message& message) {
    return *encode(std::span<std::byte>(buffer_), {.dev_num = kNumber, .token = 7}, message);
  }
  void deliver(std::span<const std::byte> frame) {
    benchmark::DoNotOptimize(bus_->on_frame(frame));
  }
  template <typename Message>
  void deliver(const Message& message) {
    deliver(frame_of(message));
  }

 private:
  static constexpr std::uint16_t kNumber = 5;
  std::array<std::byte, 264> buffer_{};
  NoHost host_;
  Discard sink_;
  FakeDevice device_;
  NoQueues queues_;
  std::unique_ptr<BusEndpoint> bus_;
};

void get_config(benchmark::State& state) {
  Bus bus;
  const auto frame = bus.frame_of(GetConfigRequest{.offset = 0, .length = 8});
  for (auto _ : state) bus.deliver(frame);
}
BENCHMARK(get_config);

void event_avail(benchmark::State& state) {
  Bus bus;
  const auto frame = bus.frame_of(EventAvail{.vq_index = 0, .next_offset = 0});
  for (auto _ : state) bus.deliver(frame);
}
BENCHMARK(event_avail);

}  // namespace
}  // namespace vmsg::test
