// A rate limit: tokens refill steadily up to one second's worth. No clock inside; the caller says
// what time it is.
#pragma once

#include <algorithm>
#include <cstdint>

namespace vmsg {

class TokenBucket {
 public:
  /// `per_second` = 0 means no limit.
  explicit TokenBucket(std::uint64_t per_second)
      : per_second_(per_second), tokens_(static_cast<std::int64_t>(per_second)) {}

  [[nodiscard]] bool is_limited() const { return per_second_ != 0; }

  /// How many of `wanted` may be spent now; the answer is not spent yet.
  [[nodiscard]] std::uint64_t available(std::uint64_t wanted, std::uint64_t now_ns) {
    if (!is_limited()) return wanted;
    refill(now_ns);
    return tokens_ <= 0 ? 0 : std::min(wanted, static_cast<std::uint64_t>(tokens_));
  }

  /// More than is there makes a debt, which is paid off before anything is available again.
  void spend(std::uint64_t amount) {
    if (is_limited()) tokens_ -= static_cast<std::int64_t>(amount);
  }

  /// When `amount` tokens will be there, as of the last available(); at most a second's worth ever
  /// are.
  [[nodiscard]] std::uint64_t available_at(std::uint64_t amount) const {
    const auto wanted = static_cast<std::int64_t>(std::min(amount, per_second_));
    if (wanted <= tokens_) return refilled_at_;
    return refilled_at_ +
           static_cast<std::uint64_t>(static_cast<double>(wanted - tokens_) *
                                      static_cast<double>(kSecond) /
                                      static_cast<double>(per_second_)) +
           1;
  }

  [[nodiscard]] std::uint64_t per_second() const { return per_second_; }

  /// When at least one token will be there.
  [[nodiscard]] std::uint64_t next_token_at() const {
    if (tokens_ > 0 || per_second_ == 0) return refilled_at_;
    const double missing = static_cast<double>(1 - tokens_);
    return refilled_at_ + 1 +
           static_cast<std::uint64_t>(missing * static_cast<double>(kSecond) /
                                      static_cast<double>(per_second_));
  }

 private:
  static constexpr std::uint64_t kSecond = 1'000'000'000;

  void refill(std::uint64_t now_ns) {
    if (now_ns <= refilled_at_) return;
    const std::uint64_t elapsed = std::min(now_ns - refilled_at_, kSecond);
    const auto earned =
        static_cast<std::uint64_t>(static_cast<double>(elapsed) * static_cast<double>(per_second_) /
                                   static_cast<double>(kSecond));
    // What is too little for a token stays earned: the clock moves only when tokens do.
    if (earned == 0) return;
    if (tokens_ + static_cast<std::int64_t>(earned) >= static_cast<std::int64_t>(per_second_)) {
      tokens_ = static_cast<std::int64_t>(per_second_);
      refilled_at_ = now_ns;
    } else {
      tokens_ += static_cast<std::int64_t>(earned);
      refilled_at_ +=
          static_cast<std::uint64_t>(static_cast<double>(earned) * static_cast<double>(kSecond) /
                                     static_cast<double>(per_second_));
    }
  }

  std::uint64_t per_second_;
  std::int64_t tokens_;  // negative: a debt
  std::uint64_t refilled_at_ = 0;
};

}  // namespace vmsg
