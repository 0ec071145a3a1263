// vmsg: the toolstack side of virtio-msg on Xen, for people and scripts. This file is the command
// line; each command has a file of its own.
#include <CLI/CLI.hpp>
#include <memory>
#include <vector>

#include "tools/vmsg/commands.hpp"
#include "tools/vmsg/control_socket.hpp"
#include "tools/vmsg/created_guests.hpp"
#include "tools/vmsg/named_devices.hpp"

namespace {

using namespace vmsg::tool;  // NOLINT(google-build-using-namespace): this is their program

struct Command {
  CLI::App* app;
  std::function<int()> run;
};

void add_guest(CLI::App& command, std::string& guest) {
  command.add_option("GUEST", guest, "Name or id of the guest")->required();
}

void add_device(CLI::App& command, std::uint16_t& device) {
  command.add_option("DEV", device, "Number of the device, as list shows it")->required();
}

void add_timeout(CLI::App& command, unsigned& seconds) {
  command.add_option("--timeout", seconds, "Seconds to wait for the other side")
      ->check(CLI::Range(1U, 3600U))
      ->capture_default_str();
}

void add_socket(CLI::App& command, std::string& socket) {
  socket = kDefaultControlSocket;
  command.add_option("--socket", socket, "Control socket of vmsgd")
      ->envname("VMSG_SOCKET")
      ->capture_default_str();
}

void add_named_devices(CLI::App& command, std::string& file) {
  file = kDefaultNamedDevicesFile;
  command.add_option("--devices", file, "Devices by name, for type=vmsg-NAME in virtio lists")
      ->capture_default_str();
}

void add_run_folder(CLI::App& command, std::string& folder) {
  folder = kDefaultRunFolder;
  command.add_option("--run-folder", folder, "Where create and watch tell each other what they do")
      ->envname("VMSG_RUN_FOLDER")
      ->capture_default_str();
}

Command add_attach(CLI::App& parent) {
  auto options = std::make_shared<DeviceOptions>();
  CLI::App* const command = parent.add_subcommand("attach", "Give a running guest a device");
  add_guest(*command, options->guest);
  command
      ->add_option("SPEC", options->spec, "The device: type=TYPE[,backend=DOMAIN][,KEY=VALUE...]")
      ->required();
  add_timeout(*command, options->timeout);
  command->footer("Prints the number of the device. Types and their keys: virtio_msg(5).");
  return {command, [options] { return attach(*options); }};
}

Command add_detach(CLI::App& parent) {
  auto options = std::make_shared<DeviceOptions>();
  CLI::App* const command = parent.add_subcommand("detach", "Take a device away from a guest");
  add_guest(*command, options->guest);
  add_device(*command, options->device);
  command->add_flag("--force", options->force, "At once, without asking the guest");
  add_timeout(*command, options->timeout);
  return {command, [options] { return detach(*options); }};
}

Command add_resize(CLI::App& parent) {
  auto options = std::make_shared<DeviceOptions>();
  CLI::App* const command =
      parent.add_subcommand("resize", "Tell a guest that its disk has another size now");
  add_guest(*command, options->guest);
  add_device(*command, options->device);
  add_timeout(*command, options->timeout);
  command->footer("First change the file or volume itself (truncate, lvextend), then run this.");
  return {command, [options] { return resize(*options); }};
}

Command add_check(CLI::App& parent) {
  auto options = std::make_shared<CheckOptions>();
  CLI::App* const command = parent.add_subcommand(
      "check", "Say what is wrong with a guest's configuration, or what it would do");
  command->add_option("FILE", options->file, "Configuration of the guest, as for xl create")
      ->required();
  command->add_flag("-q,--quiet", options->quiet, "Only say what is wrong");
  add_named_devices(*command, options->devices);
  command->footer("Exit code 0: all is right; 2: something is wrong. Writes nothing.");
  return {command, [options] { return check(*options); }};
}

Command add_console(CLI::App& parent) {
  auto options = std::make_shared<ConsoleOptions>();
  CLI::App* const command =
      parent.add_subcommand("console", "Attach this terminal to a guest's console");
  add_guest(*command, options->guest);
  command->add_option("DEV", options->device,
                      "Number of the device; without it the first console with a terminal");
  command->footer("Leave with Ctrl-].");
  return {command, [options] { return console(*options); }};
}

Command add_create(CLI::App& parent) {
  auto options = std::make_shared<CreateOptions>();
  CLI::App* const command =
      parent.add_subcommand("create", "Create a guest with the devices of its configuration");
  command->add_option("FILE", options->file, "Configuration of the guest, as for xl create")
      ->required();
  add_timeout(*command, options->timeout);
  add_named_devices(*command, options->devices);
  add_run_folder(*command, options->run_folder);
  command->allow_extras();
  command->footer(
      "Other options, and settings such as memory=512, are handed on to 'xl create'. Does\n"
      "xl create -p, attaches the devices of virtio_msg = [ ... ], then xl unpause. If a step\n"
      "fails the guest is destroyed again and nothing is left.");
  return {command, [options, command] {
            options->xl_words = command->remaining();
            return create(*options);
          }};
}

Command add_list(CLI::App& parent) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* const command =
      parent.add_subcommand("list", "Show the devices of one guest, or of all");
  command->add_option("GUEST", options->guest, "Name or id of the guest");
  command->add_flag("--json", options->json, "For scripts");
  return {command, [options] { return list(*options); }};
}

