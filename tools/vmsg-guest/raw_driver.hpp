// A driver that sends what it likes: single frames to a device or the bus, right or wrong, and what
// came back to look at. For testing device sides; transport/driver_device.hpp is how to be a
// driver.
//
// Trouble (no answer, a link that is closed) is remembered, and everything after it is empty.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "tools/vmsg-guest/guest_link.hpp"
#include "transport/message.hpp"

namespace vmsg::guest {

class RawDriver {
 public:
  using Bytes = std::vector<std::byte>;

  /// Takes all frames of the link for itself as long as it lives.
  RawDriver(GuestLink& link, std::uint16_t number);
  ~RawDriver();
  RawDriver(const RawDriver&) = delete;
  RawDriver& operator=(const RawDriver&) = delete;

  [[nodiscard]] std::uint16_t number() const { return number_; }
  [[nodiscard]] std::uint32_t max_message_size() const { return max_message_size_; }
  [[nodiscard]] GuestLink& link() { return link_; }

  /// What went wrong, if anything did; forgotten then.
  [[nodiscard]] Failure take_trouble();

  // ---- whole frames -----------------------------------------------------------------------------

  /// A frame of ours with a fresh token: change what shall be wrong with it before it is sent.
  template <typename Message>
  [[nodiscard]] Bytes frame(const Message& message) {
    Bytes bytes(max_message_size_);
    const auto encoded = encode(bytes, {.dev_num = number_, .token = ++token_}, message);
    bytes.resize(encoded ? encoded->size() : 0);
    return bytes;
  }
  /// More payload, or less; the size in the header follows.
  static void resize_payload(Bytes& frame, std::ptrdiff_t by);

  /// Sends it and waits for the frame that answers its token.
  [[nodiscard]] Bytes ask(const Bytes& frame);
  /// Sends it and then something that has an answer: whether the first had none.
  [[nodiscard]] bool is_dropped(const Bytes& frame);
  /// Sends an event.
  void send(const Bytes& frame);
  /// Frames that answered nothing, since the last call.
  [[nodiscard]] std::vector<Bytes> take_events();
  /// Everything that the device side sent before now has arrived.
  void settle();

  // ---- requests that are right ------------------------------------------------------------------

  /// The typed answer, or an empty one.
  template <typename Response, typename Request>
  [[nodiscard]] Response request(const Request& message) {
    answer_ = ask(frame(message));
    const auto parsed = parse_frame(answer_, max_message_size_);
    if (!parsed) return {};
    const auto any = parse_any(*parsed);
    const auto* typed = any ? std::get_if<Response>(&*any) : nullptr;
    if (typed == nullptr) note("an answer of the wrong kind or size");
    return typed != nullptr ? *typed : Response{};
  }
  /// The bytes of the latest answer.
  [[nodiscard]] const Bytes& answer() const { return answer_; }

  [[nodiscard]] std::uint32_t status();
  std::uint32_t set_status(std::uint32_t status);
  [[nodiscard]] std::vector<std::uint32_t> features(std::uint32_t block, std::uint32_t count);
  void select(std::uint32_t block, std::span<const std::uint32_t> words);
  [[nodiscard]] GetVqueueResponse queue(std::uint32_t index);

  /// Status 0, waited for.
  void reset();
  void to_driver();
  /// FEATURES_OK with what every driver needs, and what is `wanted` besides of what is offered.
  void to_features_ok(std::initializer_list<unsigned> wanted = {});

  void note(const std::string& trouble) {
    if (trouble_.empty()) trouble_ = trouble;
  }

 private:
  void take(std::span<const std::byte> frame);
  bool wait_for(const std::function<bool()>& is_done);

  GuestLink& link_;
  const std::uint16_t number_;
  const std::uint32_t max_message_size_;
  std::uint16_t token_ = 0x1000;
  std::vector<Bytes> arrived_;
  Bytes answer_;
  Failure trouble_;
};

}  // namespace vmsg::guest
