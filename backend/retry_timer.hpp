// Tries again what failed through nobody's fault: after a while, then ever more seldom, until a try
// ends without another failure. Control thread only.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

namespace vmsg {

class RetryTimer {
 public:
  struct Pace {
    std::chrono::milliseconds first{1000};
    std::chrono::milliseconds last{60'000};
  };

  /// `again` tries all that may have failed; it may destroy this.
  RetryTimer(boost::asio::io_context& context, std::function<void()> again, Pace pace);
  RetryTimer(boost::asio::io_context& context, std::function<void()> again)
      : RetryTimer(context, std::move(again), Pace{}) {}

  /// Something has failed: one try comes for all that fails until then.
  void arm();

 private:
  struct Alive {};

  void fire();

  const std::function<void()> again_;
  const Pace pace_;
  std::chrono::milliseconds next_;
  bool is_armed_ = false;
  boost::asio::steady_timer timer_;
  std::shared_ptr<Alive> alive_ = std::make_shared<Alive>();
};

}  // namespace vmsg
