#include "backend/config.hpp"

#define TOML_ENABLE_FORMATTERS 0
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <optional>
#include <sstream>
#include <system_error>
#include <utility>

#include "backend/metrics_address.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg {
namespace {

/// Takes a value over into the config, or says what is allowed.
using Taker = std::function<std::optional<std::string>(const toml::node&, Config&)>;

struct Key {
  std::string_view table;  // empty: at the top
  std::string_view name;
  Taker take;

  [[nodiscard]] std::string full_name() const {
    return table.empty() ? std::string(name) : fmt::format("{}.{}", table, name);
  }
};

std::string shown(const toml::node& node) {
  std::ostringstream text;
  node.visit([&](const auto& value) {
    if constexpr (toml::is_value<decltype(value)>) {
      text << value.get();
    } else {
      text << "a table or an array";
    }
  });
  return text.str();
}

using Set = std::function<void(Config&, std::int64_t)>;

Taker number(std::int64_t least, std::int64_t most, Set set) {
  return [least, most, set = std::move(set)](const toml::node& node,
                                             Config& config) -> std::optional<std::string> {
    const auto value = node.value_exact<std::int64_t>();
    if (!value || *value < least || *value > most) {
      return fmt::format("'{}' is not allowed: a number from {} to {}", shown(node), least, most);
    }
    set(config, *value);
    return std::nullopt;
  };
}

Taker limit(std::uint32_t Limits::* member, std::uint32_t least, std::uint32_t most) {
  return number(least, most, [member](Config& config, std::int64_t value) {
    config.limits.*member = static_cast<std::uint32_t>(value);
  });
}

Taker rate(std::uint64_t GuestRates::* member) {
  return number(0, std::int64_t{1} << 40, [member](Config& config, std::int64_t value) {
    config.limits.rates.*member = static_cast<std::uint64_t>(value);
  });
}

Taker one_of(std::string Config::* member, std::vector<std::string_view> words) {
  return [member, words = std::move(words)](const toml::node& node,
                                            Config& config) -> std::optional<std::string> {
    const auto value = node.value_exact<std::string>();
    if (!value || std::ranges::find(words, *value) == words.end()) {
      return fmt::format("'{}' is not allowed: one of {}", shown(node), fmt::join(words, ", "));
    }
    config.*member = *value;
    return std::nullopt;
  };
}

std::optional<std::string> take_socket(const toml::node& node, Config& config) {
  const auto value = node.value_exact<std::string>();
  if (!value || !value->starts_with('/')) {
    return fmt::format("'{}' is not allowed: a path that begins with /", shown(node));
  }
  config.socket = *value;
  return std::nullopt;
}

std::optional<std::string> take_scripts(const toml::node& node, Config& config) {
  const auto value = node.value_exact<std::string>();
  if (!value || (!value->empty() && !value->starts_with('/'))) {
    return fmt::format("'{}' is not allowed: a path that begins with /, or nothing", shown(node));
  }
  config.scripts = *value;
  while (config.scripts.size() > 1 && config.scripts.ends_with('/')) config.scripts.pop_back();
  return std::nullopt;
}

std::optional<std::string> take_metrics(const toml::node& node, Config& config) {
  const auto value = node.value_exact<std::string>();
  if (value && value->empty()) {
    config.metrics_listen.clear();
    return std::nullopt;
  }
  if (const auto address = parse_metrics_address(value ? *value : shown(node)); !address) {
    return address.error();
  }
  config.metrics_listen = *value;
  return std::nullopt;
}

const std::vector<Key>& keys() {
  constexpr std::string_view kLimits = "limits";
  static const std::vector<Key> all{
      {"", "workers",
       number(1, 64,
              [](Config& config, std::int64_t value) {
                config.workers = static_cast<unsigned>(value);
              })},
      {"", "log_level", one_of(&Config::log_level, {"error", "warning", "info", "debug"})},
      {"", "socket", take_socket},
      {"metrics", "listen", take_metrics},
      {"net", "scripts", take_scripts},
      {kLimits, "buses_per_guest", limit(&Limits::buses_per_guest, 1, 64)},
      {kLimits, "devices_per_bus", limit(&Limits::devices_per_bus, 1, 4096)},
      {kLimits, "queues_per_device", limit(&Limits::queues_per_device, 1, 1024)},
      {kLimits, "mapped_pages_per_bus", limit(&Limits::mapped_pages_per_bus, 16, 1U << 20)},
      {kLimits, "regions_per_bus", limit(&Limits::regions_per_bus, 0, 256)},
      {kLimits, "region_pages_per_bus", limit(&Limits::region_pages_per_bus, 0, 1U << 20)},
      {kLimits, "max_ring_page_order",
       limit(&Limits::max_ring_page_order, 0, VMSG_XEN_MAX_RING_PAGE_ORDER)},
      {kLimits, "max_message_size",
       limit(&Limits::max_message_size, VIRTIO_MSG_RECOMMENDED_MAX_SIZE, 4096)},
      {kLimits, "messages_per_turn", limit(&Limits::frames_per_turn, 1, 1024)},
      {kLimits, "requests_per_second", rate(&GuestRates::requests_per_second)},
      {kLimits, "bytes_per_second", rate(&GuestRates::bytes_per_second)},
      {kLimits, "held_reset_ms",
       number(10, 60'000,
              [](Config& config, std::int64_t value) {
                config.limits.held_reset = std::chrono::milliseconds(value);
              })},
      {kLimits, "device_wait_ms",
       number(0, 60'000,
              [](Config& config, std::int64_t value) {
                config.limits.device_wait = std::chrono::milliseconds(value);
              })},
      {kLimits, "eject_timeout_s", number(1, 3600, [](Config& config, std::int64_t value) {
         config.limits.eject_timeout = std::chrono::seconds(value);
       })}};
  return all;
}

class Reader {
 public:
  explicit Reader(std::string_view file) : file_(file) {}

