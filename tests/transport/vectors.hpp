// Reads vectors.txt: frames as bytes with their meaning. The file says how it is written.
#pragma once

#include <cstddef>
#include <ostream>
#include <string>
#include <vector>

namespace vmsg::test {

enum class VectorVerdict { kValid, kTolerate, kDrop };

struct FrameVector {
  std::string id;
  std::string receiver;  // device, driver, device-bus, driver-bus, either-bus
  VectorVerdict verdict = VectorVerdict::kValid;
  std::vector<std::byte> bytes;
  std::string expected;  // the text form, or for kDrop the error and its number
};

inline void PrintTo(const FrameVector& vector, std::ostream* out) { *out << vector.id; }

/// All vectors of the file; ends the process when the file is not as it should be.
const std::vector<FrameVector>& frame_vectors();

/// The bytes of one.
const std::vector<std::byte>& vector_bytes(const std::string& id);

/// "00 0a ff" as bytes.
std::vector<std::byte> from_hex(const std::string& hex);

}  // namespace vmsg::test
