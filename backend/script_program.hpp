// Runs one script: a program of the host's, for as long as xl would wait for it.
#pragma once

#include <string>

#include "devices/net/network_script.hpp"
#include "transport/result.hpp"

namespace vmsg {

/// Judges a call as if it came from an attacker, since it may: the script must be a file "vif-..."
/// of root's (or of the user that runs this) in `directory` that nobody else can write to, the
/// command one of two, and the variables known ones with values of harmless characters. Returns its
/// path.
[[nodiscard]] Result<std::string, std::string> check_script(const std::string& directory,
                                                            const net::ScriptCall& call);

/// Runs it as `path` and waits for its end, or ends it after ten seconds.
[[nodiscard]] Result<void, std::string> run_script(const std::string& path,
                                                   const net::ScriptCall& call);

}  // namespace vmsg
