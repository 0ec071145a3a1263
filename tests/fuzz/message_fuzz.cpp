// Any bytes through the receive pipeline of every receiver, the text form, and back: what parses
// encodes to a frame that parses to the same text.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <span>
#include <variant>
#include <vector>

#include "transport/message.hpp"
#include "transport/message_text.hpp"

namespace {

using namespace vmsg;

void require(bool condition) {
  if (!condition) std::abort();
}

template <typename Inbound>
void check_is_subset_of_any(const Result<Inbound, WireFault>& received, const Frame& frame) {
  // What a receiver takes is a message; what is no message, no receiver takes.
  if (received) require(parse_any(frame).has_value());
}

void round_trip(const Frame& frame, const AnyMessage& message) {
  static std::vector<std::byte> buffer(kMaxMaxMessageSize);
  const auto encoded = std::visit(
      [&](const auto& m) { return encode(buffer, address_of(frame.header), m); }, message);
  require(encoded.has_value());
  // Surplus is cut off and an event's token is not kept, so it never grows.
  require(encoded->size() <= frame.header.msg_size);
  require(to_text(*encoded) == to_text(frame));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  // The first byte chooses the maximum message size.
  const std::uint32_t max = data[0] < 128 ? kRecommendedMaxMessageSize : kMaxMaxMessageSize;
  const std::span<const std::byte> delivered = std::as_bytes(std::span(data, size)).subspan(1);
  static_cast<void>(to_text(delivered));

  const auto frame = parse_frame(delivered, max);
  if (!frame) return 0;
  require(frame->payload.size() + kHeaderSize == frame->header.msg_size);
  const std::uint16_t number = frame->header.dev_num;
  check_is_subset_of_any(receive_at_device(*frame, number), *frame);
  check_is_subset_of_any(receive_at_driver(*frame, number), *frame);
  check_is_subset_of_any(receive_at_device_bus(*frame), *frame);
  check_is_subset_of_any(receive_at_driver_bus(*frame), *frame);
  const auto message = parse_any(*frame);
  if (message) round_trip(*frame, *message);
  return 0;
}
