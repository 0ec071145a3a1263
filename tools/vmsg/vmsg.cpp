// vmsg: the toolstack side of virtio-msg on Xen, for people and scripts. This file is the command
// line; each command has a file of its own.
#include <CLI/CLI.hpp>
#include <vector>

#include "tools/vmsg/commands.hpp"

int main(int argc, char** argv) {
  using namespace vmsg::tool;  // NOLINT(google-build-using-namespace): this is their program
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
