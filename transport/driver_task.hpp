// A coroutine that is started by whoever awaits or resumes it, and returns one value. For the
// sequences of the driver side, which wait for answers in the middle: written down in the order in
// which they happen. One thread; no scheduler: who has the answer resumes.
//
// Destroying a Task that has not finished ends it where it waits; nothing of it runs afterwards.
#pragma once

#include <coroutine>
#include <exception>
#include <optional>
#include <utility>

#include "transport/result.hpp"

namespace vmsg {

template <typename T>
class [[nodiscard]] DriverTask {
 public:
  // NOLINTNEXTLINE(readability-identifier-naming): the name that the language asks for.
  struct promise_type {
    DriverTask get_return_object() { return DriverTask(Handle::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct ToAwaiter {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(Handle self) noexcept {
          const auto waits = self.promise().awaiter;
          return waits ? waits : std::noop_coroutine();
        }
        void await_resume() noexcept {}
      };
      return ToAwaiter{};
    }
    void return_value(T result) { value = std::move(result); }
    [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }

    std::optional<T> value;
    std::coroutine_handle<> awaiter;
  };
  using Handle = std::coroutine_handle<promise_type>;

  DriverTask() = default;
  DriverTask(DriverTask&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  DriverTask& operator=(DriverTask&& other) noexcept {
    if (this == &other) return *this;
    if (handle_) handle_.destroy();
    handle_ = std::exchange(other.handle_, nullptr);
    return *this;
  }
  ~DriverTask() {
    if (handle_) handle_.destroy();
  }

  /// Runs it until it waits or has finished. Only for the outermost; the others are awaited.
  void start() {
    VMSG_INVARIANT(handle_ && !handle_.done());
    handle_.resume();
  }
  [[nodiscard]] bool is_done() const { return !handle_ || handle_.done(); }

  // Awaiting it starts it.
  [[nodiscard]] bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiter) noexcept {
    handle_.promise().awaiter = awaiter;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

 private:
  explicit DriverTask(Handle handle) : handle_(handle) {}

  Handle handle_;
};

}  // namespace vmsg
