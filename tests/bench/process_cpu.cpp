#include "tests/bench/process_cpu.hpp"

#include <fmt/format.h>

#include <ctime>
#include <filesystem>
#include <fstream>
#include <system_error>

namespace vmsg::bench {

std::uint64_t process_cpu_ns(int pid) {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const auto& task :
       std::filesystem::directory_iterator(fmt::format("/proc/{}/task", pid), error)) {
    std::uint64_t spent = 0;
    std::ifstream(task.path() / "schedstat") >> spent;
    sum += spent;
  }
  return sum;
}

std::uint64_t thread_cpu_ns() {
  timespec time{};
  static_cast<void>(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time));
  return static_cast<std::uint64_t>(time.tv_sec) * 1'000'000'000 +
         static_cast<std::uint64_t>(time.tv_nsec);
}

}  // namespace vmsg::bench
