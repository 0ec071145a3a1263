// The device side of a split queue with hostile memory: device_queue_fuzz.hpp says how.
#include "tests/fuzz/device_queue_fuzz.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  vmsg::fuzz::run_device_queue(vmsg::QueueFormat::kSplit, data, size);
  return 0;
}
