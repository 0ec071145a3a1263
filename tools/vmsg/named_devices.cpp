#include "tools/vmsg/named_devices.hpp"

#include <fmt/format.h>

#include <toml++/toml.h>
#include <unistd.h>

#include <filesystem>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

std::string at(const std::string& file, const toml::source_region& source) {
  return fmt::format("{}:{}", file, source.begin.line);
}

std::optional<std::string> text_of(const toml::node& node) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return fmt::format("{}", number->get());
  if (const auto* flag = node.as_boolean()) return std::string(flag->get() ? "on" : "off");
  return std::nullopt;
}

/// One device as the words that a virtio_msg entry would have, judged by the same code.
void read_table(const std::string& name, const toml::table& table, const std::string& file,
                NamedDevices& devices, std::vector<Problem>& problems) {
  const auto complain = [&](const toml::node& node, const SpecError& error) {
    problems.push_back({.where = fmt::format("{}: [{}]", at(file, node.source()), name),
                        .what = error.key.empty() || error.what.starts_with(error.key) ||
                                        error.what.starts_with("no ")
                                    ? error.what
                                    : fmt::format("{}: {}", error.key, error.what),
                        .hint = error.hint});
  };
  std::string words;
  for (const auto& [key, node] : table) {
    const auto text = text_of(node);
    if (!text || text->find(',') != std::string::npos) {
      return complain(node, {.key = std::string(key.str()),
                             .what = "text without a comma, a number or true/false is allowed",
                             .hint = {}});
    }
    words += fmt::format("{}{}={}", words.empty() ? "" : ",", key.str(), *text);
  }
  auto spec = read_device_spec(words);
  if (spec) {
    devices.emplace(name, std::move(*spec));
    return;
  }
  const toml::node* const node = table.get(spec.error().key);
  complain(node != nullptr ? *node : table, spec.error());
}

}  // namespace

Result<NamedDevices, std::vector<Problem>> parse_named_devices(std::string_view text,
                                                               const std::string& file) {
  NamedDevices devices;
  std::vector<Problem> problems;
  try {
    const toml::table root = toml::parse(text, std::string_view(file));
    for (const auto& [key, node] : root) {
      const std::string name(key.str());
      if (const auto* table = node.as_table()) {
        read_table(name, *table, file, devices, problems);
      } else {
        problems.push_back({.where = at(file, node.source()),
                            .what = fmt::format("'{}' is outside of a device", printable(name)),
                            .hint = "begin each device with its name in brackets: [root1]"});
      }
    }
  } catch (const toml::parse_error& error) {
    problems.push_back({.where = at(file, error.source()),
                        .what = std::string(error.description()),
                        .hint = "the file is TOML: [name], then key = \"value\" lines"});
  }
  if (!problems.empty()) return std::unexpected(std::move(problems));
  return devices;
}

Result<NamedDevices, std::vector<Problem>> read_named_devices(const std::string& file) {
  std::error_code ignored;
  if (!std::filesystem::exists(file, ignored)) return NamedDevices{};
  const auto text = read_small_file(file);
  if (!text) {
    return std::unexpected(std::vector<Problem>{{.where = file, .what = text.error(), .hint = {}}});
  }
  return parse_named_devices(*text, file);
}

std::optional<std::string_view> name_in_type(std::string_view type) {
  constexpr std::string_view kPrefix = "vmsg-";
  if (!type.starts_with(kPrefix) || type.size() == kPrefix.size()) return std::nullopt;
  return type.substr(kPrefix.size());
}

VirtioEntry parse_virtio_entry(std::string_view text) {
  // xl's own syntax, read generously: what is wrong with it is xl's to say.
  VirtioEntry entry;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view part = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    while (part.starts_with(' ')) part.remove_prefix(1);
    while (part.ends_with(' ')) part.remove_suffix(1);
    if (part.starts_with("backend=")) entry.backend = part.substr(8);
    if (!part.starts_with("type=")) continue;
    if (const auto name = name_in_type(part.substr(5))) entry.name = *name;
  }
  return entry;
}

}  // namespace vmsg::tool
