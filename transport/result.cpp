#include "transport/result.hpp"

#include <cstdio>
#include <cstdlib>

namespace vmsg {

void invariant_broken(const char* what, const char* file, int line) {
  // Nothing can be done about a failing stderr here: the next statement ends the process.
  static_cast<void>(std::fprintf(stderr, "%s:%d: invariant broken: %s\n", file, line, what));
  std::abort();
}

}  // namespace vmsg
