#include "tools/vmsg-guest/command_console_options.hpp"

#include <memory>

namespace vmsg::guest {

void add_console_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run) {
  const auto choice = std::make_shared<ConsoleChoice>();
  auto* console = app.add_subcommand("console", "Use a port of a console; leave with Ctrl-]");
  console->add_option("--device", options.number, "Number of the device; else the first console");
  console->add_option("--port", choice->port, "Which port")->capture_default_str();
  console->add_flag("--pipe", choice->is_pipe,
                    "Copy standard input to the port until it ends, and the port to standard "
                    "output");
  console
      ->add_option("--receive", choice->receive,
                   "With --pipe: wait for so many bytes from the port")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  console->add_flag("--greeted", choice->waits_for_input,
                    "With --pipe: say nothing before something came from the port");
  console->add_flag("!--one-port", choice->is_multiport, "Do not speak about single ports");
  console->add_flag("--verbose", choice->is_verbose, "Say what the device says about ports");
  console->add_flag("--config", choice->shows_config, "Show the configuration, and end");
  console->add_option("--emergency", choice->emergency,
                      "Write this by emergency writes, without any queue, and end");
  console->add_flag("--packed", options.device.packed, "Use packed queues");
  console->add_flag("!--in-band", options.device.queue_channels,
                    "Notify by messages instead of event channels for the queues");
  console->final_callback([&options, &run, choice] {
    run = [&options, choice] { return run_console(options, *choice); };
  });
}

void add_conform_command(CLI::App& app, CommandOptions& options, std::function<int()>& run) {
  const auto as_json = std::make_shared<bool>(false);
  auto* conform = app.add_subcommand(
      "conform", "Test whether the device side keeps the rules of virtio-msg; resets the device");
  conform->add_option("--device", options.number, "Number of the device; else the first one");
  conform->add_flag("--json", *as_json, "Say it for machines");
  conform->final_callback([&options, &run, as_json] {
    run = [&options, as_json] { return run_conform(options, *as_json); };
  });
}

}  // namespace vmsg::guest
