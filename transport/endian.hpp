// Little-endian integers as they lie on the wire: byte arrays with no alignment and no host order.
// Wire structs consist of these and of std::uint8_t alone.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>

namespace vmsg {

template <std::unsigned_integral T>
class Le {
 public:
  constexpr Le() = default;
  // NOLINTNEXTLINE(google-explicit-constructor): a wire field is assigned from its value.
  constexpr Le(T value) {
    for (std::size_t i = 0; i < sizeof(T); ++i)
      bytes_[i] = static_cast<std::uint8_t>(value >> (8 * i));
  }

  [[nodiscard]] constexpr T get() const {
    T value = 0;
    for (std::size_t i = 0; i < sizeof(T); ++i) {
      value = static_cast<T>(value | static_cast<T>(static_cast<T>(bytes_[i]) << (8 * i)));
    }
    return value;
  }

  friend constexpr bool operator==(const Le&, const Le&) = default;

 private:
  std::array<std::uint8_t, sizeof(T)> bytes_{};
};

using Le16 = Le<std::uint16_t>;
using Le32 = Le<std::uint32_t>;
using Le64 = Le<std::uint64_t>;

static_assert(sizeof(Le16) == 2 && alignof(Le16) == 1);
static_assert(sizeof(Le32) == 4 && alignof(Le32) == 1);
static_assert(sizeof(Le64) == 8 && alignof(Le64) == 1);

}  // namespace vmsg
