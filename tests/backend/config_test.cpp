// vmsgd.toml: what is accepted, and what an administrator is told about the rest.
#include "backend/config.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <string>

namespace vmsg {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

ConfigErrors errors_of(std::string_view text) {
  const auto config = parse_config(text, "f");
  return config ? ConfigErrors{} : config.error();
}

TEST(Config, EmptyIsTheDefault) {
  const auto config = parse_config("", "f");

  ASSERT_TRUE(config);
  EXPECT_EQ(config->workers, 1U);
  EXPECT_EQ(config->log_level, "info");
  EXPECT_EQ(config->metrics_listen, "");
  EXPECT_EQ(config->limits.buses_per_guest, Limits{}.buses_per_guest);
}

TEST(Config, EveryKeyArrives) {
  const auto config = parse_config(R"(
workers = 7
log_level = "debug"
socket = "/run/x"
[net]
scripts = "/run/scripts/"
[metrics]
listen = "127.0.0.1:9120"
[limits]
buses_per_guest = 1
devices_per_bus = 2
queues_per_device = 3
mapped_pages_per_bus = 16
regions_per_bus = 5
region_pages_per_bus = 6
max_ring_page_order = 7
max_message_size = 300
messages_per_turn = 9
requests_per_second = 1000
bytes_per_second = 1000000
held_reset_ms = 10
device_wait_ms = 11
eject_timeout_s = 12
)",
                                   "f");

  ASSERT_TRUE(config) << config.error().front();
  EXPECT_EQ(config->workers, 7U);
  EXPECT_EQ(config->log_level, "debug");
  EXPECT_EQ(config->socket, "/run/x");
  EXPECT_EQ(config->scripts, "/run/scripts");
  EXPECT_EQ(config->metrics_listen, "127.0.0.1:9120");
  const Limits& limits = config->limits;
  EXPECT_EQ(limits.buses_per_guest, 1U);
  EXPECT_EQ(limits.devices_per_bus, 2U);
  EXPECT_EQ(limits.queues_per_device, 3U);
  EXPECT_EQ(limits.mapped_pages_per_bus, 16U);
  EXPECT_EQ(limits.regions_per_bus, 5U);
  EXPECT_EQ(limits.region_pages_per_bus, 6U);
  EXPECT_EQ(limits.max_ring_page_order, 7U);
  EXPECT_EQ(limits.max_message_size, 300U);
  EXPECT_EQ(limits.frames_per_turn, 9U);
  EXPECT_EQ(limits.rates.requests_per_second, 1000U);
  EXPECT_EQ(limits.rates.bytes_per_second, 1'000'000U);
  EXPECT_EQ(limits.held_reset, std::chrono::milliseconds(10));
  EXPECT_EQ(limits.device_wait, std::chrono::milliseconds(11));
  EXPECT_EQ(limits.eject_timeout, std::chrono::seconds(12));
}

TEST(Config, UnknownKeyAtTheTop) {
  EXPECT_THAT(
      errors_of("\nworker = 2\n"),
      ElementsAre("f:2: worker: there is no such key; there are workers, log_level, socket, "
                  "metrics, net, limits"));
}

TEST(Config, UnknownKeyInATable) {
  EXPECT_THAT(errors_of("[metrics]\nport = 2\n"),
              ElementsAre("f:2: metrics.port: there is no such key; there are listen"));
}

TEST(Config, UnknownTable) {
  EXPECT_THAT(errors_of("[limit]\nx = 1\n"),
              ElementsAre(HasSubstr("f:1: limit: there is no such key; there are workers")));
}

TEST(Config, TableThatIsAValue) {
  EXPECT_THAT(errors_of("limits = 3\n"), ElementsAre("f:1: limits: a table is expected: [limits]"));
}

TEST(Config, NumberOutOfRange) {
  EXPECT_THAT(errors_of("workers = 65\n"),
              ElementsAre("f:1: workers: '65' is not allowed: a number from 1 to 64"));
}

TEST(Config, NegativeNumber) {
  EXPECT_THAT(errors_of("[limits]\neject_timeout_s = -1\n"),
              ElementsAre("f:2: limits.eject_timeout_s: '-1' is not allowed: a number from 1 to "
                          "3600"));
}

