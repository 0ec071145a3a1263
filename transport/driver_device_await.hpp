// How the sequences of DriverDevice wait: for the answer to their one request, or for a time.
// Included by its .cpp files alone.
#pragma once

#include <utility>

#include "transport/driver_device.hpp"

namespace vmsg {

[[nodiscard]] DriverFailure driver_failure(RequestFailure failure);

/// `co_await ask<R>(request)` is a DriverResult<R>. Views in it are valid until the next co_await.
template <typename Response>
struct DriverDevice::Answer {
  DriverDevice& device;

  // An answer is there already when the request could not be begun.
  [[nodiscard]] bool await_ready() const { return device.answer_.has_value(); }
  void await_suspend(std::coroutine_handle<> sequence) { device.waiting_ = sequence; }
  DriverResult<Response> await_resume() {
    const auto answer = *std::exchange(device.answer_, std::nullopt);
    if (!answer) return std::unexpected(driver_failure(answer.error()));
    const auto message = receive_at_driver(*answer, device.number_);
    const auto* const response = message ? std::get_if<Response>(&*message) : nullptr;
    if (response == nullptr) return std::unexpected(DriverFailure::kBadResponse);
    return *response;
  }
};

struct DriverDevice::Pause {
  DriverDevice& device;

  [[nodiscard]] bool await_ready() const { return !device.wake_at_.has_value(); }
  void await_suspend(std::coroutine_handle<> sequence) { device.waiting_ = sequence; }
  void await_resume() {}
};

template <typename Response, typename Request>
DriverDevice::Answer<Response> DriverDevice::ask(const Request& request) {
  static_assert(Request::kKind.id == Response::kKind.id);
  answer_.reset();
  // The lambda fits std::function's own storage: no allocation.
  const auto begun =
      bus_.begin(number_, request, now_, [this](const Result<Frame, RequestFailure>& answer) {
        // A device that is gone is told so next, and that ends everything.
        if (!answer && (answer.error() == RequestFailure::kDeviceGone ||
                        answer.error() == RequestFailure::kLinkLost)) {
          return;
        }
        answer_ = answer;
        resume();
      });
  if (!begun) answer_ = std::unexpected(begun.error());
  return {*this};
}

inline DriverDevice::Pause DriverDevice::pause_until(Instant when) {
  wake_at_ = when;
  return {*this};
}

template <typename T>
DriverTask<DriverDevice::Unit> DriverDevice::finish(Task<T> work, Done<T> done) {
  const DriverResult<T> result = co_await work;
  front_is_completed_ = true;
  if (done) done(result);
  co_return Unit{};
}

template <typename T>
void DriverDevice::queue_up(Task<T> work, Done<T> done) {
  auto abandon = [done](DriverFailure why) {
    if (done) done(std::unexpected(why));
  };
  if (state_ == DriverState::kGone) return abandon(DriverFailure::kGone);
  operations_.push_back({finish(std::move(work), std::move(done)), std::move(abandon)});
  settle();
}

}  // namespace vmsg
