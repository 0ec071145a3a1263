// Every message in one line of text, for logs, traces and tools:
//
//   GET_CONFIG request dev=5 token=0x1234 offset=0 length=8
//   bus EVENT_DEVICE dev_num=5 state=ADDED
//   SET_CONFIG request dev=5 token=0x1234: needs a payload of 16 bytes
//
// Text for people: it allocates, and its form may change. Nothing parses it, nothing on a data path
// calls it. Bytes of the peer appear as numbers and bounded hex only.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "transport/message.hpp"

namespace vmsg {

/// "GET_CONFIG"; empty for an identifier that this project does not know.
[[nodiscard]] std::string_view message_name(bool is_bus, std::uint8_t msg_id);

/// "kTooLarge" as words with its number: "msg_size 300 is more than the maximum".
[[nodiscard]] std::string to_text(const WireFault& fault);

/// What is in a frame, or what is wrong with its payload.
[[nodiscard]] std::string to_text(const Frame& frame);

/// The same for bytes as they were delivered, however broken they are.
[[nodiscard]] std::string to_text(std::span<const std::byte> delivered);

/// "0x0b ACKNOWLEDGE|DRIVER|FEATURES_OK".
[[nodiscard]] std::string device_status_text(std::uint32_t status);

}  // namespace vmsg
