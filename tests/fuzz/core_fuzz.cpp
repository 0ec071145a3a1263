// The core of the daemon under a guest that does anything: ring, bus endpoint, device endpoints,
// queues, and the services of real devices over a disk in memory and numbers for entropy. One
// thread plays the control thread and a worker in turn; the input is a script of what the guest
// does.
//
// What must hold: nothing crashes or leaks; when a reset was answered nothing of that device's is
// mapped; what is not granted for writing never changes.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <map>
#include <memory>
#include <vector>

#include "devices/blk/blk_device.hpp"
#include "devices/rng/rng_device.hpp"
#include "tests/fuzz/any_frame.hpp"
#include "tests/fuzz/fuzz_input.hpp"
#include "tests/support/fake_guest_memory.hpp"
#include "tests/support/memory_disk.hpp"
#include "transport/bus_endpoint.hpp"
#include "transport/device_endpoint.hpp"
#include "transport/device_status.hpp"
#include "transport/ring.hpp"

namespace vmsg::fuzz {
namespace {

using test::FakeCopyBatch;
using test::FakeGuestMemory;
using test::PageGrant;

constexpr std::uint32_t kSize = 8;  // of the queues that the script sets up
constexpr std::uint32_t kPages = 48;
constexpr std::uint32_t kFirst = 8;          // reference of the first page
constexpr std::uint32_t kReadOnlyPage = 40;  // granted for reading, never for writing
constexpr GuestRef kGuest{};

void must(bool holds) {
  if (!holds) std::abort();
}

class CountedEntropy final : public rng::EntropySource {
 public:
  std::size_t fill(std::span<std::byte> out) override {
    std::ranges::fill(out, std::byte{++count_});
    return out.size();
  }

 private:
  std::uint8_t count_ = 0;
};

/// As the daemon's: maps the areas with the least rights, serves in turns, takes back.
class CoreQueues final : public QueueHost, public QueueWaker {
 public:
  CoreQueues(ServedDevice& device, FakeGuestMemory& memory, IoRing& io)
      : device_(device), memory_(memory), io_(io) {}
  ~CoreQueues() override { give_back(); }

  bool enable(const QueueSetup& setup) override {
    const QueueFormat format =
        setup.features.has(RingFeature::kRingPacked) ? QueueFormat::kPacked : QueueFormat::kSplit;
    const AreaNumbers sizes = area_sizes(format, setup.size);
    Served served;
    const std::array<std::uint64_t, 3> addresses{setup.descriptor_address, setup.driver_address,
                                                 setup.device_address};
    const std::array<std::uint64_t, 3> bytes{sizes.descriptors, sizes.driver, sizes.device};
    for (std::size_t i = 0; i < 3; ++i) {
      const auto address = GrantAddress::parse(addresses[i]);
      if (!address || !address->holds(bytes[i])) return false;
      const bool is_written = i == 2 || (i == 0 && format == QueueFormat::kPacked);
      auto range =
          memory_.map(*address, bytes[i], is_written ? Access::kReadWrite : Access::kReadOnly);
      if (!range) return false;
      served.areas[i] = std::move(*range);
    }
    const QueueLimits limits = device_.queue_limits(setup.index);
    auto ring = DeviceQueue::create(
        {.format = format,
         .size = setup.size,
         .areas = {served.areas[0]->bytes(), served.areas[1]->bytes(), served.areas[2]->bytes()},
         .event_idx = setup.features.has(RingFeature::kEventIdx),
         .indirect = setup.features.has(RingFeature::kIndirectDesc),
         .in_order = setup.features.has(RingFeature::kInOrder),
         .max_chain_segments = limits.max_chain_segments,
         .max_in_flight = std::min(limits.max_in_flight, setup.size)});
    if (!ring) return false;
    served.queue = std::move(*ring);
    served.service = device_.open_queue({setup, io_, *this});
    if (served.service == nullptr) return false;
    queues_[setup.index] = std::move(served);
    return true;
  }
  void go_live() override { is_live_ = true; }
  void kick(std::uint32_t, std::uint32_t) override {}
  void stop() override { is_live_ = false; }
  Release release(std::uint32_t index) override {
    if (const auto found = queues_.find(index); found != queues_.end()) {
      leaving_.push_back(std::move(found->second));
      queues_.erase(found);
      abandon(leaving_.back());
    }
    return leave();
  }
  Release release_all() override {
    is_live_ = false;
    for (auto& [index, served] : queues_) {
      leaving_.push_back(std::move(served));
      abandon(leaving_.back());
    }
    queues_.clear();
    return leave();
  }
  void wake() override {}

