// The command line of `vmsg-guest blk`.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

#include "tools/vmsg-guest/commands.hpp"

namespace vmsg::guest {

/// Adds the commands. When one of them is parsed, `run` becomes what it does; `options` must live
/// until then.
void add_blk_commands(CLI::App& app, CommandOptions& options, std::function<int()>& run);

}  // namespace vmsg::guest
