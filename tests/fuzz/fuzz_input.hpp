// A fuzzer's bytes as a stream of small decisions. When they are used up, everything is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace vmsg::fuzz {

class FuzzInput {
 public:
  FuzzInput(const std::uint8_t* data, std::size_t size) : bytes_(data, size) {}

  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }

  template <typename T>
  T take() {
    T value{};
    const std::size_t size = bytes_.size() < sizeof(T) ? bytes_.size() : sizeof(T);
    if (size != 0) std::memcpy(&value, bytes_.data(), size);
    bytes_ = bytes_.subspan(size);
    return value;
  }

  bool flag() { return (take<std::uint8_t>() & 1) != 0; }
  /// 0 to limit - 1.
  std::uint32_t below(std::uint32_t limit) { return take<std::uint16_t>() % limit; }

 private:
  std::span<const std::uint8_t> bytes_;
};

}  // namespace vmsg::fuzz
