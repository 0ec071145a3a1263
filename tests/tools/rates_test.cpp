#include "tools/vmsg/rates.hpp"

#include <gmock/gmock.h>

#include "tools/vmsg/device_words.hpp"

namespace vmsg::tool {
namespace {

using nlohmann::json;
using testing::HasSubstr;

json status_with(double reads, double bytes) {
  return json::parse(R"({"domain":0,"buses":[{"guest":3,"bus":0,"devices":[
      {"number":1,"type":"blk","status":"attached",
       "counters":{"read":{"operations":0,"bytes":0,"errors":0,"latency_ns":{"p50":2000,"p99":9000}},
                   "flush":{"operations":1,"latency_ns":{"p50":5,"p99":6}},"reconnects":4},
       "queues":[{"index":0,"kicks":10,"notifications":5}]}]}]})")
      .patch(json::array({{{"op", "replace"},
                           {"path", "/buses/0/devices/0/counters/read/operations"},
                           {"value", reads}},
                          {{"op", "replace"},
                           {"path", "/buses/0/devices/0/counters/read/bytes"},
                           {"value", bytes}}}));
}

TEST(Rates, DifferencesAreDividedByTheTime) {
  const auto rates = rates_between(status_with(100, 4096), status_with(300, 4096 * 5), 2);

  ASSERT_EQ(rates.size(), 1U);
  EXPECT_EQ(rates[0].guest, 3U);
  EXPECT_EQ(rates[0].device, 1U);
  EXPECT_DOUBLE_EQ(*rates[0].operations, 100);
  EXPECT_DOUBLE_EQ(*rates[0].bytes, 8192);
  EXPECT_DOUBLE_EQ(*rates[0].kicks, 0);
}

TEST(Rates, LatencyIsThatOfTheMostFrequentOperation) {
  const auto rates = rates_between(json(), status_with(100, 0), 1);

  EXPECT_EQ(rates[0].p50, 2000);
  EXPECT_EQ(rates[0].p99, 9000);
}

TEST(Rates, OfANewDeviceNothingIsKnown) {
  const auto rates = rates_between(json::object(), status_with(100, 0), 1);

  ASSERT_EQ(rates.size(), 1U);
  EXPECT_EQ(rates[0].operations, std::nullopt);
  EXPECT_THAT(rates_table(rates, {"g"}, 10), HasSubstr("g        1  blk   attached      -"));
}

TEST(Rates, CountersThatWentBackBeginAtZero) {
  // 20 reads and the one flush.
  EXPECT_DOUBLE_EQ(*rates_between(status_with(500, 0), status_with(20, 0), 1)[0].operations, 21);
}

TEST(Rates, AnAnswerOfAnotherShapeIsNoRates) {
  EXPECT_TRUE(rates_between(json("x"), json::parse(R"({"buses":{"a":1}})"), 1).empty());
  EXPECT_EQ(rates_between(json(), json::parse(R"({"buses":[1,{"devices":[2,{}]}]})"), 1).size(),
            1U);
}

TEST(Rates, TheTableHasAsManyLinesAsThereIsRoom) {
  const std::vector<DeviceRates> rates(5);

  const std::string table = rates_table(rates, std::vector<std::string>(5, "g"), 3);

  EXPECT_EQ(std::ranges::count(table, '\n'), 3);
}

TEST(DeviceWords, NumbersForPeople) {
  EXPECT_EQ(duration_words(830), "830 ns");
  EXPECT_EQ(duration_words(1500), "1.5 us");
  EXPECT_EQ(duration_words(2.5e9), "2.5 s");
  EXPECT_EQ(size_words(1536), "1.5 KiB");
  EXPECT_EQ(feature_words("blk", (1ULL << 32) | (1 << 5) | (1ULL << 60)), "RO, VERSION_1, bit 60");
}

}  // namespace
}  // namespace vmsg::tool
