// Which operations a worker's ring takes. An io_uring is a second way into the kernel that no
// seccomp filter sees, so what the filter refuses must not be possible here either: a ring moves
// data, waits, and opens files; it makes no sockets and connects none.
#pragma once

#include <liburing.h>

namespace vmsg {

/// For a ring that was made with IORING_SETUP_R_DISABLED and is not enabled yet. The result is 0,
/// or a negative errno value.
[[nodiscard]] int limit_operations(io_uring& ring);

}  // namespace vmsg
