// The counters of transport/ by name, for whoever shows them.
#pragma once

#include "backend/snapshot.hpp"
#include "transport/bus_counters.hpp"

namespace vmsg {

[[nodiscard]] NamedCounts counts_of(const EndpointCounters& counters);
[[nodiscard]] NamedCounts counts_of(const BusCounters& counters);
[[nodiscard]] NamedCounts counts_of(const DropCounters& counters);

}  // namespace vmsg
