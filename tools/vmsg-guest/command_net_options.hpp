// The command line of `vmsg-guest net`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {

/// As add_blk_commands().
void add_net_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run);

}  // namespace vmsg::guest
