// What the threads of another process have spent of the processors, in nanoseconds: the kernel's
// scheduler statistics, which are finer than clock ticks.
#pragma once

#include <cstdint>

namespace vmsg::bench {

/// 0 when there is no such process.
[[nodiscard]] std::uint64_t process_cpu_ns(int pid);

/// Of the calling thread.
[[nodiscard]] std::uint64_t thread_cpu_ns();

}  // namespace vmsg::bench
