// A frame of a script's own making, sometimes one whose header may be taken for that of a message.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/fuzz/fuzz_input.hpp"
#include "transport/message.hpp"

namespace vmsg::fuzz {

/// `devices` are the bits that the number of the device may then have.
inline std::vector<std::byte> any_frame(FuzzInput& input, std::byte devices) {
  std::vector<std::byte> frame(kHeaderSize + input.below(64));
  for (std::byte& byte : frame) byte = std::byte{input.take<std::uint8_t>()};
  if (input.flag()) {
    frame[0] &= std::byte{3};
    frame[2] &= devices;
    frame[3] = std::byte{0};
    frame[6] = std::byte(frame.size() & 0xff);
    frame[7] = std::byte(frame.size() >> 8);
  }
  return frame;
}

}  // namespace vmsg::fuzz
