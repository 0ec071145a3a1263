// The limits of one disk: requests and bytes a second, for all its queues together.
#pragma once

#include <algorithm>
#include <cstdint>

#include "devices/token_bucket.hpp"

namespace vmsg::blk {

class Throttle {
 public:
  /// 0 for no limit.
  Throttle(std::uint64_t requests_per_second, std::uint64_t bytes_per_second)
      : requests_(requests_per_second), bytes_(bytes_per_second) {}

  [[nodiscard]] bool is_limited() const { return requests_.is_limited() || bytes_.is_limited(); }

  /// Whether a request may begin now; it is charged then. A request larger than what is left may
  /// begin too, and those behind it wait longer: else it would never have its turn.
  [[nodiscard]] bool admit(std::uint64_t bytes, std::uint64_t now_ns) {
    if (requests_.available(1, now_ns) == 0 || bytes_.available(1, now_ns) == 0) return false;
    requests_.spend(1);
    bytes_.spend(bytes);
    return true;
  }

  /// After a refusal: when to ask again.
  [[nodiscard]] std::uint64_t next_at() const {
    return std::max(requests_.is_limited() ? requests_.next_token_at() : 0,
                    bytes_.is_limited() ? bytes_.next_token_at() : 0);
  }

 private:
  TokenBucket requests_;
  TokenBucket bytes_;
};

}  // namespace vmsg::blk
