// Which device numbers of a bus instance may be used: one device each, and after a removal not
// again until everything that was meant for the old device is gone (and then the longest unused
// first). No clock in here: the caller says what time it is.
#pragma once

#include <bitset>
#include <chrono>
#include <cstdint>
#include <deque>
#include <optional>

namespace vmsg {

/// Time since any fixed point of the caller's, never running backwards.
using Instant = std::chrono::nanoseconds;

enum class NumberState : std::uint8_t { kFree, kTaken, kQuarantined };

class DeviceNumbers {
 public:
  /// The request limit of the drivers we know (5 s) and their reset limit (10 s) together.
  static constexpr std::chrono::seconds kDefaultQuarantine{15};

  explicit DeviceNumbers(Instant quarantine = kDefaultQuarantine) : quarantine_(quarantine) {}

  [[nodiscard]] NumberState state(std::uint16_t number, Instant now) const;

  /// Takes this number. False unless it is free.
  [[nodiscard]] bool take(std::uint16_t number, Instant now);

  /// Takes the lowest number never used, else the one released longest ago; nullopt when every
  /// number is taken or in quarantine.
  [[nodiscard]] std::optional<std::uint16_t> take_any(Instant now);

  /// Gives a taken number back; its quarantine starts now.
  void release(std::uint16_t number, Instant now);

 private:
  static constexpr std::size_t kNumbers = 65536;
  struct Released {
    std::uint16_t number;
    Instant at;
  };

  Instant quarantine_;
  std::bitset<kNumbers> taken_;
  std::bitset<kNumbers> used_before_;
  std::size_t first_fresh_ = 0;    // every number below was used before
  std::deque<Released> released_;  // the longest unused first; each number once
};

}  // namespace vmsg
