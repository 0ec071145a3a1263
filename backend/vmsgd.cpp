// vmsgd: the virtio-msg backend daemon. This file is the process: command line, files, sockets,
// privileges, signals, the service manager. What it does is in backend.hpp.
#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "backend/backend.hpp"
#include "backend/config.hpp"
#include "backend/confinement.hpp"
#include "backend/control_server.hpp"
#include "backend/local_listener.hpp"
#include "backend/metrics_address.hpp"
#include "backend/metrics_server.hpp"
#include "backend/metrics_text.hpp"
#include "backend/privileges.hpp"
#include "backend/script_helper.hpp"
#include "backend/systemd.hpp"

namespace {

using vmsg::FileDescriptor;
using vmsg::Result;

constexpr int kExitFailed = 1;  // Xen or the system failed us
constexpr int kExitUsage = 2;   // what was asked for cannot be

struct Options {
  vmsg::Config config;
  std::string user;  // empty: stay who we are
  bool is_socket_asked_for = false;
  bool is_confined = true;
  vmsg::PollPolicy::Options polling;
};

using Words = Result<void, std::string>;

// ---- what has to be there before privileges go ----------------------------------------------

struct Listeners {
  FileDescriptor control;
  FileDescriptor metrics;
};

Result<FileDescriptor, std::string> open_control(const Options& options, const vmsg::Log& log,
                                                 std::optional<vmsg::SocketOwner> owner) {
  if (FileDescriptor passed = vmsg::take_systemd_socket("control"); passed.is_open()) return passed;
  auto listener = vmsg::listen_local(options.config.socket, owner);
  if (listener) return std::move(*listener);
  if (options.is_socket_asked_for) return std::unexpected("control socket: " + listener.error());
  log.warning("no control socket: {}", listener.error());
  return FileDescriptor();
}

Result<FileDescriptor, std::string> open_metrics(const Options& options,
                                                 std::optional<vmsg::SocketOwner> owner) {
  if (FileDescriptor passed = vmsg::take_systemd_socket("metrics"); passed.is_open()) return passed;
  if (options.config.metrics_listen.empty()) return FileDescriptor();
  const auto address = vmsg::parse_metrics_address(options.config.metrics_listen);
  if (!address) return std::unexpected("metrics: " + address.error());
  auto listener = vmsg::listen_for_metrics(*address, owner);
  if (!listener) return std::unexpected("metrics: " + listener.error());
  return std::move(*listener);
}

Result<Listeners, std::string> open_listeners(const Options& options, const vmsg::Log& log,
                                              const std::optional<vmsg::Account>& account) {
  std::optional<vmsg::SocketOwner> owner;
  if (account) owner = vmsg::SocketOwner{.user = account->user, .group = account->group};
  auto control = open_control(options, log, owner);
  if (!control) return std::unexpected(control.error());
  auto metrics = open_metrics(options, owner);
  if (!metrics) return std::unexpected(metrics.error());
  return Listeners{std::move(*control), std::move(*metrics)};
}

/// None if there is no such folder: no script can be there.
Result<std::unique_ptr<vmsg::ScriptHelper>, std::string> start_script_helper(
    const std::string& folder) {
  std::error_code ignored;
  if (folder.empty() || !std::filesystem::is_directory(folder, ignored)) return nullptr;
  return vmsg::ScriptHelper::start(folder);
}

/// Before there is a second thread.
Words give_up_rights(const Options& options, const vmsg::Log& log,
                     const std::optional<vmsg::Account>& account) {
  if (account) {
    if (auto dropped = vmsg::drop_privileges(*account); !dropped) return dropped;
    log.info("runs as user {}", account->name);
  }
  if (!options.is_confined) {
    log.warning("the seccomp filter is off");
    return {};
  }
  return vmsg::confine();
}

// ---- the running process ------------------------------------------------------------------------

/// Tells systemd's watchdog that the loop and all workers turn.
class Watchdog {
 public:
  Watchdog(boost::asio::io_context& context, vmsg::Backend& backend)
      : backend_(backend), timer_(context), interval_(vmsg::systemd_watchdog()) {
    if (interval_) arm();
  }

 private:
  void arm() {
    timer_.expires_after(*interval_ / 3);
    timer_.async_wait([this](const boost::system::error_code& error) {
      if (error) return;
      backend_.after_all_turns([] { vmsg::notify_systemd("WATCHDOG=1"); });
      arm();
    });
  }

  vmsg::Backend& backend_;
  boost::asio::steady_timer timer_;
  std::optional<std::chrono::microseconds> interval_;
};

class Process {
 public:
  Process(boost::asio::io_context& context, vmsg::Backend& backend, const vmsg::Log& log,
          Listeners listeners)
      : context_(context),
        backend_(backend),
        log_(log),
        signals_(context, SIGTERM, SIGINT),
        watchdog_(context, backend) {
    if (listeners.control.is_open()) {
      control_.emplace(context, std::move(listeners.control),
                       vmsg::ControlView{.version = VMSG_VERSION,
                                         .snapshot = [&backend] { return backend.snapshot(); },
                                         .trace = backend.trace()});
    }
    if (listeners.metrics.is_open()) {
      metrics_.emplace(context, std::move(listeners.metrics),
                       [&backend] { return vmsg::metrics_text(backend.snapshot(), VMSG_VERSION); });
    }
    signals_.async_wait([this](const auto& error, int number) { on_signal(error, number); });
    vmsg::notify_systemd("READY=1");
  }

