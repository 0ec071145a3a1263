// The outstanding requests of the driver side of one bus: tokens, matching of responses, time
// limits. Every request that was begun ends exactly once, with its response or with a failure that
// says why there will be none.
//
// Places are fixed and hold the encoded request until the sink has room for it, so requests leave
// in the order in which they were begun. Time is what the caller says it is.
#pragma once

#include <bitset>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <vector>

#include "transport/device_numbers.hpp"
#include "transport/frame_sink.hpp"
#include "transport/message.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Why a request has no response. Whether it was carried out is unknown for kTimedOut, kBadResponse
/// and kLinkLost: whoever changed state by it reads that state or resets, and never just repeats.
enum class RequestFailure : std::uint8_t {
  kTimedOut,
  kBadResponse,  // right token, but another message, device or size
  kDeviceGone,
  kLinkLost,
  kRefused,   // never sent: too many are outstanding or resting
  kTooLarge,  // never sent: does not fit a message
};

struct RequestLimits {
  std::size_t places = 64;
  std::chrono::nanoseconds time_limit = std::chrono::seconds{5};
  /// How long the token of a request without a response is not used again.
  std::chrono::nanoseconds quarantine = DeviceNumbers::kDefaultQuarantine;
};

class DriverRequests {
 public:
  /// The frame is valid during the call only.
  using Done = std::function<void(const Result<Frame, RequestFailure>&)>;

  /// `sink` must outlive this. Allocates everything now.
  DriverRequests(FrameSink& sink, std::uint32_t max_message_size, const RequestLimits& limits);

  /// Sends a request, at once or when there is room. `done` is called exactly once, later, unless
  /// this returns a failure. A `done` of at most two pointers costs no allocation.
  template <typename Request>
  [[nodiscard]] Result<void, RequestFailure> begin(std::uint16_t dev_num, const Request& request,
                                                   Instant now, Done done) {
    static_assert(!Request::kKind.is_response);
    Place* const place = take_place(now);
    if (place == nullptr) return std::unexpected(RequestFailure::kRefused);
    const std::uint16_t token = next_token();
    const auto frame = encode(place->buffer, {.dev_num = dev_num, .token = token}, request);
    if (!frame) return std::unexpected(RequestFailure::kTooLarge);
    MessageKind expected = Request::kKind;
    expected.is_response = true;
    start(*place, expected, expected.is_bus ? std::uint16_t{0} : dev_num, token, frame->size(), now,
          std::move(done));
    return {};
  }

  /// A response as received. True: it ended a request, well or (when it does not match) badly.
  /// False: nobody waits for it any more.
  bool on_response(const Frame& frame, Instant now);

  /// A response that cannot be looked at (too large): its request fails.
  bool on_bad_response(const FrameHeader& header, Instant now);

  /// Ends what is over its time limit.
  void expire(Instant now);

  /// Ends the requests of one device; of everything.
  void fail_device(std::uint16_t dev_num, RequestFailure failure, Instant now);
  void fail_all(RequestFailure failure, Instant now);

  /// The same without calling anybody: for an owner that is going away.
  void forget_device(std::uint16_t dev_num, Instant now);

  /// Sends what waits for room. False when something is left.
  bool flush();

  [[nodiscard]] bool is_waiting_for_room() const { return unsent_ != 0; }
  [[nodiscard]] std::size_t outstanding() const { return outstanding_; }
  [[nodiscard]] std::optional<Instant> next_deadline() const;

 private:
  static constexpr std::size_t kTokens = 65536;
  static constexpr std::uint16_t kFirstToken = 2;  // 0: events; 1: left alone, as Linux does

  struct Place {
    bool is_taken = false;
    bool is_sent = false;
    MessageKind expected;
    std::uint16_t dev_num = 0;
    std::uint16_t token = 0;
    std::uint64_t order = 0;
    Instant deadline{};
    Done done;
    std::size_t size = 0;
    std::vector<std::byte> buffer;
  };
  struct Resting {
    std::uint16_t token;
    Instant until;
  };

  [[nodiscard]] Place* take_place(Instant now);
  [[nodiscard]] std::uint16_t next_token();
  void start(Place& place, MessageKind expected, std::uint16_t dev_num, std::uint16_t token,
             std::size_t size, Instant now, Done done);
  [[nodiscard]] Place* find(std::uint16_t token);
  /// Frees the place. Without a response its token rests, if the request ever left.
  Done release(Place& place, bool is_answered, Instant now);
  void fail(Place& place, RequestFailure failure, Instant now);

  FrameSink& sink_;
  RequestLimits limits_;
  std::vector<Place> places_;
  std::deque<Resting> resting_;  // the soonest to end first
  std::bitset<kTokens> busy_;    // outstanding or resting
  std::uint16_t last_token_ = kFirstToken - 1;
  std::uint64_t orders_ = 0;
  std::size_t outstanding_ = 0;
  std::size_t unsent_ = 0;
};

}  // namespace vmsg
