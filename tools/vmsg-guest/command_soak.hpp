// The command line of `vmsg-guest soak`.
#pragma once

#include <CLI/CLI.hpp>

#include <functional>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {

/// Once the command line was parsed, `run` does what it says, if it says so.
void add_soak_command(CLI::App& app, CommandOptions& options, std::function<int()>& run);

}  // namespace vmsg::guest
