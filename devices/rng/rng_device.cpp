#include "devices/rng/rng_device.hpp"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "devices/token_bucket.hpp"

namespace vmsg::rng {
namespace {

constexpr std::uint32_t kDeviceType = 4;
constexpr std::uint32_t kVendor = 0x4d534756;  // "VGSM" as bytes
constexpr std::uint32_t kQueueSize = 64;
constexpr std::uint32_t kMaxInFlight = 32;

// A driver asks for entropy in small pieces (Linux: at most a cache line or a page). A larger
// buffer gets this much, which the device type allows.
constexpr std::size_t kMaxBytesPerRequest = 512;

class RngQueue final : public QueueService {
 public:
  RngQueue(const RngOptions& options, EntropySource& source, OperationCounters& counters)
      : source_(source), counters_(counters), bucket_(options.bytes_per_second) {
    waiting_.reserve(kMaxInFlight);
  }

  std::size_t room() const override { return kMaxInFlight - waiting_.size(); }

  void take(std::span<Chain> chains, const GuestRef&, CopyBatch&, Nanoseconds now) override {
    // Nothing of a request is worth reading: its length is all that it says.
    for (Chain& chain : chains) {
      waiting_.push_back(Request{.chain = std::move(chain), .taken_at = now, .data = {}});
    }
  }

  std::optional<ServiceFault> start(Nanoseconds now) override {
    std::size_t wanted = 0;
    for (const Request& request : waiting_) {
      if (request.chain.writable_length() == 0) return ServiceFault::kBadRequest;
      wanted += size_of(request);
    }
    const auto allowed = static_cast<std::size_t>(bucket_.available(wanted, now));
    // One system call for all requests of the turn.
    std::size_t got = allowed == 0 ? 0 : source_.fill(std::span(bytes_).first(allowed));
    bucket_.spend(got);

    std::size_t at = 0;
    ready_ = 0;
    for (Request& request : waiting_) {
      const std::size_t share = std::min(size_of(request), got);
      if (share == 0) break;
      request.data = std::span(bytes_).subspan(at, share);
      at += share;
      got -= share;
      ++ready_;
    }
    wake_at_.reset();
    if (ready_ < waiting_.size()) {
      wake_at_ = bucket_.is_limited() ? bucket_.next_token_at() : now + kRetryAfter;
    }
    return std::nullopt;
  }

  void deliver(const GuestRef& guest, CopyBatch& give) override {
    for (Request& request : std::span(waiting_).first(ready_)) {
      add_copies(give, guest, request.chain.writable(), 0, request.data, request.outcome);
    }
  }

  std::optional<ServiceFault> retire(DeviceQueue& queue, Nanoseconds now) override {
    for (Request& request : std::span(waiting_).first(ready_)) {
      if (request.outcome != CopyOutcome::kOk) return ServiceFault::kNotGranted;
      counters_.operations.add();
      counters_.bytes.add(request.data.size());
      counters_.latency.add(now - request.taken_at);
      queue.complete(std::move(request.chain), static_cast<std::uint32_t>(request.data.size()));
    }
    waiting_.erase(waiting_.begin(), waiting_.begin() + static_cast<std::ptrdiff_t>(ready_));
    ready_ = 0;
    return std::nullopt;
  }

  bool has_work_in_flight() const override { return false; }

  void abandon() override {
    waiting_.clear();
    ready_ = 0;
    wake_at_.reset();
  }

  std::optional<Nanoseconds> wants_turn_at() const override { return wake_at_; }

 private:
  struct Request {
    Chain chain;
    Nanoseconds taken_at = 0;
    std::span<std::byte> data;
    CopyOutcome outcome = CopyOutcome::kOk;
  };

  // How long to wait when the kernel's pool is not ready, which it is from early boot on.
  static constexpr Nanoseconds kRetryAfter = 100'000'000;

  static std::size_t size_of(const Request& request) {
    return std::min<std::size_t>(request.chain.writable_length(), kMaxBytesPerRequest);
  }

  EntropySource& source_;
  OperationCounters& counters_;
  TokenBucket bucket_;
  std::vector<Request> waiting_;  // in the order they were taken; never grows past kMaxInFlight
  std::size_t ready_ = 0;         // the first of them that have their bytes
  std::optional<Nanoseconds> wake_at_;
  std::array<std::byte, kMaxInFlight * kMaxBytesPerRequest> bytes_{};
};

}  // namespace

RngDevice::RngDevice(const RngOptions& options, EntropySource& source)
    : options_(options), source_(source) {
  identity_.device_id = kDeviceType;
  identity_.vendor_id = kVendor;
  identity_.max_virtqueues = 1;
}

std::uint32_t RngDevice::max_queue_size(std::uint32_t index) const {
  return index == 0 ? kQueueSize : 0;
}

QueueLimits RngDevice::queue_limits(std::uint32_t) const {
  return {.max_chain_segments = 4, .max_in_flight = kMaxInFlight};
}

std::unique_ptr<QueueService> RngDevice::open_queue(const QueueContext&) {
  return std::make_unique<RngQueue>(options_, source_, counters_);
}

}  // namespace vmsg::rng
