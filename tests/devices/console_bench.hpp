// A console device with a driver on the other side of each queue, turned by hand as a worker does
// it: queues get a turn when they are kicked, when they asked for one, and when the time comes. The
// host's side is real: terminals, sockets, files, an io_uring.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "devices/console/console_device.hpp"
#include "devices/console/console_wire.hpp"
#include "devices/file_descriptor.hpp"
#include "tests/support/queue_pair.hpp"

namespace vmsg::console::test {

using vmsg::test::QueuePair;
using vmsg::test::RingOptions;
using vmsg::test::TestDriver;

class ConsoleBench {
 public:
  explicit ConsoleBench(const DeviceParameters& parameters, const RingOptions& ring = {});
  ~ConsoleBench();
  ConsoleBench(const ConsoleBench&) = delete;
  ConsoleBench& operator=(const ConsoleBench&) = delete;

  [[nodiscard]] ConsoleDevice& device() { return *device_; }
  [[nodiscard]] std::string fact(const std::string& name) const;
  [[nodiscard]] std::uint64_t number(const std::string& name) const;

  /// FEATURES_OK with everything that is offered, or without single ports.
  void negotiate(bool is_multiport = true);
  /// The queue is enabled and live.
  void serve(std::uint32_t index);
  /// All queues go, as in a reset. False if the services never let go.
  [[nodiscard]] bool unserve();

  [[nodiscard]] TestDriver& driver(std::uint32_t index) { return served_.at(index)->pair.driver; }
  [[nodiscard]] QueuePair& pair(std::uint32_t index) { return served_.at(index)->pair; }
  void kick(std::uint32_t index) { served_.at(index)->wake(); }

  /// Publishes a buffer with these bytes on a transmitq and kicks.
  void send(std::uint32_t index, std::span<const std::byte> bytes);
  void send(std::uint32_t index, const std::string& text);
  void send_control(std::uint32_t id, std::uint16_t event, std::uint16_t value);
  /// Publishes a buffer for input and kicks.
  void offer(std::uint32_t index, std::size_t bytes);
  /// Collects what was used on a receiveq.
  std::string received(std::uint32_t index);
  /// The control messages that the driver has got.
  struct Told {
    std::uint32_t id;
    std::uint16_t event;
    std::uint16_t value;
    std::string rest;
    friend bool operator==(const Told&, const Told&) = default;
  };
  std::vector<Told> told();

  /// Turns until `is_done`, waiting for the host in between. False when nothing happens any more.
  [[nodiscard]] bool run_until(const std::function<bool()>& is_done);
  /// Turns until nobody wants one.
  void settle();
  void advance(Nanoseconds time) { now_ += time; }
  [[nodiscard]] std::optional<ServiceFault> fault() const { return fault_; }

  int config_changes = 0;

 private:
  struct Served final : QueueWaker {
    Served(const RingOptions& ring, std::uint32_t number) : index(number), pair(ring) {}
    void wake() override { is_ready = true; }
    std::uint32_t index;
    QueuePair pair;
    std::unique_ptr<QueueService> service;
    bool is_ready = true;
  };
  struct Host final : DeviceHost {
    explicit Host(ConsoleBench& owner) : bench(owner) {}
    void config_changed() override {
      bench.device_->update_config();
      ++bench.config_changes;
    }
    ConsoleBench& bench;
  };

  bool turn();

  RingOptions ring_;
  Host host_{*this};
  std::unique_ptr<IoRing> io_;
  std::unique_ptr<ConsoleDevice> device_;
  FeatureSet selection_;
  std::map<std::uint32_t, std::unique_ptr<Served>> served_;
  std::optional<ServiceFault> fault_;
  Nanoseconds now_ = kSecond;
};

[[nodiscard]] FileDescriptor open_terminal(const std::string& path);
[[nodiscard]] FileDescriptor connect_to(const std::string& path);
/// Whatever can be read at once is added to `text`; false at the end or on an error.
bool read_some(const FileDescriptor& from, std::string& text);
[[nodiscard]] std::string contents(const std::string& path);
/// Text that is long and easy to check: every byte depends on its place.
[[nodiscard]] std::string pattern(std::size_t size);

}  // namespace vmsg::console::test