 private:
  void on_signal(const boost::system::error_code& error, int number) {
    if (error) return;
    // Who asks twice does not want to wait for guests.
    if (std::exchange(is_stopping_, true)) return context_.stop();
    vmsg::notify_systemd("STOPPING=1");
    log_.info("signal {}: closing {} buses", number, backend_.bus_count());
    signals_.async_wait([this](const auto& failed, int again) { on_signal(failed, again); });
    backend_.shut_down([this] { context_.stop(); });
  }

  boost::asio::io_context& context_;
  vmsg::Backend& backend_;
  vmsg::Log log_;
  bool is_stopping_ = false;
  boost::asio::signal_set signals_;
  Watchdog watchdog_;
  std::optional<vmsg::ControlServer> control_;
  std::optional<vmsg::MetricsServer> metrics_;
};

int run(const Options& options, const vmsg::Log& log) {
  const auto fail = [&](const std::string& why) {
    log.error("{}", why);
    return kExitFailed;
  };
  std::optional<vmsg::Account> account;
  if (!options.user.empty()) {
    auto found = vmsg::find_account(options.user);
    if (!found) return fail("--user: " + found.error());
    account = std::move(*found);
  }
  // Before anything is open that it should not have.
  auto scripts = start_script_helper(options.config.scripts);
  if (!scripts) return fail(scripts.error());
  auto listeners = open_listeners(options, log, account);
  if (!listeners) return fail(listeners.error());

  boost::asio::io_context context(1);
  int status = 0;
  auto backend = vmsg::Backend::create(context,
                                       {.workers = options.config.workers,
                                        .limits = options.config.limits,
                                        .polling = options.polling,
                                        .scripts = scripts->get()},
                                       log, [&](const std::string& why) {
                                         status = fail(why);
                                         context.stop();
                                       });
  if (!backend) return fail(backend.error());
  if (const auto done = give_up_rights(options, log, account); !done) return fail(done.error());
  if (const auto started = (*backend)->start(); !started) return fail(started.error());

  {
    const Process process(context, **backend, log, std::move(*listeners));
    context.run();
  }
  log.info("stopped");
  // After a failure, or when nobody wanted to wait for guests, there are buses whose workers still
  // run: nothing can be taken apart in order then, and the kernel takes everything back.
  if ((*backend)->bus_count() > 0) std::_Exit(status);
  return status;
}

// ---- the command line ---------------------------------------------------------------------------

/// The file, then what the command line says otherwise.
std::optional<vmsg::Config> read_config(const std::string& file, bool is_asked_for) {
  std::error_code ignored;
  if (!is_asked_for && !std::filesystem::exists(file, ignored)) return vmsg::Config{};
  auto config = vmsg::read_config(file);
  if (config) return std::move(*config);
  for (const std::string& line : config.error()) std::cerr << line << '\n';
  return std::nullopt;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "The backend of virtio-msg on Xen: serves disks, networks, consoles and entropy to the "
      "guests whose toolstack names this domain in xenstore."};
  Options options;
  std::string file = vmsg::kDefaultConfigFile;
  std::string level;
  std::string socket;
  std::string metrics;
  unsigned workers = 0;
  unsigned poll_microseconds = 100;
  bool only_check = false;
  bool is_open = false;
  const CLI::Option* file_option =
      app.add_option("--config", file, "The configuration file")->capture_default_str();
  app.add_flag("--check-config", only_check, "Say what is wrong with the configuration, and end");
  const CLI::Option* workers_option =
      app.add_option("--workers", workers, "Threads that serve queues")->check(CLI::Range(1U, 64U));
  const CLI::Option* socket_option =
      app.add_option("--socket", socket, "The control socket, which vmsg connects to")
          ->envname("VMSG_SOCKET");
  const CLI::Option* metrics_option = app.add_option("--metrics", metrics, "Where to serve metrics")
                                          ->check([](const std::string& text) {
                                            if (text.empty()) return std::string();
                                            const auto address = vmsg::parse_metrics_address(text);
                                            return address ? std::string() : address.error();
                                          });
  const CLI::Option* level_option =
      app.add_option("--log-level", level, "Which lines are written")
          ->check(CLI::IsMember({"error", "warning", "info", "debug"}));
  app.add_option("--poll", poll_microseconds,
                 "Microseconds for which a worker looks for new work before it sleeps, while work "
                 "comes that soon; 0: never")
      ->check(CLI::Range(0U, 10000U))
      ->capture_default_str();
  app.add_option("--poll-share", options.polling.share_percent,
                 "The most of a worker's time that looking may take, in percent")
      ->check(CLI::Range(0U, 100U))
      ->capture_default_str();
  app.add_option("--user", options.user, "Run as this user once Xen is open");
  app.add_flag("--no-seccomp", is_open, "Leave the seccomp filter off, for debugging");
  app.set_version_flag("--version", "vmsgd " VMSG_VERSION);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  auto config = read_config(file, file_option->count() > 0);
  if (!config) return kExitUsage;
  if (only_check) {
    std::cout << file << ": ok\n";
    return 0;
  }
  options.config = std::move(*config);
  options.polling.window_ns = std::uint64_t{poll_microseconds} * 1000;
  options.is_confined = !is_open;
  options.is_socket_asked_for = socket_option->count() > 0;
  if (workers_option->count() > 0) options.config.workers = workers;
  if (socket_option->count() > 0) options.config.socket = socket;
  if (metrics_option->count() > 0) options.config.metrics_listen = metrics;
  if (level_option->count() > 0) options.config.log_level = level;
  return run(options,
             vmsg::Log(vmsg::make_log_sink(vmsg::parse_log_level(options.config.log_level))));
}