  /// Whether what release() left pending is done now.
  bool leave_now() {
    if (!is_waiting_ || leave() == Release::kPending) return false;
    is_waiting_ = false;
    return true;
  }
  void give_back() {
    static_cast<void>(release_all());
    must(leaving_.empty() || !std::ranges::all_of(leaving_, [](const Served& served) {
           return !served.service->has_work_in_flight();
         }));
  }
  [[nodiscard]] bool is_empty() const { return queues_.empty() && leaving_.empty(); }

  /// One turn of a worker. True when a queue cannot go on.
  bool turn(CopyBatch& fetch, CopyBatch& give, Nanoseconds now) {
    if (!is_live_) return false;
    bool is_broken = false;
    for (auto& [index, served] : queues_) is_broken |= turn(served, fetch, give, now);
    return is_broken;
  }

 private:
  struct Served {
    std::array<std::unique_ptr<MappedRange>, 3> areas;
    std::unique_ptr<DeviceQueue> queue;
    std::unique_ptr<QueueService> service;
    bool is_stopped = false;
  };

  static void abandon(Served& served) {
    served.queue->abandon();
    served.service->abandon();
  }
  Release leave() {
    std::erase_if(leaving_,
                  [](const Served& served) { return !served.service->has_work_in_flight(); });
    if (leaving_.empty()) return Release::kDone;
    is_waiting_ = true;
    return Release::kPending;
  }
  static bool turn(Served& served, CopyBatch& fetch, CopyBatch& give, Nanoseconds now) {
    if (served.is_stopped) return false;
    served.is_stopped = true;  // unless it gets to the end
    served.queue->disable_notifications();
    const auto taken = served.queue->take_heads(fetch, kGuest, served.service->room());
    fetch.run();
    if (!taken) return true;
    const auto chains = served.queue->finish_take();
    if (!chains) return true;
    served.service->take(*chains, kGuest, fetch, now);
    fetch.run();
    if (served.service->start(now)) return true;
    served.service->deliver(kGuest, give);
    give.run();
    const auto fault = served.service->retire(*served.queue, now);
    static_cast<void>(served.queue->publish());
    static_cast<void>(served.queue->enable_notifications());
    if (fault) return true;
    served.is_stopped = false;
    return false;
  }

  ServedDevice& device_;
  FakeGuestMemory& memory_;
  IoRing& io_;
  bool is_live_ = false;
  bool is_waiting_ = false;
  std::map<std::uint32_t, Served> queues_;
  std::vector<Served> leaving_;
};

class Core final : public BusHost, public FrameSink {
 public:
  explicit Core(IoRing& io)
      : memory_({.first_reference = kFirst, .pages = kPages}),
        fetch_(CopyDirection::kFromGuest, memory_),
        give_(CopyDirection::kToGuest, memory_),
        layout_(*RingLayout::create(0, kRecommendedMaxMessageSize)),
        pages_(memory_.allocate(std::size_t{kPages} * kGrantPageSize)),
        disk_(new test::MemoryDisk(std::size_t{64} << 10)),
        rng_({}, entropy_),
        blk_({.queues = 1, .queue_size = kSize, .queue_memory = std::uint64_t{256} << 10},
             std::unique_ptr<blk::Disk>(disk_)),
        queues_{CoreQueues(rng_, memory_, io), CoreQueues(blk_, memory_, io)},
        in_(*RingProducer::attach(RingSide::kDevice, ring(), layout_)),
        out_(*RingConsumer::attach(RingSide::kDevice, ring(), layout_)),
        endpoint_(BusEndpoint::create(*this, *this, {.queue_event_channels = true})) {
    memory_.set_grant(kFirst + kReadOnlyPage, PageGrant::kReadOnly);
    attach(0);
    attach(1);
  }

