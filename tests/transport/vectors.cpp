#include "tests/transport/vectors.hpp"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace vmsg::test {
namespace {

[[noreturn]] void give_up(const std::string& why) {
  std::fprintf(stderr, "vectors.txt: %s\n", why.c_str());
  std::abort();
}

VectorVerdict verdict_from(const std::string& word) {
  if (word == "valid") return VectorVerdict::kValid;
  if (word == "tolerate") return VectorVerdict::kTolerate;
  if (word == "drop") return VectorVerdict::kDrop;
  give_up("no such verdict: " + word);
}

std::vector<FrameVector> read_vectors(const std::string& path) {
  std::ifstream file(path);
  if (!file) give_up("cannot open " + path);
  std::vector<FrameVector> vectors;
  std::string line;
  while (std::getline(file, line)) {
    if (line.empty() || line[0] == '#') continue;
    if (line[0] == ' ') {
      const auto bytes = from_hex(line);
      vectors.back().bytes.insert(vectors.back().bytes.end(), bytes.begin(), bytes.end());
    } else if (line[0] == '=' || line[0] == '!') {
      vectors.back().expected = line.substr(2);
    } else {
      FrameVector vector;
      std::string verdict;
      std::istringstream(line) >> vector.id >> vector.receiver >> verdict;
      vector.verdict = verdict_from(verdict);
      vectors.push_back(vector);
    }
  }
  return vectors;
}

}  // namespace

const std::vector<FrameVector>& frame_vectors() {
  static const std::vector<FrameVector> vectors = read_vectors(VMSG_VECTORS_FILE);
  return vectors;
}

const std::vector<std::byte>& vector_bytes(const std::string& id) {
  for (const FrameVector& vector : frame_vectors()) {
    if (vector.id == id) return vector.bytes;
  }
  give_up("no vector " + id);
}

std::vector<std::byte> from_hex(const std::string& hex) {
  std::vector<std::byte> bytes;
  std::istringstream in(hex);
  unsigned value = 0;
  while (in >> std::hex >> value) bytes.push_back(static_cast<std::byte>(value));
  return bytes;
}

}  // namespace vmsg::test
