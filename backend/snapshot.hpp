// What the daemon is at one moment: every bus, device and queue with its state and its counters, as
// plain values. Whoever shows it to people (status, metrics) or keeps it works on this alone.
//
// Counters grow from the moment that the thing they belong to was made: a queue's from its set-up,
// a device's from its attach, a bus's frames from its connection.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/operation_totals.hpp"
#include "transport/features.hpp"

namespace vmsg {

/// Counters by name, in the order in which they are shown. Names are literals.
using NamedCounts = std::vector<std::pair<std::string_view, std::uint64_t>>;

struct QueueSnapshot {
  std::uint32_t index = 0;
  std::uint32_t size = 0;
  bool is_packed = false;
  unsigned worker = 0;
  bool has_port = false;
  std::uint64_t turns = 0;
  std::uint64_t chains = 0;
  std::uint64_t kicks = 0;
  std::uint64_t notifications = 0;
  std::uint64_t suppressed = 0;
};

struct DeviceSnapshot {
  std::uint16_t number = 0;
  std::string type;
  std::string_view status;  // of the attachment: "attached", ...
  std::string error;        // why it is not
  std::uint32_t driver_status = 0;
  FeatureSet features_offered;
  FeatureSet features;
  std::map<std::string, std::string, std::less<>> published;
  OperationTotals totals;
  NamedCounts messages;
  NamedCounts dropped;  // messages, by reason
  std::vector<QueueSnapshot> queues;
};

struct BusSnapshot {
  std::uint16_t guest = 0;
  std::uint32_t bus = 0;
  std::string state;  // the device side's, in lower case
  std::string error;  // why it was closed last
  std::uint64_t frames_in = 0;
  std::uint64_t frames_out = 0;
  std::uint64_t ring_full_ns = 0;  // how long something has waited for the guest to make room
  NamedCounts counters;
  NamedCounts dropped;  // frames, by reason
  std::uint64_t log_lines_held_back = 0;
  std::vector<DeviceSnapshot> devices;
};

/// Copies between a worker and guests, one direction.
struct CopySnapshot {
  std::uint64_t calls = 0;
  std::uint64_t segments = 0;
  std::uint64_t bytes = 0;
  std::uint64_t failed_calls = 0;
  std::uint64_t failed_segments = 0;
  std::uint64_t bad_ranges = 0;
  std::uint64_t region_copies = 0;
};

struct WorkerSnapshot {
  unsigned number = 0;
  std::size_t queues = 0;
  std::uint64_t turns = 0;
  CopySnapshot from_guests;
  CopySnapshot to_guests;
};

struct Snapshot {
  std::uint16_t domain = 0;
  std::uint64_t uptime_seconds = 0;
  std::uint32_t mapped_pages = 0;
  std::uint32_t failed_unmaps = 0;
  NamedCounts xenstore;
  std::vector<WorkerSnapshot> workers;
  std::vector<BusSnapshot> buses;
};

}  // namespace vmsg
