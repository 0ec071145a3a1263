// The command line of `vmsg-guest console` and `vmsg-guest conform`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {

/// As add_blk_commands().
void add_console_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run);
void add_conform_command(CLI::App& app, CommandOptions& options, std::function<int()>& run);

}  // namespace vmsg::guest
