// What a console device counts, all ports together.
#pragma once

#include "devices/device_counters.hpp"

namespace vmsg::console {

struct ConsoleCounters {
  OperationCounters transmit;  // buffers and bytes of the guest's output
  OperationCounters receive;   // of its input
  Counter dropped_output;      // bytes that nobody took in time
  Counter bad_controls;        // control messages that make no sense
  Counter emergency;           // characters; written by the control thread
};

}  // namespace vmsg::console