  ~Core() override {
    disk_->release();
    for (std::uint16_t number = 0; number < 2; ++number) endpoint_->detach(number, Instant{});
    for (CoreQueues& queues : queues_) queues.give_back();
    must(memory_.mappings() == 0);
    const auto page = memory_.bytes(page_address(kReadOnlyPage), kGrantPageSize);
    must(std::ranges::all_of(page, [](std::byte byte) { return byte == std::byte{0}; }));
  }

  void run(FuzzInput& script) {
    fetch_.before_run([&] {
      // Between the check of a descriptor and the copy of what it points at.
      if (script.flag()) write_word(script);
    });
    while (!script.is_empty() && !is_closed_) act(script);
    fetch_.before_run({});
  }

  // FrameSink
  bool has_room(std::size_t bytes) override {
    const auto room = in_.has_room(ring_space(static_cast<std::uint32_t>(bytes)));
    if (!room) is_closed_ = true;
    return room.value_or(false);
  }
  void send(std::span<const std::byte> frame) override {
    const auto pushed = in_.push(frame);
    if (!pushed) is_closed_ = true;
    observe(frame);
  }

  // BusHost
  PortAnswer bind_queue_port(std::uint16_t, std::uint32_t, std::uint32_t port) override {
    return port % 2 == 0 ? PortAnswer::kBound : PortAnswer::kNotBound;
  }
  void unbind_queue_port(std::uint16_t, std::uint32_t) override {}
  RegionAnswer share_region(std::uint32_t, GrantAddress, std::uint32_t) override {
    return RegionAnswer::kLimit;
  }
  Release unshare_region(std::uint32_t) override { return Release::kDone; }
  void ejected(std::uint16_t, bool) override {}

 private:
  static GrantAddress page_address(std::uint32_t page) { return GrantAddress::of(kFirst + page); }
  RingMemory ring() {
    return {memory_.shared(page_address(0), kGrantPageSize),
            memory_.shared(page_address(1), kGrantPageSize)};
  }
  /// Three pages of areas for each device's queue, then pages of buffers.
  static std::uint32_t area(std::uint32_t device, std::uint32_t which) {
    return 2 + device * 3 + which;
  }
  ServedDevice& device(std::uint16_t number) {
    if (number == 0) return rng_;
    return blk_;
  }

  void attach(std::uint16_t number) {
    FeatureSet features;
    for (const RingFeature bit :
         {RingFeature::kIndirectDesc, RingFeature::kEventIdx, RingFeature::kRingPacked,
          RingFeature::kInOrder, RingFeature::kRingReset}) {
      features.set(bit);
    }
    now_ += std::chrono::seconds(20);  // past the time that a number rests
    if (!queues_[number].is_empty()) return;
    static_cast<void>(endpoint_->attach(number, device(number), queues_[number],
                                        {.ring_features = features}, now_));
  }

  /// A reset that is answered with status 0 says that everything was given back.
  void observe(std::span<const std::byte> bytes) {
    const auto frame = parse_frame(bytes, kRecommendedMaxMessageSize);
    must(frame.has_value());
    if (frame->header.is_bus() || frame->header.msg_id != VIRTIO_MSG_SET_DEVICE_STATUS) return;
    const bool is_zero =
        std::ranges::all_of(frame->payload, [](std::byte b) { return b == std::byte{0}; });
    if (is_zero) must(queues_[frame->header.dev_num].is_empty());
  }

