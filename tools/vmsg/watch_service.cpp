#include "tools/vmsg/watch_service.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tools/vmsg/small_file.hpp"

namespace vmsg::tool {
namespace {

using std::chrono::milliseconds;

/// What the device sides of a guest that vanished get before its nodes are removed for them.
constexpr std::chrono::seconds kTidyPatience{3};

enum class Level : std::uint8_t { kError = 3, kWarning = 4, kInfo = 6 };

/// The journal takes the level from the beginning of a line.
void say(Level level, const std::string& text) {
  static const bool is_journal =
      std::getenv("JOURNAL_STREAM") != nullptr;  // NOLINT(concurrency-mt-unsafe): one thread
  const std::string prefix =
      is_journal ? fmt::format("<{}>", static_cast<int>(level)) : "vmsg watch: ";
  fmt::print(stderr, "{}{}\n", prefix, text);
}

std::string label(xen::DomainId id, const std::string& name) {
  return fmt::format("{} ({})", printable(name, 64), id);
}

xen::Path virtio_list_of(xen::DomainId id) {
  return *xen::Path::parse(fmt::format("/libxl/{}/device/virtio", id));
}

xen::Path toolstack_home_of(xen::DomainId id) {
  return *xen::Path::parse(fmt::format("/libxl/{}", id));
}

}  // namespace

WatchService::WatchService(Toolstack& toolstack, const WatchOptions& options)
    : toolstack_(toolstack),
      configs_(options.folders),
      created_(options.run_folder),
      devices_file_(options.devices) {}

Result<xen::Watch, Failure> WatchService::watch(const xen::Path& path) {
  // Handlers only note that there is something: the toolstack runs them while it waits as well.
  auto set =
      toolstack_.watches().watch(path, [this](const xen::WatchReport&) { must_look_ = true; });
  if (set) return std::move(*set);
  return std::unexpected(
      fmt::format("cannot watch {}: {}", path.text(), xen::to_string(set.error())));
}

Result<void, Failure> WatchService::run(int stop_fd) {
  const auto introduced = watch(xen::Path::introduce_domain());
  if (!introduced) return std::unexpected(introduced.error());
  const auto released = watch(xen::Path::release_domain());
  if (!released) return std::unexpected(released.error());
  for (;;) {
    const bool is_due = look_again_ && *look_again_ <= Clock::now();
    if (std::exchange(must_look_, false) || is_due) {
      look_again_.reset();
      if (auto looked = look(); !looked) {
        look_later(looked.error());
      } else {
        pace_ = kFirstPace;
      }
    }
    tidy_up();
    pollfd ready[]{{.fd = toolstack_.watches().fd(), .events = POLLIN, .revents = 0},
                   {.fd = stop_fd, .events = POLLIN, .revents = 0}};
    if (poll(ready, 2, patience()) < 0 && errno != EINTR) {
      return std::unexpected("cannot wait for xenstore: " + words_of_errno(errno));
    }
    if (ready[1].revents != 0) return {};
    for (bool is_more = true; is_more;) {
      const auto turned = toolstack_.watches().turn();
      if (!turned) {
        return std::unexpected("xenstore is gone: " + xen::to_string(turned.error()));
      }
      is_more = *turned;
    }
  }
}

void WatchService::look_later(const Failure& why) {
  say(Level::kError, fmt::format("{}; looking again in {} s", why,
                                 std::chrono::ceil<std::chrono::seconds>(pace_).count()));
  look_again_ = Clock::now() + pace_;
  pace_ = std::min(2 * pace_, kLastPace);
}

int WatchService::patience() const {
  if (must_look_) return 0;
  std::optional<Clock::time_point> next = look_again_;
  for (const auto& [id, deadline] : leaving_) {
    if (!next || deadline < *next) next = deadline;
  }
  if (!next) return -1;
  const auto left = std::chrono::ceil<milliseconds>(*next - Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
}

// ---- domains come and go ------------------------------------------------------------------------

Result<void, Failure> WatchService::look() {
  const auto domains = toolstack_.domains();
  if (!domains) return std::unexpected(domains.error());
  for (const xen::DomainId id : *domains) {
    // A home that is being made, or that was left behind, is no domain.
    if (id == 0 || guests_.contains(id)) continue;
    const auto introduced = toolstack_.is_introduced(id);
    if (!introduced) return std::unexpected(introduced.error());
    if (!*introduced) continue;
    leaving_.erase(id);
    guests_.emplace(id, Guest{});
  }
  // What cannot be read of one guest, which may be its own doing, keeps nobody else waiting.
  Result<void, Failure> result;
  const auto note = [&](Result<void, Failure> looked) {
    if (!looked && result) result = std::move(looked);
  };
  for (auto entry = guests_.begin(); entry != guests_.end();) {
    auto& [id, guest] = *entry;
    const auto introduced = toolstack_.is_introduced(id);
    if (introduced && !*introduced) {
      guest_gone(id, guest);
      entry = guests_.erase(entry);
      continue;
    }
    // Not to know is not to know that it is gone.
    if (!introduced) {
      note(std::unexpected(introduced.error()));
    } else if (!guest.is_judged || guest.is_claimed) {
      note(judge(id, guest));
    }
    ++entry;
  }
  // Only now: a guest may wait for a domain whose name was just read, and nothing says it again.
  for (auto& [id, guest] : guests_) {
    if (guest.is_judged) note(look_at(id, guest));
  }
  return result;
}

Result<void, Failure> WatchService::look_at(xen::DomainId id, Guest& guest) {
  look_at_virtio(id, guest);
  if (auto looked = look_for_lost_backends(id, guest); !looked) return looked;
  update_mark(id, guest);  // before anything is written: who comes after us must know of it
  if (auto attached = attach_waiting(id, guest); !attached) return attached;
  look_at_attaching(id, guest);
  update_mark(id, guest);
  return {};
}

Result<void, Failure> WatchService::judge(xen::DomainId id, Guest& guest) {
  const xen::Path node = xen::Path::domain(id) / "name";
  if (!guest.is_judged && !guest.name_watch.is_set()) {
    // libxl writes the name before it introduces a domain. Others may not.
    if (auto set = watch(node)) guest.name_watch = std::move(*set);
  }
  auto name = toolstack_.store().find(node);
  if (!name) {
    return std::unexpected(
        fmt::format("cannot read the name of domain {}: {}", id, xen::to_string(name.error())));
  }
  if (!*name || (*name)->empty()) return {};
  const auto mark = read_mark(toolstack_.store(), id);
  if (!mark) {
    return std::unexpected(fmt::format("cannot read what is known of domain {}: {}", id,
                                       xen::to_string(mark.error())));
  }
  guest.name = std::move(**name);
  guest.mark = *mark;
  const bool is_claimed = created_.is_claimed(guest.name);
  if (is_claimed) {
    guest.has_config = true;  // and its devices, from `vmsg create`
  } else if (guest.mark) {
    if (auto taken = take_over(id, guest); !taken) {
      guest.parts.clear();
      return taken;
    }
  } else if (!guest.is_claimed) {
    plan_from_config(id, guest);
  }
  guest.is_claimed = is_claimed;
  if (!std::exchange(guest.is_judged, true)) {
    guest.name_watch.cancel();
    if (auto set = watch(virtio_list_of(id))) guest.virtio_watch = std::move(*set);
  }
  return {};
}

void WatchService::plan_from_config(xen::DomainId id, Guest& guest) {
  std::vector<Problem> problems;
  std::optional<DomainConfig> config;
  if (auto found = configs_.find(guest.name, problems)) {
    config = std::move(found->config);
    for (const std::string& other : found->others) {
      say(Level::kWarning, fmt::format("{}: {} has this name too; {} is used",
                                       label(id, guest.name), other, config->file));
    }
  } else if (const auto file = created_.config_of(guest.name)) {
    // A guest of `vmsg create` that reboots; its file may be anywhere.
    auto read = read_domain_config(*file);
    if (read && read->name == guest.name) config = std::move(*read);
    if (!read) problems = std::move(read).error();
  }
  if (config) plan(guest, *config, problems);
  for (const Problem& problem : problems) {
    say(Level::kError,
        fmt::format("{} gets no devices: {}", label(id, guest.name), to_text(problem)));
  }
}

void WatchService::plan(Guest& guest, const DomainConfig& config, std::vector<Problem>& problems) {
  guest.has_config = true;
  guest.config = config.file;
  const auto named = read_named_devices(devices_file_);
  const auto plan = named ? plan_guest(config, *named)
                          : Result<GuestPlan, std::vector<Problem>>(std::unexpected(named.error()));
  if (!plan) {
    problems = plan.error();
    return;
  }
  for (const PlannedDevice& device : plan->devices) add_device(guest, device);
}

Result<void, Failure> WatchService::take_over(xen::DomainId id, Guest& guest) {
  guest.parts.clear();
  guest.virtio_seen.clear();
  if (guest.mark->config.empty()) {
    look_at_virtio(id, guest);
  } else {
    std::vector<Problem> problems;
    if (auto config = read_domain_config(guest.mark->config)) {
      plan(guest, *config, problems);
    } else {
      problems = std::move(config).error();
    }
    for (const Problem& problem : problems) {
      say(Level::kWarning, fmt::format("{} would not get its devices again: {}",
                                       label(id, guest.name), to_text(problem)));
    }
  }

  for (Part& part : guest.parts) {
    if (auto found = find_again(id, *guest.mark, part); !found) return found;
  }
  return {};
}

Result<void, Failure> WatchService::find_again(xen::DomainId id, const GuestMark& mark,
                                               Part& part) {
  const auto noted = std::ranges::find(mark.backends, part.backend, &GuestMark::Backend::name);
  if (noted == mark.backends.end()) {
    part.state = PartState::kFailed;  // or the configuration has it since then
    return {};
  }
  std::optional<xen::DomainId> backend = noted->domain;
  if (backend) {
    const auto introduced = toolstack_.is_introduced(*backend);
    if (!introduced) return std::unexpected(introduced.error());
    if (!*introduced) {
      // It went while nobody looked.
      remove_buses_to(id, *backend);
      return {};
    }
  } else {
    // Who wrote them may not have come to noting it.
    const auto found = toolstack_.look_for_domain(part.backend);
    if (!found) return std::unexpected(found.error());
    if (!*found) return {};
    backend = *found;
  }
  // Under the backend's home: the guest says something about its own buses only.
  const auto unknown = [id](const xen::XenError& error) {
    return std::unexpected(
        fmt::format("cannot read the buses of domain {}: {}", id, xen::to_string(error)));
  };
  xen::Store& store = toolstack_.store();
  const auto buses = xen::list_buses_of(store, *backend, id);
  if (!buses) return unknown(buses.error());
  for (const xen::BusId& bus : *buses) {
    const auto devices = xen::list_devices(store, bus);
    if (!devices) return unknown(devices.error());
    for (const std::uint16_t device : *devices) part.ids.push_back({bus, device});
  }
  if (!part.ids.empty()) {
    part.state = PartState::kAttached;
  } else if (noted->domain) {
    part.state = PartState::kFailed;  // somebody has taken them away
  }
  return {};
}

void WatchService::remove_buses_to(xen::DomainId id, xen::DomainId backend) {
  xen::Store& store = toolstack_.store();
  // The backend's side went with its home, so the guest's own directory has to tell.
  const auto numbers = xen::list_driver_buses(store, id);
  if (!numbers) return;
  for (const std::uint32_t number : *numbers) {
    const auto bus = xen::read_driver_directory(store, id, number);
    if (bus && bus->device_domain == backend) static_cast<void>(xen::remove_bus(store, *bus));
  }
}

void WatchService::update_mark(xen::DomainId id, Guest& guest) {
  if (guest.parts.empty()) return;
  GuestMark mark{.config = guest.config, .backends = {}};
  for (const Part& part : guest.parts) {
    if (part.state == PartState::kWaiting) {
      mark.backends.push_back({.domain = std::nullopt, .name = part.backend});
    } else if (!part.ids.empty()) {
      mark.backends.push_back({.domain = part.ids.front().bus.device_domain, .name = part.backend});
    }
  }
  if (guest.mark == mark) return;
  if (const auto written = write_mark(toolstack_.store(), id, mark); !written) {
    say(Level::kWarning, fmt::format("{}: cannot write to xenstore: {}", label(id, guest.name),
                                     xen::to_string(written.error())));
    return;
  }
  guest.mark = std::move(mark);
}

void WatchService::look_at_virtio(xen::DomainId id, Guest& guest) {
  constexpr std::uint32_t kMostEntries = 1023;
  xen::Store& store = toolstack_.store();
  const auto entries = store.list_numbers(virtio_list_of(id), kMostEntries);
  if (!entries) return;
  for (const std::uint32_t entry : *entries) {
    if (guest.virtio_seen.contains(entry)) continue;
    const auto text = store.find(virtio_list_of(id) / entry / "backend");
    if (!text || !*text) continue;  // libxl is about to write it
    guest.virtio_seen.insert(entry);
    // libxl's own node. The path is built again all the same, from the one number that it tells.
    constexpr std::string_view kHomes = "/local/domain/";
    xen::DomainId backend = 0;
    if (!(*text)->starts_with(kHomes)) continue;
    const char* const digits = (*text)->data() + kHomes.size();
    std::from_chars(digits, (*text)->data() + (*text)->size(), backend);
    const xen::Path directory = xen::Path::domain(backend) / "backend" / "virtio" / id / entry;
    if (directory.text() != **text) continue;
    const auto type = store.find(directory / "type");
    const auto name = type && *type ? name_in_type(**type) : std::nullopt;
    if (!name) continue;  // another's virtio device

    // Closed is what libxl waits for when it takes the entry away, and it has no other use.
    static_cast<void>(xen::write_state(store, directory, xen::XenbusState::kClosed));
    if (guest.has_config) continue;  // the file had it already
    const auto named = read_named_devices(devices_file_);
    const auto found = named ? named->find(*name) : NamedDevices::const_iterator{};
    if (!named || found == named->end()) {
      say(Level::kError, fmt::format("{}: virtio entry {}: {}", label(id, guest.name), entry,
                                     named ? fmt::format("no device '{}' is described in {}",
                                                         printable(*name), devices_file_)
                                           : to_text(named.error().front())));
      continue;
    }
    PlannedDevice device{.where = fmt::format("virtio entry {}", entry), .spec = found->second};
    device.spec.backend = fmt::format("{}", backend);
    add_device(guest, std::move(device));
  }
}

void WatchService::add_device(Guest& guest, PlannedDevice device) {
  for (Part& part : guest.parts) {
    if (part.backend == device.spec.backend && part.state == PartState::kWaiting) {
      part.devices.push_back(std::move(device));
      return;
    }
  }
  Part part;
  part.backend = device.spec.backend;
  part.devices.push_back(std::move(device));
  guest.parts.push_back(std::move(part));
}

void WatchService::guest_gone(xen::DomainId id, const Guest& guest) {
  if (guest.is_judged) say(Level::kInfo, fmt::format("{} is gone", label(id, guest.name)));
  leaving_[id] = Clock::now() + kTidyPatience;
}

// ---- devices ------------------------------------------------------------------------------------

Result<void, Failure> WatchService::attach_waiting(xen::DomainId id, Guest& guest) {
  for (Part& part : guest.parts) {
    if (part.state != PartState::kWaiting) continue;
    const auto backend = toolstack_.look_for_domain(part.backend);
    if (!backend) return std::unexpected(backend.error());
    if (!*backend) {
      if (!std::exchange(part.is_wait_told, true)) {
        say(Level::kWarning, fmt::format("{} waits for its backend: {}", label(id, guest.name),
                                         no_such_domain(part.backend)));
      }
      continue;
    }
    std::vector<DeviceSpec> specs;
    specs.reserve(part.devices.size());
    for (const PlannedDevice& device : part.devices) specs.push_back(device.spec);
    // The domain that was found may go at any time. After that, look_for_lost_backends() takes back
    // what was written for it; and what could not be written waits for the next.
    auto written = toolstack_.write_devices(id, specs, std::vector(specs.size(), **backend));
    if (!written && !toolstack_.is_introduced(**backend).value_or(true)) continue;
    if (!written) {
      give_up(id, guest, written.error().what);
      return {};
    }
    part.ids = std::move(*written);
    part.state = PartState::kAttaching;
    auto set = watch(part.ids.front().bus.devices_directory());
    if (!set) {
      give_up(id, guest, set.error());
      return {};
    }
    part.watch = std::move(*set);
  }
  return {};
}

void WatchService::look_at_attaching(xen::DomainId id, Guest& guest) {
  for (Part& part : guest.parts) {
    if (part.state != PartState::kAttaching) continue;
    std::size_t taken = 0;
    for (std::size_t i = 0; i < part.ids.size(); ++i) {
      const auto node = xen::read_device(toolstack_.store(), part.ids[i]);
      if (!node || !*node) continue;
      if ((*node)->status == xen::AttachStatus::kFailed) {
        return give_up(
            id, guest,
            fmt::format("{}: {}", part.devices[i].where, printable((*node)->error, 1024)));
      }
      if ((*node)->status == xen::AttachStatus::kAttached) ++taken;
    }
    if (taken < part.ids.size()) continue;
    part.state = PartState::kAttached;
    part.watch.cancel();
    say(Level::kInfo,
        fmt::format("{}: {} device{} attached, served by {}", label(id, guest.name), taken,
                    taken == 1 ? "" : "s", toolstack_.name_of(part.ids.front().bus.device_domain)));
  }
}

Result<void, Failure> WatchService::look_for_lost_backends(xen::DomainId id, Guest& guest) {
  for (Part& part : guest.parts) {
    const bool is_written =
        part.state == PartState::kAttaching || part.state == PartState::kAttached;
    if (!is_written) continue;
    const xen::BusId bus = part.ids.front().bus;
    const auto introduced = toolstack_.is_introduced(bus.device_domain);
    if (!introduced) return std::unexpected(introduced.error());
    if (*introduced) continue;
    say(Level::kWarning,
        fmt::format("{} has lost its backend {}", label(id, guest.name), printable(part.backend)));
    // A restarted driver domain has another id: the bus is made anew, and the guest starts afresh.
    static_cast<void>(xen::remove_bus(toolstack_.store(), bus));
    part.watch.cancel();
    part.ids.clear();
    part.state = PartState::kWaiting;
    part.is_wait_told = true;
  }
  return {};
}

void WatchService::give_up(xen::DomainId id, Guest& guest, const std::string& why) {
  say(Level::kError, fmt::format("{} gets no devices: {}", label(id, guest.name), why));
  for (Part& part : guest.parts) {
    part.watch.cancel();
    toolstack_.take_back(part.ids);
    part.ids.clear();
    part.state = PartState::kFailed;
  }
}

// ---- after a guest ------------------------------------------------------------------------------

void WatchService::tidy_up() {
  for (auto entry = leaving_.begin(); entry != leaving_.end();) {
    auto& [id, deadline] = *entry;
    if (Clock::now() < deadline) {
      ++entry;
      continue;
    }
    // Not to know is not to know that no other has its number now.
    const auto introduced = toolstack_.is_introduced(id);
    if (!introduced) {
      deadline = Clock::now() + kTidyPatience;
      continue;
    }
    if (!*introduced) finish_tidying(id);
    entry = leaving_.erase(entry);
  }
}

void WatchService::finish_tidying(xen::DomainId id) {
  toolstack_.clean_up_after(id, milliseconds(0));
  // The toolstack takes its folder away with the domain. What we wrote may have come later.
  static_cast<void>(
      toolstack_.store().transact([&](xen::Transaction& store) -> Result<void, xen::XenError> {
        const xen::Path home = toolstack_home_of(id);
        if (auto removed = store.remove(home / "virtio-msg"); !removed) return removed;
        const auto children = store.list(home);
        if (!children) return std::unexpected(children.error());
        return children->empty() ? store.remove(home) : Result<void, xen::XenError>{};
      }));
}

}  // namespace vmsg::tool
