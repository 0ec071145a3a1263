#include "backend/metrics_text.hpp"

#include <fmt/format.h>

#include <array>
#include <functional>
#include <iterator>

#include "backend/endpoint_counts.hpp"

namespace vmsg {
namespace {

// Every fourth power of two from about 1 µs to 17 s: what dashboards can tell apart, at a size that
// a thousand devices can have.
constexpr std::size_t kFirstBucket = 10;
constexpr std::size_t kLastBucket = 34;
constexpr std::size_t kBucketStep = 2;

std::string escaped(std::string_view text) {
  std::string result;
  for (const char c : text) {
    if (c == '\\' || c == '"') result += '\\';
    if (c == '\n') {
      result += "\\n";
    } else {
      result += c;
    }
  }
  return result;
}

double seconds(std::uint64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e9; }

/// Writes families one after the other, as the format wants them: a head, then all its samples.
class Writer {
 public:
  void family(std::string_view name, std::string_view type, std::string_view help) {
    name_ = name;
    fmt::format_to(std::back_inserter(text_), "# HELP {0} {2}\n# TYPE {0} {1}\n", name, type, help);
  }
  template <typename Value>
  void sample(std::string_view labels, Value value, std::string_view suffix = "") {
    fmt::format_to(std::back_inserter(text_), "{}{}{{{}}} {}\n", name_, suffix, labels, value);
  }
  template <typename Value>
  void lone(std::string_view name, std::string_view type, std::string_view help, Value value) {
    family(name, type, help);
    fmt::format_to(std::back_inserter(text_), "{} {}\n", name, value);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string name_;
  std::string text_;
};

std::string labels_of(const BusSnapshot& bus) {
  return fmt::format("guest=\"{}\",bus=\"{}\"", bus.guest, bus.bus);
}

std::string labels_of(const BusSnapshot& bus, const DeviceSnapshot& device) {
  return fmt::format("{},device=\"{}\",type=\"{}\"", labels_of(bus), device.number,
                     escaped(device.type));
}

void write_workers(Writer& out, const Snapshot& snapshot) {
  out.family("vmsg_worker_queues", "gauge", "Queues that a worker serves.");
  for (const auto& worker : snapshot.workers) {
    out.sample(fmt::format("worker=\"{}\"", worker.number), worker.queues);
  }
  out.family("vmsg_worker_turns_total", "counter", "Turns of a worker's loop.");
  for (const auto& worker : snapshot.workers) {
    out.sample(fmt::format("worker=\"{}\"", worker.number), worker.turns);
  }
  struct Copies {
    std::string_view name;
    std::string_view help;
    std::uint64_t CopySnapshot::* member;
  };
  constexpr std::array kCopies{
      Copies{"vmsg_grant_copy_calls_total", "Grant copy calls.", &CopySnapshot::calls},
      Copies{"vmsg_grant_copy_segments_total", "Segments of grant copies.",
             &CopySnapshot::segments},
      Copies{"vmsg_grant_copy_bytes_total", "Bytes to copy from or to guests.",
             &CopySnapshot::bytes},
      Copies{"vmsg_grant_copy_failed_calls_total", "Grant copy calls that failed as a whole.",
             &CopySnapshot::failed_calls},
      Copies{"vmsg_grant_copy_failed_segments_total", "Segments that a guest has not granted.",
             &CopySnapshot::failed_segments},
      Copies{"vmsg_grant_copy_bad_ranges_total", "Ranges that cannot be grants.",
             &CopySnapshot::bad_ranges},
      Copies{"vmsg_region_copies_total", "Copies by a shared region, without a call.",
             &CopySnapshot::region_copies}};
  for (const Copies& copies : kCopies) {
    out.family(copies.name, "counter", copies.help);
    for (const auto& worker : snapshot.workers) {
      out.sample(fmt::format("worker=\"{}\",direction=\"from_guests\"", worker.number),
                 worker.from_guests.*copies.member);
      out.sample(fmt::format("worker=\"{}\",direction=\"to_guests\"", worker.number),
                 worker.to_guests.*copies.member);
    }
  }
}

void write_buses(Writer& out, const Snapshot& snapshot) {
  out.family("vmsg_bus_state", "gauge", "1 for the state that the device side of a bus is in.");
  for (const auto& bus : snapshot.buses) {
    out.sample(fmt::format("{},state=\"{}\"", labels_of(bus), bus.state), 1);
  }
  out.family("vmsg_bus_frames_total", "counter",
             "Messages since the bus was connected: out of the guest, and in to it.");
  for (const auto& bus : snapshot.buses) {
    out.sample(labels_of(bus) + ",direction=\"in\"", bus.frames_in);
    out.sample(labels_of(bus) + ",direction=\"out\"", bus.frames_out);
  }
  out.family("vmsg_bus_ring_full_seconds_total", "counter",
             "How long messages have waited for the guest to make room in its ring.");
  for (const auto& bus : snapshot.buses) out.sample(labels_of(bus), seconds(bus.ring_full_ns));
  const NamedCounts names = counts_of(BusCounters{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    out.family(fmt::format("vmsg_bus_{}_total", names[i].first), "counter",
               "See BusCounters in transport/bus_counters.hpp.");
    for (const auto& bus : snapshot.buses) {
      if (i < bus.counters.size()) out.sample(labels_of(bus), bus.counters[i].second);
    }
  }
  out.family("vmsg_bus_dropped_total", "counter",
             "Messages of the guest that reached no device, by what was wrong with them.");
  for (const auto& bus : snapshot.buses) {
    for (const auto& [reason, count] : bus.dropped) {
      out.sample(fmt::format("{},reason=\"{}\"", labels_of(bus), reason), count);
    }
  }
  out.family("vmsg_log_lines_held_back_total", "counter",
             "Log lines that a guest caused and that its limit held back.");
  for (const auto& bus : snapshot.buses) out.sample(labels_of(bus), bus.log_lines_held_back);
}

using EachDevice = std::function<void(const DeviceSnapshot&, const std::string& labels)>;

void for_each_device(const Snapshot& snapshot, const EachDevice& work) {
  for (const auto& bus : snapshot.buses) {
    for (const auto& device : bus.devices) work(device, labels_of(bus, device));
  }
}

void write_operations(Writer& out, const Snapshot& snapshot) {
  const auto family = [&](std::string_view name, std::string_view help,
                          std::uint64_t OperationTotal::* member) {
    out.family(name, "counter", help);
    for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
      for (const auto& [operation, total] : device.totals.operations) {
        out.sample(fmt::format("{},operation=\"{}\"", labels, escaped(operation)), total.*member);
      }
    });
  };
  family("vmsg_device_operations_total", "Operations that a device has done.",
         &OperationTotal::operations);
  family("vmsg_device_bytes_total", "Bytes of these operations.", &OperationTotal::bytes);
  family("vmsg_device_errors_total", "Operations that the host could not do.",
         &OperationTotal::errors);

