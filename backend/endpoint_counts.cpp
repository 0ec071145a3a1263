#include "backend/endpoint_counts.hpp"

#include <array>

namespace vmsg {

NamedCounts counts_of(const EndpointCounters& counters) {
  return {{"requests", counters.requests},
          {"responses", counters.responses},
          {"refused", counters.refused},
          {"kicks", counters.kicks},
          {"used_sent", counters.used_sent},
          {"used_merged", counters.used_merged},
          {"used_dropped", counters.used_dropped},
          {"config_sent", counters.config_sent},
          {"config_merged", counters.config_merged},
          {"resets", counters.resets},
          {"queue_resets", counters.queue_resets},
          {"needs_reset", counters.needs_reset}};
}

NamedCounts counts_of(const BusCounters& counters) {
  return {{"bus_requests", counters.bus_requests},
          {"bus_responses", counters.bus_responses},
          {"device_events", counters.device_events},
          {"frames_waited", counters.frames_waited},
          {"frames_refused", counters.frames_refused}};
}

NamedCounts counts_of(const DropCounters& counters) {
  // In the order of DropReason.
  constexpr std::array<std::string_view, kDropReasons> kNames{
      "truncated",     "too_large",       "bus_device_number", "direction",
      "absent_device", "unknown_message", "short_payload",     "not_live"};
  NamedCounts counts;
  for (std::size_t i = 0; i < kDropReasons; ++i) {
    counts.emplace_back(kNames[i], counters.by_reason[i]);
  }
  return counts;
}

}  // namespace vmsg
