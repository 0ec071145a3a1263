#include "backend/backend.hpp"

#include <fmt/format.h>
#include <boost/asio/post.hpp>

#include <algorithm>
#include <ranges>
#include <string_view>
#include <utility>
#include <vector>

#include "backend/earlier_run.hpp"
#include "xenbus-glue/bus_nodes.hpp"

namespace vmsg {
namespace {

// Relative to our own home in xenstore, so that dom0 and a driver domain do the same.
xen::Path buses_path() { return xen::Path::home("backend") / "virtio-msg"; }
xen::Path devices_path() { return xen::Path::home("virtio-msg"); }

/// What both watches tell apart: the guest and its bus.
constexpr std::size_t kBusDepth = 2;

/// `virtio-msg/<fe>/<bus>` of our home has the shape of a path below backend/virtio-msg, one level
/// up.
std::string like_a_bus_path(std::string_view device_path) {
  return fmt::format("backend/{}", device_path);
}

}  // namespace

Result<std::unique_ptr<Backend>, std::string> Backend::create(
    boost::asio::io_context& context, const BackendOptions& options, Log log,
    std::function<void(const std::string&)> on_failed) {
  std::unique_ptr<Backend> backend(
      new Backend(context, options, std::move(log), std::move(on_failed)));
  if (auto opened = backend->open_xen(); !opened) return std::unexpected(opened.error());
  return backend;
}

Backend::Backend(boost::asio::io_context& context, const BackendOptions& options, Log log,
                 std::function<void(const std::string&)> on_failed)
    : context_(context),
      options_(options),
      log_(std::move(log)),
      on_failed_(std::move(on_failed)),
      regions_(options.limits.region_pages),
      catalog_(options.scripts),
      maker_(context, catalog_),
      retry_(context, [this] { look_again(); }) {}

Backend::~Backend() = default;

Result<void, std::string> Backend::open_xen() {
  const auto failed = [this](const xen::XenError& error) { xen_failed(error); };
  auto store = xen::Store::open();
  if (!store) return std::unexpected("xenstore: " + xen::to_string(store.error()));
  store_ = std::move(*store);
  const auto own = store_->own_domain();
  if (!own) return std::unexpected("own domain: " + xen::to_string(own.error()));
  own_domain_ = *own;
  watches_ = std::make_unique<xen::AsioWatches>(context_, *store_, failed);

  auto events = xen::AsioEventChannels::create(context_, failed);
  if (!events) return std::unexpected("event channels: " + xen::to_string(events.error()));
  events_ = std::move(*events);
  auto mapper = xen::GrantMapper::open();
  if (!mapper) return std::unexpected("grants: " + xen::to_string(mapper.error()));
  mapper_.emplace(std::move(*mapper));

  auto workers = WorkerPool::create(
      context_, std::max(options_.workers, 1U), options_.polling,
      [](const WorkerReport& report) { report.queue->owner->on_report(report); });
  if (!workers) {
    return std::unexpected(
        fmt::format("worker: {}: errno {}", workers.error().what, workers.error().error));
  }
  workers_ = std::move(*workers);
  services_.emplace(BusServices{context_, *store_, *watches_, *events_, *mapper_, regions_,
                                *workers_, maker_, options_.limits, trace_});
  return {};
}

Result<void, std::string> Backend::start() {
  if (auto withdrawn = withdraw_earlier_run(*store_, own_domain_); !withdrawn) {
    return std::unexpected("what an earlier run left: " + xen::to_string(withdrawn.error()));
  }
  workers_->start([this](const xen::XenError& error) { xen_failed(error); },
                  options_.worker_threads);
  maker_.start();
  const auto set = [this](const xen::Path& path, xen::Watch& watch,
                          xen::Watches::Handler handler) -> Result<void, std::string> {
    auto made = watches_->watch(path, std::move(handler), kBusDepth);
    if (!made) return std::unexpected("watch: " + xen::to_string(made.error()));
    watch = std::move(*made);
    return {};
  };
  // A new watch reports once at once, which takes up what is there already.
  if (auto made =
          set(buses_path(), buses_watch_, [this](const auto& report) { buses_changed(report); });
      !made) {
    return made;
  }
  if (auto made = set(devices_path(), devices_watch_,
                      [this](const auto& report) { devices_changed(report); });
      !made) {
    return made;
  }
  if (auto made = set(xen::Path::release_domain(), release_watch_,
                      [this](const auto&) { domain_released(); });
      !made) {
    return made;
  }
  log_.info("serving domain {}", own_domain_);
  return {};
}

void Backend::shut_down(std::function<void()> on_done) {
  on_shut_down_ = std::move(on_done);
  buses_watch_.cancel();
  devices_watch_.cancel();
  release_watch_.cancel();
  if (sessions_.empty()) return on_shut_down_();
  for (BusSession* session : all_sessions()) session->shut_down();
}

Snapshot Backend::snapshot() const {
  Snapshot all;
  all.domain = own_domain_;
  all.uptime_seconds =
      static_cast<std::uint64_t>(std::chrono::duration_cast<std::chrono::seconds>(
                                     std::chrono::steady_clock::now() - started_at_)
                                     .count());
  all.mapped_pages = mapper_->mapped_pages();
  all.failed_unmaps = mapper_->failed_unmaps();
  const xen::WatchMetrics& watches = watches_->metrics();
  all.xenstore = {{"watch_events", watches.events},
                  {"watch_events_merged", watches.merged},
                  {"watch_events_stale", watches.stale},
                  {"watch_reports", watches.reports},
                  {"transaction_retries", store_->transaction_retries()}};
  all.workers = workers_->snapshot();
  all.buses.reserve(sessions_.size());
  for (const auto& session : sessions_ | std::views::values) {
    all.buses.push_back(session->snapshot());
  }
  return all;
}

// A guest that comes or goes must not cost the others anything: only what concerns all of them
// looks at all of them.

void Backend::buses_changed(const xen::WatchReport& report) {
  if (report.is_everything) return rescan();
  for (const std::string& path : report.paths) {
    if (const auto id = xen::bus_of_path(own_domain_, path)) {
      visit(*id);
    } else if (const auto guest = xen::driver_domain_of_path(own_domain_, path)) {
      rescan_guest(*guest);
    } else {
      return rescan();
    }
  }
}

void Backend::devices_changed(const xen::WatchReport& report) {
  const auto tell = [](const std::vector<BusSession*>& sessions) {
    for (BusSession* session : sessions) session->devices_changed();
  };
  if (report.is_everything) return tell(all_sessions());
  for (const std::string& path : report.paths) {
    const std::string alike = like_a_bus_path(path);
    if (const auto id = xen::bus_of_path(own_domain_, alike)) {
      if (const auto known = sessions_.find(*id); known != sessions_.end()) {
        known->second->devices_changed();
      }
    } else if (const auto guest = xen::driver_domain_of_path(own_domain_, alike)) {
      tell(sessions_of(*guest));
    } else {
      return tell(all_sessions());
    }
  }
}

void Backend::rescan() { look_at(xen::list_buses(*store_, own_domain_), all_sessions()); }

void Backend::rescan_guest(xen::DomainId guest) {
  look_at(xen::list_buses_of(*store_, own_domain_, guest), sessions_of(guest));
}

void Backend::look_at(const Result<std::vector<xen::BusId>, xen::XenError>& found,
                      const std::vector<BusSession*>& known) {
  if (!found) return store_failed("list the buses", found.error());
  for (const xen::BusId& id : *found) {
    if (!sessions_.contains(id)) visit(id);
  }
  // Those that are known and gone find it out themselves.
  for (BusSession* session : known) session->nodes_changed();
}

std::vector<BusSession*> Backend::sessions_of(xen::DomainId guest) const {
  std::vector<BusSession*> sessions;
  for (auto entry = sessions_.lower_bound({own_domain_, guest, 0});
       entry != sessions_.end() && entry->first.driver_domain == guest; ++entry) {
    sessions.push_back(entry->second.get());
  }
  return sessions;
}

std::vector<BusSession*> Backend::all_sessions() const {
  std::vector<BusSession*> sessions;
  sessions.reserve(sessions_.size());
  for (const auto& session : sessions_ | std::views::values) sessions.push_back(session.get());
  return sessions;
}

void Backend::visit(const xen::BusId& id) {
  if (const auto known = sessions_.find(id); known != sessions_.end()) {
    return known->second->nodes_changed();
  }
  const auto present = store_->exists(id.device_directory() / "frontend");
  if (!present) return store_failed("look for a bus", present.error());
  if (!*present) return;
  const std::vector<BusSession*> of_this_guest = sessions_of(id.driver_domain);
  auto budget = of_this_guest.empty() ? std::make_shared<GuestBudget>(options_.limits.rates)
                                      : of_this_guest.front()->budget();
  Log log = log_.for_bus(id.driver_domain, id.bus);
  if (of_this_guest.size() >= options_.limits.buses_per_guest) {
    log.guest("not served: a guest may have {} buses", options_.limits.buses_per_guest);
    return;
  }
  auto session = std::make_unique<BusSession>(
      id, *services_, std::move(budget), std::move(log), [this](const xen::BusId& over) {
        boost::asio::post(context_, [this, over] { session_over(over); });
      });
  BusSession& started = *session;
  sessions_[id] = std::move(session);
  started.start();
}

void Backend::domain_released() {
  const auto orphans = xen::list_orphaned_buses(*store_, own_domain_);
  if (!orphans) return store_failed("list the buses", orphans.error());
  for (const xen::BusId& id : *orphans) {
    if (const auto known = sessions_.find(id); known != sessions_.end()) {
      known->second->driver_gone();
    } else if (const auto removed = xen::remove_device_side(*store_, id); !removed) {
      store_failed(fmt::format("remove what dom{} left", id.driver_domain), removed.error());
    }
  }
}

void Backend::store_failed(std::string_view what, const xen::XenError& error) {
  log_.error("cannot {}: {}", what, xen::to_string(error));
  retry_.arm();
}

void Backend::look_again() {
  if (on_shut_down_) return;
  rescan();
  domain_released();
}

void Backend::session_over(const xen::BusId& id) {
  sessions_.erase(id);
  if (sessions_.empty() && on_shut_down_) return on_shut_down_();
  // The toolstack may have created the bus again while the old one went.
  if (!on_shut_down_) visit(id);
}

void Backend::xen_failed(const xen::XenError& error) { on_failed_(xen::to_string(error)); }

}  // namespace vmsg
