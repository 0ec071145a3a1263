// What Prometheus reads: every counter has a place, and the text is in its format.
#include "backend/metrics_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cctype>
#include <set>
#include <sstream>

#include "backend/endpoint_counts.hpp"
#include "tests/backend/sample_queue.hpp"

namespace vmsg {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Snapshot snapshot_with_everything() {
  DeviceSnapshot device;
  device.number = 7;
  device.type = "blk";
  device.status = "attached";
  device.driver_status = 15;
  OperationTotal& read = device.totals.operations["read"];
  read.operations = 3;
  read.bytes = 12288;
  read.errors = 1;
  read.latency.buckets[9] = 1;   // below 512 ns
  read.latency.buckets[12] = 2;  // below 4096 ns
  read.latency.buckets[39] = 1;  // minutes
  read.latency.sum_ns = 1'500'000'000;
  device.totals.operations["flush"];
  device.totals.numbers["reconnects"] = 2;
  EndpointCounters messages;
  messages.kicks = 21;
  messages.dropped.add(DropReason::kShortPayload);
  device.messages = counts_of(messages);
  device.dropped = counts_of(messages.dropped);
  device.queues = {test::sample_queue()};
  BusSnapshot bus;
  bus.guest = 3;
  bus.state = "connected";
  bus.frames_in = 100;
  bus.frames_out = 101;
  bus.ring_full_ns = 2'500'000'000;
  BusCounters counters;
  counters.frames_waited = 5;
  counters.dropped.add(DropReason::kAbsentDevice);
  bus.counters = counts_of(counters);
  bus.dropped = counts_of(counters.dropped);
  bus.log_lines_held_back = 8;
  bus.devices.push_back(device);
  BusSnapshot unconnected;
  unconnected.guest = 4;
  unconnected.state = "initwait";
  unconnected.devices.emplace_back();
  WorkerSnapshot worker{.number = 2, .queues = 1, .turns = 44, .from_guests = {}, .to_guests = {}};
  worker.from_guests.calls = 6;
  worker.to_guests.failed_segments = 9;
  Snapshot all;
  all.domain = 5;
  all.uptime_seconds = 60;
  all.xenstore = {{"watch_events", 33}};
  all.workers.push_back(worker);
  all.buses = {bus, unconnected};
  return all;
}

class MetricsText : public ::testing::TestWithParam<const char*> {};

TEST_P(MetricsText, HasTheLine) {
  EXPECT_THAT(metrics_text(snapshot_with_everything(), "1.2"),
              HasSubstr(std::string("\n") + GetParam() + "\n"));
}

constexpr const char* kLines[] = {
    R"(vmsg_info{version="1.2",domain="5"} 1)",
    "vmsg_uptime_seconds 60",
    "vmsg_xenstore_watch_events_total 33",
    R"(vmsg_worker_turns_total{worker="2"} 44)",
    R"(vmsg_grant_copy_calls_total{worker="2",direction="from_guests"} 6)",
    R"(vmsg_grant_copy_failed_segments_total{worker="2",direction="to_guests"} 9)",
    R"(vmsg_bus_state{guest="3",bus="0",state="connected"} 1)",
    R"(vmsg_bus_frames_total{guest="3",bus="0",direction="in"} 100)",
    R"(vmsg_bus_frames_total{guest="3",bus="0",direction="out"} 101)",
    R"(vmsg_bus_ring_full_seconds_total{guest="3",bus="0"} 2.5)",
    R"(vmsg_bus_frames_waited_total{guest="3",bus="0"} 5)",
    R"(vmsg_bus_dropped_total{guest="3",bus="0",reason="absent_device"} 1)",
    R"(vmsg_log_lines_held_back_total{guest="3",bus="0"} 8)",
    R"(vmsg_device_attachment{guest="3",bus="0",device="7",type="blk",status="attached"} 1)",
    R"(vmsg_device_driver_status{guest="3",bus="0",device="7",type="blk"} 15)",
    R"(vmsg_device_operations_total{guest="3",bus="0",device="7",type="blk",operation="read"} 3)",
    R"(vmsg_device_operations_total{guest="3",bus="0",device="7",type="blk",operation="flush"} 0)",
    R"(vmsg_device_bytes_total{guest="3",bus="0",device="7",type="blk",operation="read"} 12288)",
    R"(vmsg_device_errors_total{guest="3",bus="0",device="7",type="blk",operation="read"} 1)",
    R"(vmsg_device_events_total{guest="3",bus="0",device="7",type="blk",event="reconnects"} 2)",
    R"(vmsg_device_message_kicks_total{guest="3",bus="0",device="7",type="blk"} 21)",
    R"(vmsg_device_dropped_total{guest="3",bus="0",device="7",type="blk",reason="short_payload"} 1)",
    R"(vmsg_queue_chains_total{guest="3",bus="0",device="7",type="blk",queue="1"} 11)",
    R"(vmsg_queue_notifications_total{guest="3",bus="0",device="7",type="blk",queue="1"} 13)",
    R"(vmsg_queue_suppressed_total{guest="3",bus="0",device="7",type="blk",queue="1"} 14)",
};

INSTANTIATE_TEST_SUITE_P(Lines, MetricsText, ::testing::ValuesIn(kLines));

TEST(MetricsHistogram, CountsWhatIsBelowEachBound) {
  const std::string text = metrics_text(snapshot_with_everything(), "");
  const std::string labels = R"({guest="3",bus="0",device="7",type="blk",operation="read")";
  const std::string name = "vmsg_device_latency_seconds";

  EXPECT_THAT(text, HasSubstr(name + "_bucket" + labels + ",le=\"1.024e-06\"} 1\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket" + labels + ",le=\"4.096e-06\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket" + labels + ",le=\"17.179869184\"} 3\n"));
  EXPECT_THAT(text, HasSubstr(name + "_bucket" + labels + ",le=\"+Inf\"} 4\n"));
  EXPECT_THAT(text, HasSubstr(name + "_sum" + labels + "} 1.5\n"));
  EXPECT_THAT(text, HasSubstr(name + "_count" + labels + "} 4\n"));
}

TEST(MetricsFormat, EveryFamilyHasOneHeadBeforeItsSamples) {
  std::istringstream lines(metrics_text(snapshot_with_everything(), "1"));
  std::set<std::string> seen;
  std::string family;
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with("# TYPE ")) {
      family = line.substr(7, line.find(' ', 7) - 7);
      EXPECT_TRUE(seen.insert(family).second) << family << " comes twice";
    } else if (!line.starts_with("# HELP ")) {
      EXPECT_TRUE(line.starts_with(family)) << line << " is not in " << family;
    }
  }
  EXPECT_GT(seen.size(), 40U);
}

TEST(MetricsFormat, LabelsAreEscaped) {
  Snapshot all = snapshot_with_everything();
  all.buses[0].devices[0].type = "a\"b\\c\nd";

  EXPECT_THAT(metrics_text(all, ""), HasSubstr(R"(type="a\"b\\c\nd")"));
}

}  // namespace
}  // namespace vmsg
