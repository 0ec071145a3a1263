#include "tests/fuzz/manual_clock.hpp"

#include <cstdint>

namespace {

// Not at the start: a difference from it is a time that has passed.
std::chrono::nanoseconds& now_of_clock() {
  static std::chrono::nanoseconds now = std::chrono::hours(1);
  return now;
}

}  // namespace

namespace vmsg::fuzz {

void advance_clock(std::chrono::nanoseconds time) { now_of_clock() += time; }

}  // namespace vmsg::fuzz

// The library's definition is in a shared object, and gives way to one in the program.
std::chrono::steady_clock::time_point std::chrono::steady_clock::now() noexcept {
  return time_point(now_of_clock());
}