  void read(const toml::table& top) {
    for (const auto& [key, node] : top) {
      if (!is_table_name(key.str())) {
        take(key, node, "");
      } else if (const toml::table* table = node.as_table()) {
        for (const auto& [inner, value] : *table) take(inner, value, key.str());
      } else {
        note(key.source(), fmt::format("{0}: a table is expected: [{0}]", key.str()));
      }
    }
  }

  void note(const toml::source_region& where, std::string_view what) {
    errors.push_back(fmt::format("{}:{}: {}", file_, where.begin.line, what));
  }

  Config config;
  ConfigErrors errors;

 private:
  static bool is_table_name(std::string_view name) {
    return std::ranges::any_of(keys(), [&](const Key& key) { return key.table == name; });
  }

  void take(const toml::key& key, const toml::node& node, std::string_view table) {
    const auto known = std::ranges::find_if(
        keys(), [&](const Key& one) { return one.table == table && one.name == key.str(); });
    const std::string full =
        table.empty() ? std::string(key.str()) : fmt::format("{}.{}", table, key.str());
    if (known == keys().end()) {
      note(key.source(), fmt::format("{}: there is no such key; {}", full, allowed(table)));
    } else if (const auto wrong = known->take(node, config)) {
      note(node.source(), fmt::format("{}: {}", full, *wrong));
    }
  }

  static std::string allowed(std::string_view table) {
    std::vector<std::string_view> names;
    for (const Key& key : keys()) {
      const std::string_view shown_name = key.table == table ? key.name : key.table;
      const bool is_here = key.table == table || table.empty();
      if (is_here && std::ranges::find(names, shown_name) == names.end()) {
        names.push_back(shown_name);
      }
    }
    return fmt::format("there are {}", fmt::join(names, ", "));
  }

  std::string_view file_;
};

}  // namespace

Result<Config, ConfigErrors> parse_config(std::string_view text, std::string_view file_name) {
  Reader reader(file_name);
  try {
    reader.read(toml::parse(text));
  } catch (const toml::parse_error& error) {
    reader.note(error.source(), error.description());
  }
  if (!reader.errors.empty()) return std::unexpected(reader.errors);
  return reader.config;
}

Result<Config, ConfigErrors> read_config(const std::string& file_name) {
  const auto failed = [&](int error) {
    return std::unexpected(
        ConfigErrors{fmt::format("{}: {}", file_name, std::generic_category().message(error))});
  };
  std::error_code ignored;
  if (std::filesystem::is_directory(file_name, ignored)) return failed(EISDIR);
  std::ifstream file(file_name, std::ios::binary);
  if (!file.is_open()) return failed(errno);
  const std::string text(std::istreambuf_iterator<char>(file), {});
  return parse_config(text, file_name);
}

std::vector<std::string> config_keys() {
  std::vector<std::string> names;
  for (const Key& key : keys()) names.push_back(key.full_name());
  return names;
}

}  // namespace vmsg
