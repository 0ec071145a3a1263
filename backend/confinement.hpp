// The seccomp filter: which system calls the daemon may still make once it serves guests. Whoever
// took the process over could not start programs, trace or signal others, mount, load modules, make
// namespaces, open sockets of other families, or become somebody else.
//
// Called while the process has one thread; threads made later have the filter too.
#pragma once

#include <string>

#include "transport/result.hpp"

namespace vmsg {

/// From then on a call that is not on the list fails with EPERM. Some calls that have no business
/// here at all end the process, which the kernel logs.
[[nodiscard]] Result<void, std::string> confine();

}  // namespace vmsg
