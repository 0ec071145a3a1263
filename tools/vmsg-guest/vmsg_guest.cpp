// vmsg-guest: the driver side of virtio-msg in userspace, for tests, measurements and a first look
// from inside a guest. This file is the command line.
#include <CLI/CLI.hpp>

#include <functional>

#include "tools/vmsg-guest/command_blk_options.hpp"
#include "tools/vmsg-guest/command_console_options.hpp"
#include "tools/vmsg-guest/command_net_options.hpp"
#include "tools/vmsg-guest/command_soak.hpp"
#include "tools/vmsg-guest/commands.hpp"

int main(int argc, char** argv) {
  using namespace vmsg::guest;  // NOLINT(google-build-using-namespace): this is its program
  CLI::App app{"Drives virtio devices over virtio-msg from a process in a guest"};
  app.require_subcommand(1);
  CommandOptions options;
  unsigned patience = 10;
  app.add_option("--bus", options.link.bus, "Which bus of this guest")->capture_default_str();
  app.add_option("--timeout", patience, "Seconds to wait for the other side")
      ->check(CLI::Range(1U, 3600U))
      ->capture_default_str();

  auto* probe = app.add_subcommand("probe", "Show the devices of the bus");
  auto* rng = app.add_subcommand("rng", "Read entropy");
  rng->add_option("--device", options.number, "Number of the device; else the first of its type");
  rng->add_option("--bytes", options.bytes, "How many bytes")
      ->transform(CLI::AsSizeValue(false))
      ->default_val(32);
  rng->add_option("--piece", options.piece, "Bytes of one buffer")
      ->check(CLI::Range(1U, 4096U))
      ->capture_default_str();
  rng->add_option("--output", options.output, "A file, or - for standard output")
      ->capture_default_str();
  rng->add_flag("--shared-regions", options.link.shared_regions,
                "Let the device side keep the buffers mapped");
  rng->add_flag("--packed", options.device.packed, "Use a packed queue");
  rng->add_flag("!--no-event-idx", options.device.event_idx, "Do without the event index");
  rng->add_flag("!--in-band", options.device.queue_channels,
                "Notify by messages instead of an event channel for the queue");

  std::function<int()> run;
  add_blk_commands(app, options, run);
  add_net_commands(app, options, run);
  add_console_commands(app, options, run);
  add_conform_command(app, options, run);
  add_soak_command(app, options, run);

  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  options.link.patience = std::chrono::seconds(patience);
  if (run) return run();
  return probe->parsed() ? run_probe(options) : run_rng(options);
}
