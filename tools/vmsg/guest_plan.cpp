#include "tools/vmsg/guest_plan.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

const std::string* parameter(const DeviceSpec& spec, std::string_view name) {
  const auto found = spec.parameters.find(name);
  return found == spec.parameters.end() ? nullptr : &found->second;
}

/// A disk whose contents would suffer from another one that writes to them. Who shares a disk on
/// purpose says so.
bool is_writing_disk(const DeviceSpec& spec) {
  const std::string* const access = parameter(spec, "access");
  return spec.type == "blk" && parameter(spec, "shared") == nullptr &&
         (access == nullptr || *access != "ro");
}

/// Complaints of a device type name the parameter themselves.
bool is_key_told(const SpecError& error) {
  return error.key.empty() || error.what.starts_with(error.key) || error.what.starts_with("no ");
}

}  // namespace

std::vector<Problem> find_conflicts(const std::vector<PlannedDevice>& devices) {
  std::vector<Problem> problems;
  const auto same = [](const DeviceSpec& one, const DeviceSpec& other, std::string_view name) {
    const std::string* const value = parameter(one, name);
    const std::string* const found = parameter(other, name);
    return value != nullptr && found != nullptr && *value == *found;
  };
  for (std::size_t i = 0; i < devices.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const DeviceSpec& one = devices[i].spec;
      const DeviceSpec& other = devices[j].spec;
      if (one.type != other.type) continue;
      if (one.type == "net" && same(one, other, "mac")) {
        problems.push_back({.where = devices[i].where,
                            .what = fmt::format("mac: another device has {} as well: {}",
                                                *parameter(one, "mac"), devices[j].where),
                            .hint = "every interface needs an address of its own"});
      }
      if (is_writing_disk(one) && is_writing_disk(other) && one.backend == other.backend &&
          same(one, other, "target")) {
        problems.push_back({.where = devices[i].where,
                            .what = fmt::format("target: another disk writes to {} as well: {}",
                                                *parameter(one, "target"), devices[j].where),
                            .hint = "access=ro for all but one of them, or shared=on for all"});
      }
    }
  }
  return problems;
}

Result<GuestPlan, std::vector<Problem>> plan_guest(const DomainConfig& config,
                                                   const NamedDevices& named) {
  GuestPlan plan{.name = config.name, .devices = {}};
  std::vector<Problem> problems;
  const auto place = [&](std::string_view key, std::size_t index, std::string_view text) {
    return fmt::format("{}: {} entry {} ('{}')", config.file, key, index + 1, printable(text, 120));
  };
  if (config.name.empty()) {
    problems.push_back(
        {.where = config.file, .what = "the guest has no name", .hint = "name = \"guest1\""});
  }
  for (std::size_t i = 0; i < config.virtio_msg.size(); ++i) {
    std::string where = place("virtio_msg", i, config.virtio_msg[i]);
    auto spec = read_device_spec(config.virtio_msg[i]);
    if (!spec) {
      const SpecError& error = spec.error();
      problems.push_back(
          {.where = std::move(where),
           .what = is_key_told(error) ? error.what : fmt::format("{}: {}", error.key, error.what),
           .hint = error.hint});
      continue;
    }
    plan.devices.push_back({.where = std::move(where), .spec = std::move(*spec)});
  }
  for (std::size_t i = 0; i < config.virtio.size(); ++i) {
    const VirtioEntry entry = parse_virtio_entry(config.virtio[i]);
    if (entry.name.empty()) continue;  // somebody else's virtio device
    std::string where = place("virtio", i, config.virtio[i]);
    const auto found = named.find(entry.name);
    if (found == named.end()) {
      problems.push_back(
          {.where = std::move(where),
           .what = fmt::format("type: no device '{}' is described", printable(entry.name)),
           .hint = fmt::format("describe it as [{}] in {}", printable(entry.name),
                               kDefaultNamedDevicesFile)});
      continue;
    }
    DeviceSpec spec = found->second;
    if (!entry.backend.empty()) spec.backend = entry.backend;
    plan.devices.push_back({.where = std::move(where), .spec = std::move(spec)});
  }
  auto conflicts = find_conflicts(plan.devices);
  std::ranges::move(conflicts, std::back_inserter(problems));
  if (!problems.empty()) return std::unexpected(std::move(problems));
  return plan;
}

}  // namespace vmsg::tool