  out.family("vmsg_device_latency_seconds", "histogram",
             "From when a request was taken from its queue to when it was done.");
  for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
    for (const auto& [operation, total] : device.totals.operations) {
      const std::uint64_t count = total.latency.count();
      if (count == 0) continue;
      const std::string its_labels = fmt::format("{},operation=\"{}\"", labels, escaped(operation));
      std::uint64_t below = 0;
      for (std::size_t i = 0; i <= kLastBucket; ++i) {
        below += total.latency.buckets[i];
        if (i < kFirstBucket || (i - kFirstBucket) % kBucketStep != 0) continue;
        out.sample(fmt::format("{},le=\"{}\"", its_labels, seconds(std::uint64_t{1} << i)), below,
                   "_bucket");
      }
      out.sample(its_labels + ",le=\"+Inf\"", count, "_bucket");
      out.sample(its_labels, seconds(total.latency.sum_ns), "_sum");
      out.sample(its_labels, count, "_count");
    }
  });
}

void write_devices(Writer& out, const Snapshot& snapshot) {
  out.family("vmsg_device_attachment", "gauge", "1 for the state of a device's attachment.");
  for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
    out.sample(fmt::format("{},status=\"{}\"", labels, device.status), 1);
  });
  out.family("vmsg_device_driver_status", "gauge", "The device status register.");
  for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
    out.sample(labels, device.driver_status);
  });
  write_operations(out, snapshot);
  out.family("vmsg_device_events_total", "counter", "What else a device counts, by name.");
  for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
    for (const auto& [name, value] : device.totals.numbers) {
      out.sample(fmt::format("{},event=\"{}\"", labels, escaped(name)), value);
    }
  });
  const NamedCounts names = counts_of(EndpointCounters{});
  for (std::size_t i = 0; i < names.size(); ++i) {
    out.family(fmt::format("vmsg_device_message_{}_total", names[i].first), "counter",
               "See EndpointCounters in transport/bus_counters.hpp.");
    for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
      if (i < device.messages.size()) out.sample(labels, device.messages[i].second);
    });
  }
  out.family("vmsg_device_dropped_total", "counter",
             "Messages for a device that were dropped, by what was wrong with them.");
  for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
    for (const auto& [reason, count] : device.dropped) {
      out.sample(fmt::format("{},reason=\"{}\"", labels, reason), count);
    }
  });
}