Command add_show(CLI::App& parent) {
  auto options = std::make_shared<ListOptions>();
  CLI::App* const command =
      parent.add_subcommand("show", "Show all about one device: state, features, queues, counters");
  add_guest(*command, options->guest);
  add_device(*command, options->device);
  command->add_flag("--json", options->json, "For scripts");
  add_socket(*command, options->socket);
  return {command, [options] { return show(*options); }};
}

Command add_top(CLI::App& parent) {
  auto options = std::make_shared<TopOptions>();
  CLI::App* const command =
      parent.add_subcommand("top", "Show what the devices of all guests do at this moment");
  command->add_option("-i,--interval", options->interval, "Seconds between two looks")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  command->add_flag("--once", options->once, "One table over one interval, then end");
  command->add_flag("--json", options->json, "For scripts; without --once a line an interval");
  add_socket(*command, options->socket);
  return {command, [options] { return top(*options); }};
}

Command add_trace(CLI::App& parent) {
  auto options = std::make_shared<TraceOptions>();
  CLI::App* const command =
      parent.add_subcommand("trace", "Show the messages of a guest's buses as they pass");
  add_guest(*command, options->guest);
  command->add_option("-n,--count", options->count, "End after this many messages");
  command->add_flag("--json", options->json, "A line of JSON a message");
  add_socket(*command, options->socket);
  command->footer(
      "'->' is what the guest sends, '<-' what it gets; times are in seconds from the first\n"
      "message. End it with Ctrl-C.");
  return {command, [options] { return trace(*options); }};
}

Command add_watch(CLI::App& parent) {
  auto options = std::make_shared<WatchOptions>();
  CLI::App* const command = parent.add_subcommand(
      "watch", "Give guests that 'xl create' makes their devices (a service)");
  command
      ->add_option("--folder", options->folders,
                   "Where configurations of guests are; may be given several times")
      ->capture_default_str();
  add_named_devices(*command, options->devices);
  add_run_folder(*command, options->run_folder);
  command->footer("Runs until SIGTERM. Logs to standard error; under systemd to the journal.");
  return {command, [options] { return watch(*options); }};
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Gives Xen guests virtio devices over virtio-msg, and takes them away"};
  app.name("vmsg");
  app.set_version_flag("--version", VMSG_VERSION);
  app.require_subcommand(1);
  app.footer("Manuals: vmsg(1), virtio_msg(5), vmsgd(8). Exit codes: 0 done, 1 failed, 2 usage.");
  const std::vector<Command> commands{add_create(app), add_check(app),   add_attach(app),
                                      add_detach(app), add_resize(app),  add_list(app),
                                      add_show(app),   add_console(app), add_top(app),
                                      add_trace(app),  add_watch(app)};
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kExitUsage;
  }
  for (const Command& command : commands) {
    if (command.app->parsed()) return command.run();
  }
  return kExitUsage;
}
