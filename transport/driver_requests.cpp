#include "transport/driver_requests.hpp"

#include <algorithm>
#include <utility>

namespace vmsg {

DriverRequests::DriverRequests(FrameSink& sink, std::uint32_t max_message_size,
                               const RequestLimits& limits)
    : sink_(sink), limits_(limits), places_(limits.places) {
  for (Place& place : places_) place.buffer.resize(max_message_size);
}

DriverRequests::Place* DriverRequests::take_place(Instant now) {
  while (!resting_.empty() && resting_.front().until <= now) {
    busy_.reset(resting_.front().token);
    resting_.pop_front();
  }
  // Far fewer places than tokens: this keeps the search for a token short, and resting_ bounded.
  if (resting_.size() >= kTokens / 2) return nullptr;
  const auto place = std::ranges::find(places_, false, &Place::is_taken);
  return place == places_.end() ? nullptr : &*place;
}

/// Round and round, so that a token is used again as late as can be.
std::uint16_t DriverRequests::next_token() {
  std::uint32_t token = last_token_;
  do {
    token = token + 1 == kTokens ? kFirstToken : token + 1;
  } while (busy_.test(token));
  return static_cast<std::uint16_t>(token);
}

void DriverRequests::start(Place& place, MessageKind expected, std::uint16_t dev_num,
                           std::uint16_t token, std::size_t size, Instant now, Done done) {
  place.is_taken = true;
  place.is_sent = false;
  place.expected = expected;
  place.dev_num = dev_num;
  place.token = token;
  place.order = orders_++;
  place.deadline = now + limits_.time_limit;
  place.done = std::move(done);
  place.size = size;
  last_token_ = token;
  busy_.set(token);
  ++outstanding_;
  ++unsent_;
  static_cast<void>(flush());
}

bool DriverRequests::flush() {
  while (unsent_ != 0) {
    Place* next = nullptr;
    for (Place& place : places_) {
      if (!place.is_taken || place.is_sent) continue;
      if (next == nullptr || place.order < next->order) next = &place;
    }
    if (!sink_.has_room(next->size)) return false;
    sink_.send(std::span(next->buffer).first(next->size));
    next->is_sent = true;
    --unsent_;
  }
  return true;
}

DriverRequests::Place* DriverRequests::find(std::uint16_t token) {
  for (Place& place : places_) {
    // What was not sent cannot be answered, whatever its token.
    if (place.is_taken && place.is_sent && place.token == token) return &place;
  }
  return nullptr;
}

DriverRequests::Done DriverRequests::release(Place& place, bool is_answered, Instant now) {
  if (is_answered || !place.is_sent) {
    busy_.reset(place.token);
  } else {
    resting_.push_back({.token = place.token, .until = now + limits_.quarantine});
  }
  if (!place.is_sent) --unsent_;
  --outstanding_;
  place.is_taken = false;
  return std::exchange(place.done, nullptr);
}

void DriverRequests::fail(Place& place, RequestFailure failure, Instant now) {
  const Done done = release(place, false, now);
  done(std::unexpected(failure));
}

bool DriverRequests::on_response(const Frame& frame, Instant now) {
  Place* const place = find(frame.header.token);
  if (place == nullptr) return false;
  // A response of its own kind that is too short is as bad as another message.
  const bool matches = kind_of(frame.header) == place->expected &&
                       frame.header.dev_num == place->dev_num && parse_any(frame).has_value();
  const Done done = release(*place, true, now);
  if (matches) {
    done(frame);
  } else {
    done(std::unexpected(RequestFailure::kBadResponse));
  }
  return true;
}

bool DriverRequests::on_bad_response(const FrameHeader& header, Instant now) {
  Place* const place = find(header.token);
  if (place == nullptr) return false;
  const Done done = release(*place, true, now);
  done(std::unexpected(RequestFailure::kBadResponse));
  return true;
}

// The callbacks below may begin new requests, in places already passed or still to come; those are
// of another device or have their time before them, so they are not ended here.

void DriverRequests::expire(Instant now) {
  for (Place& place : places_) {
    if (place.is_taken && place.deadline <= now) fail(place, RequestFailure::kTimedOut, now);
  }
}

void DriverRequests::fail_device(std::uint16_t dev_num, RequestFailure failure, Instant now) {
  for (Place& place : places_) {
    if (place.is_taken && !place.expected.is_bus && place.dev_num == dev_num) {
      fail(place, failure, now);
    }
  }
}

void DriverRequests::fail_all(RequestFailure failure, Instant now) {
  for (Place& place : places_) {
    if (place.is_taken) fail(place, failure, now);
  }
}

void DriverRequests::forget_device(std::uint16_t dev_num, Instant now) {
  for (Place& place : places_) {
    if (place.is_taken && !place.expected.is_bus && place.dev_num == dev_num) {
      static_cast<void>(release(place, false, now));
    }
  }
}

std::optional<Instant> DriverRequests::next_deadline() const {
  std::optional<Instant> next;
  for (const Place& place : places_) {
    if (place.is_taken && (!next || place.deadline < *next)) next = place.deadline;
  }
  return next;
}

}  // namespace vmsg