void write_queues(Writer& out, const Snapshot& snapshot) {
  struct Counts {
    std::string_view name;
    std::string_view help;
    std::uint64_t QueueSnapshot::* member;
  };
  constexpr std::array kCounts{
      Counts{"vmsg_queue_turns_total", "Turns in which a queue was looked at.",
             &QueueSnapshot::turns},
      Counts{"vmsg_queue_chains_total", "Descriptor chains taken from a queue.",
             &QueueSnapshot::chains},
      Counts{"vmsg_queue_kicks_total", "Notifications from the driver.", &QueueSnapshot::kicks},
      Counts{"vmsg_queue_notifications_total", "Notifications sent to the driver.",
             &QueueSnapshot::notifications},
      Counts{"vmsg_queue_suppressed_total", "Turns after which the driver wanted none.",
             &QueueSnapshot::suppressed}};
  for (const Counts& counts : kCounts) {
    out.family(counts.name, "counter", counts.help);
    for_each_device(snapshot, [&](const DeviceSnapshot& device, const std::string& labels) {
      for (const QueueSnapshot& queue : device.queues) {
        out.sample(fmt::format("{},queue=\"{}\"", labels, queue.index), queue.*counts.member);
      }
    });
  }
}

}  // namespace

std::string metrics_text(const Snapshot& snapshot, std::string_view version) {
  Writer out;
  out.family("vmsg_info", "gauge", "Which vmsgd this is, and in which domain.");
  out.sample(fmt::format("version=\"{}\",domain=\"{}\"", escaped(version), snapshot.domain), 1);
  out.lone("vmsg_uptime_seconds", "gauge", "How long it has run.", snapshot.uptime_seconds);
  out.lone("vmsg_mapped_pages", "gauge", "Pages of guests that are mapped: rings and queue areas.",
           snapshot.mapped_pages);
  out.lone("vmsg_failed_unmaps_total", "counter", "Unmaps that the kernel refused.",
           snapshot.failed_unmaps);
  for (const auto& [name, value] : snapshot.xenstore) {
    out.lone(fmt::format("vmsg_xenstore_{}_total", name), "counter",
             "See WatchMetrics in xenbus-glue/watches.hpp and Store in store.hpp.", value);
  }
  write_workers(out, snapshot);
  write_buses(out, snapshot);
  write_devices(out, snapshot);
  write_queues(out, snapshot);
  return out.take();
}

}  // namespace vmsg
