// vmsg create: a guest with its devices, or nothing. The guest is created paused, gets its devices,
// and runs once it has all of them.
#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/created_guests.hpp"
#include "tools/vmsg/guest_mark.hpp"
#include "tools/vmsg/guest_plan.hpp"
#include "tools/vmsg/stop_signals.hpp"
#include "tools/vmsg/xl.hpp"

namespace vmsg::tool {
namespace {

/// What is said to xl, taken apart as far as it concerns us.
struct XlArguments {
  std::vector<std::string> passed_on;
  std::vector<std::string> settings;  // "memory=512" and the like, more lines of the file
  bool wants_console = false;
  bool stays_paused = false;
};

Result<XlArguments, std::string> sort_arguments(const std::vector<std::string>& words) {
  XlArguments sorted;
  for (const std::string& word : words) {
    if (word == "-c") {
      // xl would show the console at once and not come back before it is left.
      sorted.wants_console = true;
    } else if (word == "-p") {
      sorted.stays_paused = true;
    } else if (word == "-F") {
      return std::unexpected("xl's -F does not end before the guest does: it cannot be used here");
    } else if (word == "-n" || word == "--dryrun") {
      return std::unexpected(word + " creates nothing; 'vmsg check' says what create would do");
    } else {
      if (!word.starts_with('-') && word.find('=') != std::string::npos) {
        sorted.settings.push_back(word);
      }
      sorted.passed_on.push_back(word);
    }
  }
  return sorted;
}

/// A domain that xl has made for us; destroyed with all of its devices unless it is kept.
class NewGuest {
 public:
  NewGuest(Toolstack& toolstack, xen::DomainId id) : toolstack_(toolstack), id_(id) {}
  NewGuest(const NewGuest&) = delete;
  NewGuest& operator=(const NewGuest&) = delete;
  ~NewGuest() {
    if (is_kept_) return;
    // Whoever interrupted us waits for this.
    toolstack_.cancel_on(-1);
    if (const auto destroyed = run_xl({"destroy", fmt::format("{}", id_)}); !destroyed) {
      complain(kExitFailed, fmt::format("domain {} is still there: {}", id_, destroyed.error()));
      return;
    }
    toolstack_.clean_up_after(id_, std::chrono::seconds(5));
  }
  void keep() { is_kept_ = true; }

 private:
  Toolstack& toolstack_;
  xen::DomainId id_;
  bool is_kept_ = false;
};

std::string cannot_write(const xen::XenError& error) {
  return "cannot write to xenstore: " + xen::to_string(error);
}

int create_guest(Toolstack& toolstack, const StopSignals& stop, const CreateOptions& options,
                 const XlArguments& arguments, const GuestPlan& plan) {
  // Looked for before anything is made: these fail in a moment, and booting a guest does not.
  for (const PlannedDevice& device : plan.devices) {
    if (const auto found = toolstack.find_domain(device.spec.backend); !found) {
      return complain(kExitFailed, fmt::format("{}: backend: {}", device.where, found.error()));
    }
  }
  if (toolstack.find_domain(plan.name)) {
    return complain(kExitFailed, fmt::format("a domain named '{}' is running already", plan.name));
  }
  auto claim = CreatedGuests(options.run_folder).claim(plan.name);
  if (!claim) return complain(kExitFailed, claim.error());

  toolstack.cancel_on(stop.fd());
  std::vector<std::string> words{"create", "-p", options.file};
  words.insert(words.end(), arguments.passed_on.begin(), arguments.passed_on.end());
  if (const auto created = run_xl(words); !created) return complain(kExitFailed, created.error());

  const auto id = toolstack.find_domain(plan.name);
  if (!id) return complain(kExitFailed, fmt::format("xl created the guest, but {}", id.error()));
  NewGuest guest(toolstack, *id);
  if (stop.is_raised()) return complain(kExitFailed, "interrupted; the guest is destroyed again");

  const std::string config = std::filesystem::absolute(options.file).string();
  GuestMark mark{.config = config, .backends = {}};
  if (const auto marked = write_mark(toolstack.store(), *id, mark); !marked) {
    return complain(kExitFailed, cannot_write(marked.error()));
  }
  std::vector<DeviceSpec> specs;
  specs.reserve(plan.devices.size());
  for (const PlannedDevice& device : plan.devices) specs.push_back(device.spec);
  const auto attached = toolstack.attach(*id, specs, std::chrono::seconds(options.timeout));
  if (!attached) {
    const AttachFailure& failure = attached.error();
    return complain(
        kExitFailed,
        fmt::format("{}; the guest is destroyed again",
                    failure.device
                        ? fmt::format("{}: {}", plan.devices[*failure.device].where, failure.what)
                        : failure.what));
  }
  for (std::size_t i = 0; i < specs.size(); ++i) {
    GuestMark::Backend backend{.domain = (*attached)[i].bus.device_domain,
                               .name = specs[i].backend};
    const bool is_noted = std::ranges::find(mark.backends, backend) != mark.backends.end();
    if (!is_noted) mark.backends.push_back(std::move(backend));
  }
  if (const auto marked = write_mark(toolstack.store(), *id, mark); !marked) {
    return complain(kExitFailed, cannot_write(marked.error()) + "; the guest is destroyed again");
  }
  if (!arguments.stays_paused) {
    if (const auto running = run_xl({"unpause", fmt::format("{}", *id)}); !running) {
      return complain(kExitFailed, running.error() + "; the guest is destroyed again");
    }
  }
  guest.keep();
  if (const auto kept = claim->keep(config); !kept) {
    complain(0, fmt::format("warning: {}: vmsg watch will not know this guest after a reboot",
                            kept.error()));
  }
  return 0;
}

}  // namespace

int create(const CreateOptions& options) {
  const auto arguments = sort_arguments(options.xl_words);
  if (!arguments) return complain(kExitUsage, arguments.error());
  const auto config = read_domain_config(options.file, arguments->settings);
  if (!config) return complain(config.error()), kExitUsage;
  const auto named = read_named_devices(options.devices);
  if (!named) return complain(named.error()), kExitUsage;
  const auto plan = plan_guest(*config, *named);
  if (!plan) return complain(plan.error()), kExitUsage;
  const StopSignals stop;
  const int status = with_toolstack([&](Toolstack& toolstack) {
    return create_guest(toolstack, stop, options, *arguments, *plan);
  });
  if (status != 0 || !arguments->wants_console) return status;
  return complain(kExitFailed, become_xl({"console", plan->name}));
}

}  // namespace vmsg::tool
