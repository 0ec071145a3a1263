// Every type of device under a guest that fills its queues with buffers of any shape and content,
// sets them up and resets them as it likes, while the host behind the device is slow, fails, sends
// and goes away. The rings are written as they should be: what can be done to a ring, and to the
// messages, is the business of the other targets.
//
// What must hold: nothing crashes or leaks, buffers come back as the driver side may expect them,
// and a queue that is abandoned lets go.
#include <fcntl.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "devices/blk/blk_device.hpp"
#include "devices/console/console_device.hpp"
#include "devices/net/net_device.hpp"
#include "devices/rng/rng_device.hpp"
#include "tests/devices/fake_net_host.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/memory_disk.hpp"
#include "tests/support/queue_pair.hpp"

namespace vmsg::fuzz {
namespace {

using test::FakeCopyBatch;
using test::FakeGuestMemory;
using test::RingOptions;
using test::TestDriver;

constexpr std::uint32_t kSize = 4;  // of the queues
constexpr std::uint32_t kMostQueues = 8;
// A queue's areas, and buffers of up to four segments of a page, with a table.
constexpr std::uint32_t kPages = 3 + kSize * 5;
constexpr Nanoseconds kMillisecond = 1'000'000;
constexpr GuestRef kGuest{};

void must(bool holds) {
  if (!holds) std::abort();
}

std::vector<std::byte> some_bytes(FuzzInput& script, std::size_t size) {
  std::vector<std::byte> bytes(size);
  const std::size_t told = std::min<std::size_t>(size, script.below(64));
  for (std::size_t i = 0; i < told; ++i) bytes[i] = std::byte{script.take<std::uint8_t>()};
  return bytes;
}

// ---- devices, and what stands behind them -------------------------------------------------------

class Subject {
 public:
  Subject() = default;
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  virtual ServedDevice& device() = 0;
  virtual void host_acts(FuzzInput& script) = 0;
  /// The host ends all that it is doing.
  virtual void host_ends() {}
};

class Entropy final : public Subject, rng::EntropySource {
 public:
  ServedDevice& device() override { return device_; }
  void host_acts(FuzzInput& script) override { is_dry_ = script.flag(); }

 private:
  std::size_t fill(std::span<std::byte> out) override {
    std::ranges::fill(out, std::byte{7});
    return is_dry_ ? 0 : out.size();
  }

  bool is_dry_ = false;
  rng::RngDevice device_{{.bytes_per_second = 1000}, *this};
};

class Disk final : public Subject {
 public:
  explicit Disk(bool is_slow)
      : disk_(new test::MemoryDisk(std::size_t{128} << 10)),
        device_({.serial = "fuzz",
                 .iops = is_slow ? 100U : 0U,
                 .queues = 2,
                 .queue_size = kSize,
                 .queue_memory = std::uint64_t{32} << 10},
                std::unique_ptr<blk::Disk>(disk_)) {}

  ServedDevice& device() override { return device_; }
  void host_acts(FuzzInput& script) override {
    switch (script.below(6)) {
      case 0:
        return disk_->hold();
      case 1:
        return disk_->fail_next(script.take<std::uint8_t>());
      case 2:
        return disk_->refuse(script.below(4));
      case 3:
        // Under requests that are with the disk already, which a MemoryDisk has done at once.
        disk_->resize(std::size_t{script.below(256)} << 10);
        static_cast<void>(device_.refresh());
        return device_.update_config();
      default:
        return disk_->release();
    }
  }
  void host_ends() override { disk_->release(); }

 private:
  test::MemoryDisk* disk_;  // the device's
  blk::BlkDevice device_;
};

class Network final : public Subject {
 public:
  Network() : host_(new net::FakeNetHost), device_(options(), kMac, own(host_)) {}

