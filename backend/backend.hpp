// The daemon's core: finds buses in xenstore, gives each a BusSession, and ends them. What the
// process does with signals, files and privileges is vmsgd.cpp's business.
#pragma once

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "backend/bus_session.hpp"
#include "backend/device_catalog.hpp"
#include "backend/device_maker.hpp"
#include "backend/limits.hpp"
#include "backend/log.hpp"
#include "backend/retry_timer.hpp"
#include "backend/snapshot.hpp"
#include "backend/trace_hub.hpp"
#include "backend/worker_pool.hpp"

namespace vmsg {

struct BackendOptions {
  unsigned workers = 1;
  Limits limits;
  PollPolicy::Options polling;
  net::NetworkScripts* scripts = nullptr;  // outlives the backend
  /// kNone, for a program of one thread: whoever runs the loop calls run_workers_once() too.
  WorkerPool::Threads worker_threads = WorkerPool::Threads::kOwn;
};

class Backend {
 public:
  /// Connects to Xen, and makes no thread yet. The error is one line for whoever started the
  /// daemon. `on_failed` is called when Xen fails us later in a way that no guest can cause: the
  /// process should end.
  static Result<std::unique_ptr<Backend>, std::string> create(
      boost::asio::io_context& context, const BackendOptions& options, Log log,
      std::function<void(const std::string&)> on_failed);
  Backend(const Backend&) = delete;
  Backend& operator=(const Backend&) = delete;
  ~Backend();

  /// Takes up what is in xenstore and watches for more.
  Result<void, std::string> start();

  /// Closes all buses in order; `on_done` is called when the last one is.
  void shut_down(std::function<void()> on_done);

  /// `then` runs on the loop once every worker has ended a turn.
  void after_all_turns(std::move_only_function<void()> then) {
    workers_->after_all_turns(std::move(then));
  }

  /// Whether a worker would go on at once.
  bool run_workers_once() { return workers_->run_once(); }

  [[nodiscard]] std::size_t bus_count() const { return sessions_.size(); }

  [[nodiscard]] Snapshot snapshot() const;
  [[nodiscard]] TraceHub& trace() { return trace_; }

 private:
  Backend(boost::asio::io_context& context, const BackendOptions& options, Log log,
          std::function<void(const std::string&)> on_failed);

  Result<void, std::string> open_xen();
  void buses_changed(const xen::WatchReport& report);
  void devices_changed(const xen::WatchReport& report);
  void domain_released();
  void rescan();
  void rescan_guest(xen::DomainId guest);
  /// Buses that were found and are new, and the sessions that may have changed.
  void look_at(const Result<std::vector<xen::BusId>, xen::XenError>& found,
               const std::vector<BusSession*>& known);
  void visit(const xen::BusId& id);
  [[nodiscard]] std::vector<BusSession*> sessions_of(xen::DomainId guest) const;
  [[nodiscard]] std::vector<BusSession*> all_sessions() const;
  void session_over(const xen::BusId& id);
  /// Says what failed, and comes back to it later: no event comes a second time.
  void store_failed(std::string_view what, const xen::XenError& error);
  void look_again();
  void xen_failed(const xen::XenError& error);

  boost::asio::io_context& context_;
  const BackendOptions options_;
  Log log_;
  std::function<void(const std::string&)> on_failed_;
  std::function<void()> on_shut_down_;
  xen::DomainId own_domain_ = 0;
  const std::chrono::steady_clock::time_point started_at_ = std::chrono::steady_clock::now();
  TraceHub trace_;

  // Teardown is bottom up: sessions first, then the workers that served them, then the handles.
  std::unique_ptr<xen::Store> store_;
  std::unique_ptr<xen::AsioWatches> watches_;
  std::unique_ptr<xen::AsioEventChannels> events_;
  std::optional<xen::GrantMapper> mapper_;
  RegionBudget regions_;
  DeviceCatalog catalog_;
  DeviceMaker maker_;  // uses the catalog on its own threads
  std::unique_ptr<WorkerPool> workers_;
  std::optional<BusServices> services_;
  xen::Watch buses_watch_;
  xen::Watch devices_watch_;
  xen::Watch release_watch_;
  std::map<xen::BusId, std::unique_ptr<BusSession>> sessions_;
  RetryTimer retry_;
};

}  // namespace vmsg