  void act(FuzzInput& script) {
    switch (script.below(14)) {
      case 0:
        return send_anything(script);
      case 1:
        return write_word(script);
      case 2:
        return bring_up(script);
      case 3:
        return set_up(script);
      case 4:
      case 5:
        return buffer(script);
      case 6:
      case 7:
        return workers(script);
      case 8:
        return control();
      case 9:
        // The guest takes answers, rightly.
        memory_.shared(page_address(0), kGrantPageSize)
            .store_release32(VMSG_XEN_IF_IN_CONS, memory_.shared(page_address(0), kGrantPageSize)
                                                      .load_acquire32(VMSG_XEN_IF_IN_PROD));
        return;
      case 10:
        memory_.set_grant(kFirst + 8 + script.below(30), static_cast<PageGrant>(script.below(3)));
        return;
      case 11:
        if (script.flag()) disk_->hold();
        if (script.flag()) disk_->fail_next(5);
        if (script.flag()) disk_->refuse(script.below(4));
        return disk_->release();
      case 12: {
        const auto number = static_cast<std::uint16_t>(script.below(2));
        if (!endpoint_->detach(number, now_)) return attach(number);
        static_cast<void>(queues_[number].release_all());
        return;
      }
      default:
        return status(static_cast<std::uint16_t>(script.below(2)), script.take<std::uint8_t>());
    }
  }

  /// A frame of the guest's, by the ring.
  void put(std::span<const std::byte> frame) {
    const SharedBytes page = memory_.shared(page_address(0), kGrantPageSize);
    const SharedBytes out =
        memory_.shared(page_address(1), kGrantPageSize).sub(layout_.size(), layout_.size());
    for (std::size_t i = 0; i < frame.size(); ++i) {
      out.store((out_prod_ + i) % layout_.size(), frame[i]);
    }
    out_prod_ += ring_space(static_cast<std::uint32_t>(frame.size()));
    page.store_release32(VMSG_XEN_IF_OUT_PROD, out_prod_);
    control();
  }
  template <typename Message>
  void ask(std::uint16_t number, const Message& message) {
    std::array<std::byte, kRecommendedMaxMessageSize> bytes{};
    const auto frame = encode(std::span<std::byte>(bytes), {number, ++token_}, message);
    if (frame) put(*frame);
  }
  void status(std::uint16_t number, std::uint32_t value) {
    ask(number, SetDeviceStatusRequest{.status = value});
  }

  void send_anything(FuzzInput& script) { put(any_frame(script, std::byte{1})); }