  ServedDevice& device() override { return device_; }
  void host_acts(FuzzInput& script) override {
    switch (script.below(7)) {
      case 0:
        host_->takes_frames = script.flag();
        return;
      case 1:
        host_->send_error = script.flag() ? 5 : 0;
        return;
      case 2:
        host_->follows = script.flag();
        return;
      case 3:
        host_->link = script.flag();
        if (host_->on_link) host_->on_link(host_->link);
        return device_.update_config();
      default:
        return arrive(script);
    }
  }

 private:
  static constexpr net::MacAddress kMac{{0x00, 0x16, 0x3e, 0, 0, 1}};

  static net::NetOptions options() {
    net::NetOptions options;
    options.queues = 2;
    options.bytes_per_second = 1'000'000;
    return options;
  }
  static std::unique_ptr<net::NetHost> own(net::FakeNetHost* host) {
    host->can_offload = net::all_offloads();
    return std::unique_ptr<net::NetHost>(host);
  }

  void arrive(FuzzInput& script) {
    if (host_->incoming.size() > 16) return;
    net::NetHeader header;
    const auto bytes = some_bytes(script, sizeof(header));
    if (script.flag()) std::memcpy(&header, bytes.data(), sizeof(header));
    // An Ethernet frame at the least, and the largest that segmentation offload makes at the most.
    auto frame = some_bytes(script, 14 + script.below(script.flag() ? 2000 : 65536 - 14));
    if (script.flag()) std::ranges::copy(std::as_bytes(std::span(kMac.bytes)), frame.begin());
    host_->arrive(std::move(frame), header);
  }

  net::FakeNetHost* host_;  // the device's
  net::NetDevice device_;
};

class Console final : public Subject {
 public:
  Console() : device_(std::move(console::ConsoleDevice::create(options()).value())) {}

  ServedDevice& device() override { return *device_; }
  void host_acts(FuzzInput& script) override {
    std::array<char, 4096> buffer{};
    switch (script.below(5)) {
      case 0:
        terminal_ = script.flag() ? open_terminal() : FileDescriptor();
        return;
      case 1: {
        const winsize window{.ws_row = script.take<std::uint16_t>(),
                             .ws_col = script.take<std::uint16_t>(),
                             .ws_xpixel = 0,
                             .ws_ypixel = 0};
        if (terminal_.is_open()) ioctl(terminal_.get(), TIOCSWINSZ, &window);
        return;
      }
      case 2:
        if (terminal_.is_open()) {
          static_cast<void>(read(terminal_.get(), buffer.data(), buffer.size()) == 0);
        }
        return;
      default:
        if (!terminal_.is_open()) return;
        const auto bytes = some_bytes(script, 1 + script.below(300));
        static_cast<void>(write(terminal_.get(), bytes.data(), bytes.size()) == 0);
    }
  }

 private:
  static console::ConsoleOptions options() {
    console::ConsoleOptions options;
    options.ports.resize(2);
    options.ports[0].is_console = true;
    options.ports[1].name = "org.example.agent";
    options.backlog = 4096;
    return options;
  }
  FileDescriptor open_terminal() const {
    for (const auto& [name, value] : device_->published()) {
      if (name == "tty") {
        return FileDescriptor(open(value.c_str(), O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC));
      }
    }
    std::abort();
  }

  std::unique_ptr<console::ConsoleDevice> device_;
  FileDescriptor terminal_;
};

std::unique_ptr<Subject> choose(FuzzInput& script) {
  switch (script.below(5)) {
    case 0:
      return std::make_unique<Entropy>();
    case 1:
      return std::make_unique<Disk>(script.flag());
    case 2:
      return std::make_unique<Console>();
    default:
      return std::make_unique<Network>();
  }
}

// ---- the guest ----------------------------------------------------------------------------------

/// One queue, both sides of it.
class Queue final : public QueueWaker {
 public:
  static std::unique_ptr<Queue> open(ServedDevice& device, std::uint32_t index,
                                     const FeatureSet& selection, const RingOptions& ring,
                                     IoRing& io) {
    std::unique_ptr<Queue> queue(new Queue(device.queue_limits(index), ring));
    QueueSetup setup;
    setup.index = index;
    setup.size = ring.size;
    setup.features = selection;
    queue->service_ = device.open_queue({setup, io, *queue});
    return queue->service_ == nullptr ? nullptr : std::move(queue);
  }
  ~Queue() override { must(!service_->has_work_in_flight()); }

