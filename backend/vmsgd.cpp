// vmsgd: the virtio-msg backend daemon. This file is the process: command line, signals, log sink.
// What it does is in backend.hpp.
#include <spdlog/sinks/stdout_sinks.h>

#include <CLI/CLI.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/signal_set.hpp>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "backend/backend.hpp"

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

int run(const vmsg::BackendOptions& options, const vmsg::Log& log) {
  boost::asio::io_context context(1);
  int status = 0;
  auto backend = vmsg::Backend::create(context, options, log, [&](const std::string& why) {
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

  boost::asio::signal_set signals(context, SIGTERM, SIGINT);
  signals.async_wait([&](const boost::system::error_code& error, int number) {
    if (error) return;
    log.info("signal {}: closing {} buses", number, (*backend)->bus_count());
    (*backend)->shut_down([&] { context.stop(); });
  });
  context.run();
  log.info("stopped");
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "The backend of virtio-msg on Xen: serves disks, networks, consoles and entropy to the "
      "guests "
      "whose toolstack names this domain in xenstore."};
  vmsg::BackendOptions options;
  std::string level = "info";
  app.add_option("--workers", options.workers, "Threads that serve queues")
      ->check(CLI::Range(1U, 64U))
      ->capture_default_str();
  unsigned poll_microseconds = 100;
  app.add_option("--poll", poll_microseconds,
                 "Microseconds for which a worker looks for new work before it sleeps, while work "
                 "comes that soon; 0: never")
      ->check(CLI::Range(0U, 10000U))
      ->capture_default_str();
  app.add_option("--poll-share", options.polling.share_percent,
                 "The most of a worker's time that looking may take, in percent")
      ->check(CLI::Range(0U, 100U))
      ->capture_default_str();
  app.add_option("--log-level", level, "Which lines are written")
      ->check(CLI::IsMember({"error", "warning", "info", "debug"}))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  options.polling.window_ns = std::uint64_t{poll_microseconds} * 1000;
  return run(options, make_log(level));
}
