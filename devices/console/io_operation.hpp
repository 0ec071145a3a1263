// One io_uring operation of an object, of a kind that it has at most once at a time.
#pragma once

#include <liburing.h>

#include <cerrno>
#include <cstdint>

#include "devices/io_ring.hpp"

namespace vmsg::console {

template <class Owner>
class IoOperation final : public IoCompletion {
 public:
  using Handler = void (Owner::*)(std::int32_t result);

  /// `handler` hears the result: negative errno on failure, -ECANCELED after cancel() (perhaps a
  /// second time, when the request to cancel has ended too).
  IoOperation(Owner& owner, Handler handler) : owner_(owner), handler_(handler) {}

  /// An entry to prepare; null when the ring has none now.
  [[nodiscard]] io_uring_sqe* begin(IoRing& io) {
    io_uring_sqe* entry = io.prepare(*this);
    is_in_flight_ = entry != nullptr;
    return entry;
  }

  /// Asks for its end. Does nothing if it is not under way, or asked for already.
  void cancel(IoRing& io) {
    if (!is_in_flight_ || cancellation_.is_in_flight) return;
    io_uring_sqe* entry = io.prepare(cancellation_);
    if (entry == nullptr) return;
    io_uring_prep_cancel(entry, static_cast<IoCompletion*>(this), 0);
    cancellation_.is_in_flight = true;
  }

  /// Its request to be cancelled counts too: the kernel tells about that by itself.
  [[nodiscard]] bool is_in_flight() const { return is_in_flight_ || cancellation_.is_in_flight; }

  void on_complete(std::int32_t result, bool) override {
    is_in_flight_ = false;
    (owner_.*handler_)(result);
  }

 private:
  struct Cancellation final : IoCompletion {
    explicit Cancellation(IoOperation& of) : operation(of) {}
    void on_complete(std::int32_t, bool) override {
      is_in_flight = false;
      // The operation may have ended before: whoever waits for both hears of the second one.
      if (!operation.is_in_flight_) (operation.owner_.*operation.handler_)(-ECANCELED);
    }
    IoOperation& operation;
    bool is_in_flight = false;
  };

  Owner& owner_;
  Handler handler_;
  bool is_in_flight_ = false;
  Cancellation cancellation_{*this};
};

}  // namespace vmsg::console
