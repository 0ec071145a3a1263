// vmsg check: whether a guest's configuration is right, and what would be written for it.
#include <fmt/format.h>

#include <filesystem>
#include <optional>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/guest_plan.hpp"
#include "tools/vmsg/planned_nodes.hpp"

namespace vmsg::tool {
namespace {

bool is_own_domain(std::string_view backend) { return backend == "0" || backend == "Domain-0"; }

/// What is no mistake in the file and would still fail at this moment, on this host.
void warn(const GuestPlan& plan, Toolstack* toolstack) {
  for (const PlannedDevice& device : plan.devices) {
    const auto say = [&](const std::string& what) {
      fmt::print(stderr, "vmsg: warning: {}: {}\n", device.where, what);
    };
    if (is_own_domain(device.spec.backend)) {
      const auto target = device.spec.parameters.find("target");
      std::error_code ignored;
      if (target != device.spec.parameters.end() && target->second.starts_with('/') &&
          !std::filesystem::exists(target->second, ignored)) {
        say(fmt::format("target: there is no {} on this host now", target->second));
      }
    } else if (toolstack != nullptr) {
      if (const auto found = toolstack->find_domain(device.spec.backend); !found) {
        say("backend: " + found.error() + " now");
      }
    }
  }
}

}  // namespace

int check(const CheckOptions& options) {
  const auto config = read_domain_config(options.file);
  if (!config) return complain(config.error()), kExitUsage;
  const auto named = read_named_devices(options.devices);
  if (!named) return complain(named.error()), kExitUsage;
  const auto plan = plan_guest(*config, *named);
  if (!plan) return complain(plan.error()), kExitUsage;

  // A file can be checked where no Xen runs, too.
  const auto toolstack = Toolstack::open();
  warn(*plan, toolstack ? toolstack->get() : nullptr);
  if (options.quiet) return 0;
  fmt::print("{}: '{}' has {} device{}\n", options.file, plan->name, plan->devices.size(),
             plan->devices.size() == 1 ? "" : "s");
  const auto backend_id = [&](std::string_view backend) -> std::optional<xen::DomainId> {
    if (is_own_domain(backend)) return 0;
    if (toolstack) {
      if (const auto found = (*toolstack)->find_domain(backend)) return *found;
    }
    return std::nullopt;
  };
  for (const std::string& line : planned_nodes(*plan, backend_id)) fmt::print("{}\n", line);
  return 0;
}

}  // namespace vmsg::tool
