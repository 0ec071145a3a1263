// Runs xl. Directly with its arguments: no shell ever sees a name or a path.
#pragma once

#include <string>
#include <vector>

#include "transport/result.hpp"

namespace vmsg::tool {

/// Waits for xl's end. Its output is the caller's. The error is one line: what was run, how it
/// ended.
[[nodiscard]] Result<void, std::string> run_xl(const std::vector<std::string>& arguments);

/// Becomes xl; returns only when that fails, with the reason.
[[nodiscard]] std::string become_xl(const std::vector<std::string>& arguments);

}  // namespace vmsg::tool
