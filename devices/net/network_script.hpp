// Runs a network script of the host's, as xl runs those in /etc/xen/scripts.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "transport/result.hpp"

namespace vmsg::net {

struct ScriptCall {
  std::string path;
  std::vector<std::string> arguments;
  /// Added to the environment; what is empty is left out.
  std::vector<std::pair<std::string, std::string>> environment;
};

/// Waits for its end, and ends it after ten seconds, which is what xl does. The error is for
/// people.
[[nodiscard]] Result<void, std::string> run_script(const ScriptCall& call);

}  // namespace vmsg::net
