// What a queue's parameters must be, judged from the message alone: sizes, alignment, and areas
// that lie in grant addresses as a whole. Whether the memory behind them is really ours to use is
// found out by whoever maps it.
#pragma once

#include <cstdint>

#include "transport/message.hpp"
#include "transport/queue_layout.hpp"

namespace vmsg {

/// Whether SET_VQUEUE asks for something possible, for a queue of at most `max_size` entries.
[[nodiscard]] bool is_valid_setup(const SetVqueueRequest& request, std::uint32_t max_size,
                                  QueueFormat format);

/// What EVENT_AVAIL's next_offset says, when NOTIFICATION_DATA was negotiated. Packed rings: the
/// descriptor offset in bits 30..0, the wrap counter in bit 31. Split rings: the available index
/// in bits 15..0, from either form on the wire. 0 for a value that cannot be right.
[[nodiscard]] std::uint32_t notification_hint(std::uint32_t next_offset, std::uint32_t queue_size,
                                              QueueFormat format);

}  // namespace vmsg