  void bring_up(FuzzInput& script) {
    const auto number = static_cast<std::uint16_t>(script.below(2));
    status(number, 0);
    status(number, 1);
    status(number, 3);
    const FeatureSet offered = device(number).device_features();
    const std::array<Le32, 2> words{
        Le32(script.flag() ? offered.word(0) | 0x3000'0000U : 0U),
        Le32(3U | (script.take<std::uint8_t>() & 0x0cU) | (script.flag() ? 0x100U : 0U))};
    ask(number, SetDriverFeaturesRequest{.block_index = 0,
                                         .words = FeatureWords(std::span<const Le32>(words))});
    status(number, 11);
    set_up_queue(number, kSize);
    if (script.flag()) status(number, 15);
  }
  void set_up(FuzzInput& script) {
    const auto number = static_cast<std::uint16_t>(script.below(2));
    if (script.flag()) ask(number, ResetVqueueRequest{.index = 0});
    set_up_queue(number, 1U << script.below(5));
  }
  void set_up_queue(std::uint16_t number, std::uint32_t size) {
    ask(number, SetVqueueRequest{.index = 0,
                                 .flags = VIRTIO_MSG_VQUEUE_ENABLE,
                                 .size = size,
                                 .descriptor_addr = page_address(area(number, 0)).raw(),
                                 .driver_addr = page_address(area(number, 1)).raw(),
                                 .device_addr = page_address(area(number, 2)).raw()});
  }

  /// Two descriptors that nearly make a request, made available in both formats.
  void buffer(FuzzInput& script) {
    const std::uint32_t number = script.below(2);
    const SharedBytes table = memory_.shared(page_address(area(number, 0)), kGrantPageSize);
    const std::uint32_t first = script.below(kSize);
    for (std::uint32_t i = 0; i < 3; ++i) {
      const std::size_t at = std::size_t{16} * ((first + i) % kSize);
      const std::uint32_t page = 8 + script.below(38);
      const std::uint32_t offset = script.flag() ? 0 : script.below(kGrantPageSize);
      table.store(at, Le64(GrantAddress::of(kFirst + page, offset).raw()));
      table.store(at + 8, Le32(i == 0 ? 16U : script.flag() ? 512U : script.take<std::uint16_t>()));
      // Split: flags, next. Packed: id, flags. One word serves both, more or less.
      const std::uint16_t flags = static_cast<std::uint16_t>(
          (i < 2 ? 1U : 0U) | (i == 0 ? 0U : script.below(3)) * 2U | 0x80U);
      const bool is_packed = script.flag();
      table.store(at + 12, Le16(is_packed ? static_cast<std::uint16_t>(first)
                                          : static_cast<std::uint16_t>(flags & 7U)));
      table.store(at + 14,
                  Le16(is_packed ? flags : static_cast<std::uint16_t>((first + i + 1) % kSize)));
      if (i == 0) {
        // A header of a block request: type, sector.
        const SharedBytes head = memory_.shared(page_address(page), kGrantPageSize);
        if (page != kReadOnlyPage && offset + 16 <= kGrantPageSize) {
          head.store(offset, Le32(script.below(16)));
          head.store(offset + 8, Le64(script.below(160)));
        }
      }
    }
    const SharedBytes available = memory_.shared(page_address(area(number, 1)), kGrantPageSize);
    const std::uint16_t index = available.load_relaxed16(2);
    available.store(4 + 2 * (index % kSize), Le16(static_cast<std::uint16_t>(first)));
    available.store_release16(2, static_cast<std::uint16_t>(index + 1));
  }

  /// Any 4 bytes of what the guest shares, but for the page that it never grants for writing.
  void write_word(FuzzInput& script) {
    const std::uint32_t page = script.below(kReadOnlyPage);
    const std::size_t at = script.below(script.flag() ? 160 : 1024) * std::size_t{4};
    memory_.shared(page_address(page), kGrantPageSize)
        .store(at, Le32(script.take<std::uint32_t>()));
  }

  void workers(FuzzInput& script) {
    time_ += script.take<std::uint16_t>() * std::uint64_t{1000};
    for (std::uint16_t number = 0; number < 2; ++number) {
      CoreQueues& queues = queues_[number];
      if (endpoint_->find(number) != nullptr && queues.turn(fetch_, give_, time_)) {
        endpoint_->needs_reset(number);
      } else if (script.flag()) {
        endpoint_->used(number, 0);
      }
    }
    control();
  }

  /// A turn of the control thread.
  void control() {
    for (std::uint16_t number = 0; number < 2; ++number) {
      if (queues_[number].leave_now()) endpoint_->released(number);
    }
    static_cast<void>(endpoint_->flush());
    const auto taken = take_turn(out_, 16, frame_, [this](std::span<const std::byte> frame) {
      return endpoint_->on_frame(frame) == Taken::kTaken;
    });
    if (!taken) is_closed_ = true;
    static_cast<void>(in_.publish());
  }

  FakeGuestMemory memory_;
  FakeCopyBatch fetch_;
  FakeCopyBatch give_;
  RingLayout layout_;
  GrantAddress pages_;
  CountedEntropy entropy_;
  test::MemoryDisk* disk_;  // the device's
  rng::RngDevice rng_;
  blk::BlkDevice blk_;
  std::array<CoreQueues, 2> queues_;
  RingProducer in_;
  RingConsumer out_;
  std::unique_ptr<BusEndpoint> endpoint_;
  std::array<std::byte, kRecommendedMaxMessageSize> frame_{};
  std::uint32_t out_prod_ = 0;
  std::uint16_t token_ = 0;
  std::uint64_t time_ = 0;
  Instant now_{};
  bool is_closed_ = false;
};

}  // namespace
}  // namespace vmsg::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace vmsg::fuzz;  // NOLINT(google-build-using-namespace): the entry point is outside
  static const std::unique_ptr<vmsg::IoRing> io = *vmsg::IoRing::create(8);
  FuzzInput script(data, size);
  Core core(*io);
  core.run(script);
  return 0;
}
