// The answer to `status`: the keys are an interface, other programs read them.
#include "backend/status_text.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "tests/backend/sample_queue.hpp"

namespace vmsg {
namespace {

using nlohmann::json;

Snapshot snapshot_of_two_guests() {
  DeviceSnapshot device;
  device.number = 7;
  device.type = "blk";
  device.status = "attached";
  device.driver_status = 15;
  device.features_offered = {0, 32, 33, 64};
  device.features = {32, 33};
  device.published = {{"size", "4096"}};
  device.totals.operations["read"].operations = 5;
  device.totals.operations["read"].bytes = 20480;
  device.totals.numbers["reconnects"] = 2;
  device.messages = {{"requests", 9}};
  device.dropped = {{"truncated", 1}};
  device.queues = {test::sample_queue()};
  BusSnapshot bus;
  bus.guest = 3;
  bus.state = "connected";
  bus.frames_in = 100;
  bus.frames_out = 101;
  bus.ring_full_ns = 77;
  bus.counters = {{"bus_requests", 4}};
  bus.dropped = {{"absent_device", 6}};
  bus.devices.push_back(device);
  BusSnapshot other;
  other.guest = 4;
  other.state = "closed";
  other.error = "ring-ref: missing";
  Snapshot all;
  all.domain = 5;
  all.uptime_seconds = 60;
  all.workers = {{.number = 0, .queues = 2, .turns = 9, .from_guests = {}, .to_guests = {}}};
  all.buses = {bus, other};
  return all;
}

TEST(StatusText, IsOneLine) {
  const std::string text = status_text(snapshot_of_two_guests(), "1.2.3");

  EXPECT_EQ(std::ranges::count(text, '\n'), 1);
  EXPECT_TRUE(text.ends_with("\n"));
}

TEST(StatusText, SaysWhoAndHowLong) {
  const json status = json::parse(status_text(snapshot_of_two_guests(), "1.2.3"));

  EXPECT_EQ(status["version"], "1.2.3");
  EXPECT_EQ(status["domain"], 5);
  EXPECT_EQ(status["uptime_seconds"], 60);
  EXPECT_EQ(status["workers"], json::parse(R"([{"number":0,"queues":2,"turns":9}])"));
}

TEST(StatusText, SaysWhatABusDoes) {
  const json status = json::parse(status_text(snapshot_of_two_guests(), ""));

  ASSERT_EQ(status["buses"].size(), 2U);
  json bus = status["buses"][0];
  bus.erase("devices");
  EXPECT_EQ(bus, json::parse(R"({"guest":3,"bus":0,"state":"connected","frames_in":100,
    "frames_out":101,"counters":{"bus_requests":4,"ring_full_ns":77,"log_lines_held_back":0,
    "dropped":{"absent_device":6}}})"));
  EXPECT_EQ(status["buses"][1]["error"], "ring-ref: missing");
}

TEST(StatusText, SaysWhatADeviceDoes) {
  const json status = json::parse(status_text(snapshot_of_two_guests(), ""));

  ASSERT_EQ(status["buses"][0]["devices"].size(), 1U);
  EXPECT_EQ(status["buses"][0]["devices"][0],
            json::parse(R"({"number":7,"type":"blk","status":"attached","driver_status":15,
    "features_offered":"0x10000000300000001","features":"0x300000000",
    "published":{"size":"4096"},
    "counters":{"read":{"operations":5,"bytes":20480,"errors":0,
                        "latency_ns":{"p50":0,"p90":0,"p99":0,"max":0}}},
    "numbers":{"reconnects":2},"messages":{"requests":9},"dropped":{"truncated":1},
    "queues":[{"index":1,"size":256,"format":"packed","worker":3,"has_port":true,"turns":10,
               "chains":11,"kicks":12,"notifications":13,"suppressed":14}]})"));
}

TEST(StatusText, OfOneGuest) {
  const json status = json::parse(status_text(snapshot_of_two_guests(), "", 4));

  ASSERT_EQ(status["buses"].size(), 1U);
  EXPECT_EQ(status["buses"][0]["guest"], 4);
}

TEST(StatusText, BytesThatAreNoTextDoNotBreakIt) {
  Snapshot all = snapshot_of_two_guests();
  all.buses[1].error = "\xff\xfe";

  EXPECT_FALSE(json::parse(status_text(all, ""), nullptr, false).is_discarded());
}

TEST(FeaturesText, OfNone) { EXPECT_EQ(features_text({}), "0x0"); }

}  // namespace
}  // namespace vmsg
