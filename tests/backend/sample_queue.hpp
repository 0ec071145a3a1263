// A queue with a different number in every place, for tests of what is told about it.
#pragma once

#include "backend/snapshot.hpp"

namespace vmsg::test {

inline QueueSnapshot sample_queue() {
  return {.index = 1,
          .size = 256,
          .is_packed = true,
          .worker = 3,
          .has_port = true,
          .turns = 10,
          .chains = 11,
          .kicks = 12,
          .notifications = 13,
          .suppressed = 14};
}

}  // namespace vmsg::test
