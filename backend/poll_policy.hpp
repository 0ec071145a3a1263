// Whether a worker that has nothing to do looks once more or goes to sleep. Looking again saves the
// guest a kick and the worker two system calls and a wake-up, and costs a processor.
//
// It is adaptive: looking on is tried only while work has lately come back soon enough to be found
// that way, ends after a while without any, and may never take more than a share of the time. So a
// worker without traffic sleeps, and one with little traffic wastes next to nothing.
//
// No clock in here: the caller says what time it is, in nanoseconds.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmsg {

class PollPolicy {
 public:
  struct Options {
    /// How long to look on, and the longest usual pause for which that makes sense; 0 is never.
    std::uint64_t window_ns = 100'000;
    /// The most of a worker's time that looking may take, in percent.
    unsigned share_percent = 50;
  };

  explicit PollPolicy(const Options& options) : options_(options) {}

  /// A turn that found work begins.
  void found_work(std::uint64_t now) {
    if (!is_idle_) return;
    is_idle_ = false;
    // A long pause says as much as one that is a little too long, and is forgotten as fast.
    const std::uint64_t pause = std::min(now - idle_since_, 4 * options_.window_ns);
    pause_ = (pause_ * 7 + pause) / 8;
    if (is_looking_) spun_until_ = now;
    is_looking_ = false;
    spend(spun_until_ - idle_since_);
  }

  /// There is nothing to do at `now`: may the worker look once more?
  [[nodiscard]] bool may_look_on(std::uint64_t now) {
    if (options_.window_ns == 0) return false;
    earn(now);
    if (!is_idle_) {
      is_idle_ = true;
      idle_since_ = now;
      spun_until_ = now;
    }
    // A look lasts until the next question, whatever the answer is then.
    if (is_looking_) spun_until_ = now;
    const std::uint64_t spent = now - idle_since_;
    if (pause_ > options_.window_ns || spent >= options_.window_ns || spent >= credit_) {
      is_looking_ = false;
      return false;
    }
    is_looking_ = true;
    return true;
  }

 private:
  // What may be saved up: enough for the busiest hundredth of a second.
  static constexpr std::uint64_t kMostCredit = 10'000'000;

  void earn(std::uint64_t now) {
    const std::uint64_t passed = std::min(now - earned_at_, std::uint64_t{1'000'000'000});
    earned_at_ = now;
    credit_ = std::min(credit_ + passed * options_.share_percent / 100, kMostCredit);
  }
  void spend(std::uint64_t time) { credit_ -= std::min(credit_, time); }

  Options options_;
  bool is_idle_ = false;
  bool is_looking_ = false;  // the last answer was yes
  std::uint64_t idle_since_ = 0;
  std::uint64_t spun_until_ = 0;  // the worker looked until then
  std::uint64_t pause_ = 0;       // how long it usually takes until there is work again
  std::uint64_t credit_ = 0;
  std::uint64_t earned_at_ = 0;
};

}  // namespace vmsg
