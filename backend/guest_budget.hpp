// How much a guest may ask for in a second: of all its devices together, over all workers. A worker
// looks once per queue and turn, and pays once afterwards, so it costs nothing per request.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace vmsg {

/// A rate that is kept on average. What a turn takes too much is waited for before the next one.
/// Any thread may call.
class RateMeter {
 public:
  /// 0: no limit.
  explicit RateMeter(std::uint64_t per_second) : per_second_(per_second) {}

  /// When more may be spent, in nanoseconds of the clock that `now` is from; at most `now` if that
  /// is at once.
  [[nodiscard]] std::uint64_t free_at(std::uint64_t now) const {
    return per_second_ == 0 ? now : paid_until_.load(std::memory_order_relaxed);
  }

  void spend(std::uint64_t amount, std::uint64_t now) {
    if (per_second_ == 0 || amount == 0) return;
    const auto cost = static_cast<std::uint64_t>(static_cast<double>(amount) *
                                                 (kSecond / static_cast<double>(per_second_)));
    // What was not used for a while is not saved up for ever.
    const std::uint64_t earliest = now > kSaved ? now - kSaved : 0;
    std::uint64_t until = paid_until_.load(std::memory_order_relaxed);
    while (!paid_until_.compare_exchange_weak(until, std::max(until, earliest) + cost,
                                              std::memory_order_relaxed)) {
    }
  }

 private:
  static constexpr double kSecond = 1e9;
  static constexpr std::uint64_t kSaved = 100'000'000;  // 0.1 s

  const std::uint64_t per_second_;
  std::atomic<std::uint64_t> paid_until_{0};
};

struct GuestRates {
  std::uint64_t requests_per_second = 0;  // of disks, and frames of networks: descriptor chains
  std::uint64_t bytes_per_second = 0;     // of data to and from the guest

  friend bool operator==(const GuestRates&, const GuestRates&) = default;
};

class GuestBudget {
 public:
  explicit GuestBudget(const GuestRates& rates)
      : requests_(rates.requests_per_second), bytes_(rates.bytes_per_second) {}

  [[nodiscard]] std::uint64_t free_at(std::uint64_t now) const {
    return std::max(requests_.free_at(now), bytes_.free_at(now));
  }
  void spend(std::uint64_t requests, std::uint64_t bytes, std::uint64_t now) {
    requests_.spend(requests, now);
    bytes_.spend(bytes, now);
  }

 private:
  RateMeter requests_;
  RateMeter bytes_;
};

}  // namespace vmsg
