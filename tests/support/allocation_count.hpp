// How often this program allocated: for tests of what must not. Linking it replaces the program's
// operator new.
#pragma once

#include <cstddef>

namespace vmsg::test {

/// Allocations of all threads since the program began.
[[nodiscard]] std::size_t allocations();

}  // namespace vmsg::test
