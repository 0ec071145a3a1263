// What a fallible function of this project returns, and what ends the process.
//
// Inside a session every fallible function returns a Result whose error is a closed enum or a
// small struct of its layer. Errors carry the offending number; they do not log and do not throw.
#pragma once

#include <expected>

namespace vmsg {

template <typename T, typename E>
using Result = std::expected<T, E>;

/// Ends the process with a line that names the broken invariant. For our own bugs only: no byte of
/// a guest, of xenstore or of a file may ever decide a condition that leads here.
[[noreturn]] void invariant_broken(const char* what, const char* file, int line);

}  // namespace vmsg

/// Checked in every build: what it guards is memory safety.
#define VMSG_INVARIANT(condition) \
  ((condition) ? static_cast<void>(0) : ::vmsg::invariant_broken(#condition, __FILE__, __LINE__))
