// A monotonic clock that stands still until it is told to go on: manual_clock.cpp defines
// std::chrono::steady_clock::now() for the whole program that links it, so that a timeout is a step
// of a script and every run of a script is the same.
#pragma once

#include <chrono>

namespace vmsg::fuzz {

void advance_clock(std::chrono::nanoseconds time);

}  // namespace vmsg::fuzz
