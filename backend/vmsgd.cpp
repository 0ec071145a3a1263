// vmsgd: the virtio-msg backend daemon. This file is the process: command line, signals, log sink.
// What it does is in backend.hpp.
#include <spdlog/sinks/stdout_sinks.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "backend/backend.hpp"
#include "backend/control_server.hpp"
#include "backend/local_listener.hpp"
#include "backend/systemd.hpp"

namespace {

constexpr int kExitFailed = 1;  // Xen or the system failed us
constexpr int kExitUsage = 2;   // what was asked for cannot be

vmsg::Log make_log(const std::string& level) {
  auto logger =
      std::make_shared<spdlog::logger>("vmsgd", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_level(spdlog::level::from_str(level));
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  logger->flush_on(spdlog::level::trace);
  return vmsg::Log(std::move(logger));
}

constexpr const char* kDefaultSocket = "/run/vmsg/vmsgd.sock";

struct Options {
  vmsg::BackendOptions backend;
  std::string socket = kDefaultSocket;
  bool is_socket_asked_for = false;
  std::string level = "info";
};

/// The listening control socket; not open when there is none and nobody asked for one. An error was
/// logged already.
vmsg::Result<vmsg::FileDescriptor, int> open_control_socket(const Options& options,
                                                            const vmsg::Log& log) {
  if (vmsg::FileDescriptor passed = vmsg::take_systemd_socket("control"); passed.is_open()) {
    return passed;
  }
  auto listener = vmsg::listen_local(options.socket);
  if (listener) return std::move(*listener);
  if (options.is_socket_asked_for) {
    log.error("control socket: {}", listener.error());
    return std::unexpected(kExitFailed);
  }
  log.warning("no control socket: {}", listener.error());
  return vmsg::FileDescriptor();
}

int run(const Options& options, const vmsg::Log& log) {
  boost::asio::io_context context(1);
  int status = 0;
  auto listener = open_control_socket(options, log);
  if (!listener) return listener.error();
  auto backend = vmsg::Backend::create(context, options.backend, log, [&](const std::string& why) {
    log.error("{}", why);
    status = kExitFailed;
    context.stop();
  });
  if (!backend) {
    log.error("{}", backend.error());
    return kExitFailed;
  }
  if (const auto started = (*backend)->start(); !started) {
    log.error("{}", started.error());
    return kExitFailed;
  }

  std::optional<vmsg::ControlServer> control;
  if (listener->is_open()) {
    control.emplace(context, std::move(*listener),
                    vmsg::ControlView{.version = VMSG_VERSION,
                                      .snapshot = [&] { return (*backend)->snapshot(); },
                                      .trace = (*backend)->trace()});
  }

  boost::asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& error, int number) {
    if (error) return;
    log.info("signal {}: closing {} buses", number, (*backend)->bus_count());
    (*backend)->shut_down([&] { context.stop(); });
  });
  context.run();
  if (status != 0) {
    // Xen failed us while guests were connected: nothing can be given back in order, and workers
    // still have queues that no destructor may take. What a process leaves, the kernel takes back.
    std::_Exit(status);
  }
  log.info("stopped");
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "The backend of virtio-msg on Xen: serves disks, networks, consoles and entropy to the "
      "guests "
      "whose toolstack names this domain in xenstore."};
  Options options;
  app.add_option("--workers", options.backend.workers, "Threads that serve queues")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  unsigned poll_microseconds = 100;
  app.add_option("--poll", poll_microseconds,
                 "Microseconds for which a worker looks for new work before it sleeps, while work "
                 "comes that soon; 0: never")
      ->check(CLI::Range(0U, 10000U))
      ->capture_default_str();
  app.add_option("--poll-share", options.backend.polling.share_percent,
                 "The most of a worker's time that looking may take, in percent")
      ->check(CLI::Range(0U, 100U))
      ->capture_default_str();
  const CLI::Option* socket =
      app.add_option("--socket", options.socket, "The control socket, which vmsg connects to")
          ->envname("VMSG_SOCKET")
          ->capture_default_str();
  app.add_option("--log-level", options.level, "Which lines are written")
      ->check(CLI::IsMember({"error", "warning", "info", "debug"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  options.backend.polling.window_ns = std::uint64_t{poll_microseconds} * 1000;
  options.is_socket_asked_for = socket->count() > 0;
  return run(options, make_log(options.level));
}
