#include "backend/retry_timer.hpp"

#include <algorithm>

namespace vmsg {

RetryTimer::RetryTimer(boost::asio::io_context& context, std::function<void()> again, Pace pace)
    : again_(std::move(again)), pace_(pace), next_(pace.first), timer_(context) {}

void RetryTimer::arm() {
  if (std::exchange(is_armed_, true)) return;
  timer_.expires_after(next_);
  next_ = std::min(2 * next_, pace_.last);
  timer_.async_wait([this, alive = std::weak_ptr(alive_)](const boost::system::error_code& error) {
    if (!alive.expired() && !error) fire();
  });
}

void RetryTimer::fire() {
  is_armed_ = false;
  const std::weak_ptr<Alive> alive(alive_);
  again_();
  if (!alive.expired() && !is_armed_) next_ = pace_.first;
}

}  // namespace vmsg
