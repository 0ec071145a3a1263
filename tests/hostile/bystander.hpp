// A guest that does nothing wrong: what its neighbours do must not matter to it.
#pragma once

#include <string>

#include "tests/hostile/attacker.hpp"

namespace vmsg::hostile {

/// Reads entropy until SIGTERM and checks what can be checked: every buffer comes back once, with a
/// length that fits, its bytes changed and not one byte beyond. `report` (may be empty) is a file
/// that always holds "BUFFERS NANOSECONDS". Throws Trouble when anything is wrong.
void stand_by(const AttackerOptions& options, const std::string& report);

}  // namespace vmsg::hostile
