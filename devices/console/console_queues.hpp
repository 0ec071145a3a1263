// The queue services of a console: what is done with the buffers of each kind of queue.
#pragma once

#include <cstdint>
#include <memory>

#include "devices/console/console_counters.hpp"
#include "devices/console/console_hub.hpp"
#include "devices/queue_service.hpp"

namespace vmsg::console {

/// Buffers that a queue of a console holds at most.
inline constexpr std::uint32_t kMaxInFlight = 64;

/// The service of the queue `context.setup.index`, which exists. `hub` and `counters` outlive it.
[[nodiscard]] std::unique_ptr<QueueService> open_queue(const QueueContext& context, ConsoleHub& hub,
                                                       ConsoleCounters& counters);

}  // namespace vmsg::console
