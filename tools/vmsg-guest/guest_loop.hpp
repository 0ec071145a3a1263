// A small poll loop: descriptors with handlers, and waiting for a condition with a limit. All of
// vmsg-guest runs on one thread in here.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <vector>

#include "transport/device_numbers.hpp"

namespace vmsg::guest {

[[nodiscard]] Instant now();

class GuestLoop {
 public:
  using Handler = std::function<void()>;
  /// Says when it wants to be called next, if it does.
  using Ticker = std::function<std::optional<Instant>(Instant)>;

  /// `on_readable` must take what made the descriptor readable.
  void add(int fd, Handler on_readable);
  void remove(int fd);
  /// Called before every wait, and when the time comes that it asked for.
  void set_ticker(Ticker ticker) { ticker_ = std::move(ticker); }

  /// Turns until `is_done` says so. False when `patience` ran out.
  [[nodiscard]] bool run_until(const std::function<bool()>& is_done,
                               std::chrono::nanoseconds patience);

 private:
  struct Source {
    int fd;
    Handler on_readable;
  };

  std::vector<Source> sources_;
  Ticker ticker_;
};

}  // namespace vmsg::guest
