// One device queue against a driver that writes whatever it wants, whenever it wants: the bytes
// decide the options, then a sequence of writes to ring and table memory between the queue's calls.
// What must hold whatever they are: no access outside (sanitizers), no chain that breaks a promise
// of chain.hpp, no more in flight than the limit, an error that stays.
#pragma once

#include <cstddef>
#include <cstdint>

#include "transport/queue_layout.hpp"

namespace vmsg::fuzz {

void run_device_queue(QueueFormat format, const std::uint8_t* data, std::size_t size);

}  // namespace vmsg::fuzz
