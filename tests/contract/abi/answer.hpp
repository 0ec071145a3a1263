// What a call gave, or the errno with which it failed. A std::expected that GoogleTest can print.
#pragma once

#include <gtest/gtest-printers.h>

#include <concepts>
#include <cstring>
#include <expected>
#include <ostream>
#include <string>

namespace vmsg::contract {

template <class T>
class Answer : public std::expected<T, int> {
 public:
  using std::expected<T, int>::expected;

  template <class Other>
  friend bool operator==(const Answer& answer, const Other& other) {
    const std::expected<T, int>& base = answer;
    if constexpr (std::derived_from<Other, std::expected<T, int>>)
      return base == static_cast<const std::expected<T, int>&>(other);
    else
      return base == other;
  }

  friend void PrintTo(const Answer& answer, std::ostream* out) {
    if (answer.has_value())
      *out << testing::PrintToString(*answer);
    else
      *out << "errno " << answer.error() << " (" << strerrorname_np(answer.error()) << ')';
  }
};

}  // namespace vmsg::contract
