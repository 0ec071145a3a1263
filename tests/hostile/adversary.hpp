// The adversaries by name: what each tries, and what may become of it.
#pragma once

#include <cstdint>
#include <functional>
#include <initializer_list>
#include <span>
#include <string_view>
#include <vector>

#include "tests/hostile/attacker.hpp"

namespace vmsg::hostile {

/// What became of an attacker.
enum class Fate : std::uint8_t {
  kServed,      // nothing: its bus answers, its device works
  kNeedsReset,  // its device waits for a reset
  kClosed,      // its bus was closed, with an error that says why
  kNotStarted,  // its bus is not connected, and nobody says more
  kDied,        // it killed itself
};
[[nodiscard]] std::string_view name(Fate fate);

/// Where an adversary begins.
enum class Stage : std::uint8_t {
  kBus,        // the bus is known, nothing has happened
  kConnected,  // connected
  kFeatures,   // and the device is at FEATURES_OK, with a split queue's features
};

struct Adversary {
  std::string_view name;
  std::string_view about;
  Stage stage = Stage::kConnected;
  std::vector<Fate> allowed;
  std::function<void(Attacker&)> attack;
};

/// Groups, in the order in which they run; each is a file of its own.
[[nodiscard]] std::span<const Adversary> handshake_adversaries();
[[nodiscard]] std::span<const Adversary> ring_adversaries();
[[nodiscard]] std::span<const Adversary> message_adversaries();
[[nodiscard]] std::span<const Adversary> queue_adversaries();
[[nodiscard]] std::span<const Adversary> chain_adversaries();
[[nodiscard]] std::span<const Adversary> death_adversaries();

}  // namespace vmsg::hostile