  void wake() override {}

  void publish(FuzzInput& script) {
    static constexpr std::array<std::uint16_t, 16> kSizes{1,  2,  8,   9,   12,   16,   20,   24,
                                                          60, 64, 512, 513, 1514, 1526, 2048, 4096};
    const std::uint32_t readable = script.below(4);
    const std::uint32_t writable =
        script.below(readable == 0 ? 3 : 5 - readable) + (readable == 0 ? 1 : 0);
    if (driver_.queue().free_descriptors() < readable + writable) return;
    auto chain = driver_.chain();
    for (std::uint32_t i = 0; i < readable; ++i) {
      std::move(chain).readable(some_bytes(script, kSizes[script.below(kSizes.size())]));
    }
    for (std::uint32_t i = 0; i < writable; ++i) {
      std::move(chain).writable(kSizes[script.below(kSizes.size())]);
    }
    if (driver_.options().indirect && script.flag()) std::move(chain).indirect();
    const std::uint64_t request = std::move(chain).add();
    static_cast<void>(driver_.queue().publish());
    if (script.below(16) != 1) return;
    // The guest takes back what it has only just given.
    for (const auto* segments : {&driver_.readable_of(request), &driver_.writable_of(request)}) {
      if (segments->empty() || script.flag()) continue;
      memory_.revoke(segments->back().address, segments->back().length);
    }
  }

  void turn(IoRing& io, Nanoseconds now) {
    if (is_stopped_) return;
    is_stopped_ = true;  // unless it gets to the end
    device_->disable_notifications();
    const auto taken = device_->take_heads(fetch_, kGuest, service_->room());
    fetch_.run();
    if (!taken) return;
    const auto chains = device_->finish_take();
    if (!chains) return;
    service_->take(*chains, kGuest, fetch_, now);
    fetch_.run();
    if (service_->start(now)) return;
    io.submit_and_wait(0);
    io.reap(64);
    service_->deliver(kGuest, give_);
    give_.run();
    const auto fault = service_->retire(*device_, now);
    static_cast<void>(device_->publish());
    static_cast<void>(device_->enable_notifications());
    static_cast<void>(service_->wants_turn_at());
    for (const TestDriver::Used& used : driver_.poll_all()) must(used.written <= used.data.size());
    is_stopped_ = fault.has_value();
  }

  void abandon() {
    device_->abandon();
    service_->abandon();
  }
  [[nodiscard]] bool is_in_use() const { return service_->has_work_in_flight(); }

 private:
  Queue(const QueueLimits& limits, const RingOptions& ring)
      : driver_(memory_, ring),
        areas_(memory_, ring.format, ring.size, driver_.addresses()),
        device_(std::move(
            DeviceQueue::create({.format = ring.format,
                                 .size = ring.size,
                                 .areas = areas_.areas(),
                                 .event_idx = ring.event_idx,
                                 .indirect = ring.indirect,
                                 .in_order = ring.in_order,
                                 .max_chain_segments = limits.max_chain_segments,
                                 .max_in_flight = std::min(limits.max_in_flight, ring.size)})
                .value())) {}

  FakeGuestMemory memory_{{.first_reference = 8, .pages = kPages}};
  TestDriver driver_;
  test::MappedAreas areas_;
  std::unique_ptr<DeviceQueue> device_;
  FakeCopyBatch fetch_{CopyDirection::kFromGuest, memory_};
  FakeCopyBatch give_{CopyDirection::kToGuest, memory_};
  std::unique_ptr<QueueService> service_;
  bool is_stopped_ = false;
};

class Guest final : public DeviceHost {
 public:
  Guest(Subject& subject, IoRing& io) : subject_(subject), device_(subject.device()), io_(io) {
    device_.set_host(*this);
  }
  ~Guest() override { unserve(); }