TEST(Config, NumberOfAnotherType) {
  EXPECT_THAT(errors_of("workers = 2.0\n"), ElementsAre(HasSubstr("a number from 1 to 64")));
  EXPECT_THAT(errors_of("workers = \"2\"\n"),
              ElementsAre("f:1: workers: '2' is not allowed: a number from 1 to 64"));
  EXPECT_THAT(errors_of("workers = [2]\n"),
              ElementsAre("f:1: workers: 'a table or an array' is not allowed: a number from 1 to "
                          "64"));
}

TEST(Config, WordThatIsNone) {
  EXPECT_THAT(errors_of("log_level = \"loud\"\n"),
              ElementsAre("f:1: log_level: 'loud' is not allowed: one of error, warning, info, "
                          "debug"));
}

TEST(Config, RelativeSocket) {
  EXPECT_THAT(errors_of("socket = \"x\"\n"),
              ElementsAre("f:1: socket: 'x' is not allowed: a path that begins with /"));
}

TEST(Config, MetricsForTheWholeNetwork) {
  EXPECT_THAT(errors_of("[metrics]\nlisten = \"0.0.0.0:9120\"\n"),
              ElementsAre("f:2: metrics.listen: '0.0.0.0:9120' is not allowed: unix:/PATH, "
                          "127.0.0.1:PORT, [::1]:PORT, or an empty text for none"));
}

TEST(Config, AllErrorsAreTold) {
  EXPECT_THAT(
      errors_of("workers = 0\n[limits]\nx = 1\nheld_reset_ms = 1\n"),
      UnorderedElementsAre(HasSubstr("f:3: limits.x"), HasSubstr("f:4: limits.held_reset_ms"),
                           HasSubstr("f:1: workers")));
}

TEST(Config, NoToml) {
  const ConfigErrors errors = errors_of("workers = 1\nlog_level\n");

  ASSERT_EQ(errors.size(), 1U);
  EXPECT_THAT(errors[0], HasSubstr("f:2: "));
}

TEST(Config, KeyTwice) {
  EXPECT_THAT(errors_of("workers = 1\nworkers = 2\n"), ElementsAre(HasSubstr("f:2: ")));
}

TEST(Config, NoFile) {
  const auto config = read_config("/nonexistent/vmsgd.toml");

  ASSERT_FALSE(config);
  EXPECT_THAT(config.error(), ElementsAre("/nonexistent/vmsgd.toml: No such file or directory"));
}

// The example is the documentation: it has every key once, and with its default.
class ConfigExample : public ::testing::Test {
 protected:
  static std::string text() {
    std::ifstream file(VMSG_SOURCE_DIR "/packaging/vmsgd.toml");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  /// With its keys taken out of their comments.
  static std::string with_all_keys() {
    std::string result;
    bool is_line_start = true;
    const std::string whole = text();
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const bool is_key = is_line_start && whole[i] == '#' && i + 1 < whole.size() &&
                          whole[i + 1] >= 'a' && whole[i + 1] <= 'z';
      is_line_start = whole[i] == '\n';
      if (!is_key) result += whole[i];
    }
    return result;
  }
};

TEST_F(ConfigExample, IsValid) { EXPECT_THAT(errors_of(text()), ElementsAre()); }

TEST_F(ConfigExample, HasTheDefaults) {
  const auto config = parse_config(with_all_keys(), "f");

  ASSERT_TRUE(config) << config.error().front();
  const Config defaults;
  EXPECT_EQ(config->workers, defaults.workers);
  EXPECT_EQ(config->log_level, defaults.log_level);
  EXPECT_EQ(config->socket, defaults.socket);
  EXPECT_EQ(config->metrics_listen, defaults.metrics_listen);
  EXPECT_EQ(config->limits, defaults.limits);
}

TEST_F(ConfigExample, HasEveryKey) {
  const std::string all = with_all_keys();
  for (const std::string& key : config_keys()) {
    const std::string name = key.substr(key.find('.') == std::string::npos ? 0 : key.find('.') + 1);
    EXPECT_THAT(all, HasSubstr("\n" + name + " = ")) << key;
  }
}

}  // namespace
}  // namespace vmsg