  void run(FuzzInput& script) {
    negotiate(script);
    while (!script.is_empty()) act(script);
  }

 private:
  void config_changed() override {}

  void act(FuzzInput& script) {
    switch (script.below(12)) {
      case 0:
        subject_.host_acts(script);
        return;
      case 1:
        return configure(script);
      case 2:
        unserve();
        device_.reset();
        return negotiate(script);
      case 3:
        return reset_queue(script);
      case 4:
      case 5:
      case 6:
        now_ += script.below(200) * kMillisecond;
        for (auto& [index, queue] : queues_) queue->turn(io_, now_);
        return;
      default:
        if (queues_.empty()) return;
        return std::next(queues_.begin(), script.below(static_cast<std::uint32_t>(queues_.size())))
            ->second->publish(script);
    }
  }

  void negotiate(FuzzInput& script) {
    FeatureSet mask;
    mask.set_word(0, script.flag() ? ~0U : script.take<std::uint32_t>());
    mask.set_word(1, script.flag() ? ~0U : script.take<std::uint32_t>());
    selection_ = device_.device_features() & mask;
    if (!device_.accepts(selection_)) selection_ = device_.device_features();
    device_.features_negotiated(selection_);
    const std::uint32_t how = script.below(16);
    ring_ = {.format = (how & 1U) != 0 ? QueueFormat::kPacked : QueueFormat::kSplit,
             .size = kSize,
             .event_idx = (how & 2U) != 0,
             .indirect = (how & 4U) != 0,
             .in_order = (how & 8U) != 0};
    for (std::uint32_t index = 0; index < kMostQueues; ++index) serve(index);
  }

  void serve(std::uint32_t index) {
    if (device_.max_queue_size(index) == 0 || !device_.has_queue(index, selection_)) return;
    auto queue = Queue::open(device_, index, selection_, ring_, io_);
    if (queue != nullptr) queues_[index] = std::move(queue);
  }

  void configure(FuzzInput& script) {
    const std::uint32_t size = device_.identity().config_size;
    if (size == 0) return;
    std::vector<std::byte> bytes(1 + script.below(std::min(size, 8U)));
    const std::uint32_t offset = script.below(size - static_cast<std::uint32_t>(bytes.size()) + 1);
    device_.read_config(offset, bytes);
    for (std::byte& byte : bytes) byte ^= std::byte{script.take<std::uint8_t>()};
    static_cast<void>(device_.write_config(offset, bytes));
  }

  void reset_queue(FuzzInput& script) {
    const std::uint32_t index = script.below(kMostQueues);
    const auto found = queues_.find(index);
    if (found == queues_.end()) return serve(index);
    found->second->abandon();
    let_go(*found->second);
    queues_.erase(found);
  }

  void unserve() {
    for (auto& [index, queue] : queues_) queue->abandon();
    for (auto& [index, queue] : queues_) let_go(*queue);
    queues_.clear();
  }

  void let_go(const Queue& queue) {
    subject_.host_ends();
    for (int i = 0; i < 200 && queue.is_in_use(); ++i) {
      io_.submit_and_wait(10 * kMillisecond);
      io_.reap(64);
    }
    must(!queue.is_in_use());
  }

  Subject& subject_;
  ServedDevice& device_;
  IoRing& io_;
  FeatureSet selection_;
  RingOptions ring_;
  std::map<std::uint32_t, std::unique_ptr<Queue>> queues_;
  Nanoseconds now_ = 1'000 * kMillisecond;
};

}  // namespace
}  // namespace vmsg::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmsg::fuzz;  // NOLINT(google-build-using-namespace): the entry point is outside
  static const std::unique_ptr<vmsg::IoRing> io = *vmsg::IoRing::create(64);
  FuzzInput script(data, size);
  const std::unique_ptr<Subject> subject = choose(script);
  Guest guest(*subject, *io);
  guest.run(script);
  return 0;
}
