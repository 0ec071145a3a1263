// The rules of tests/conformance-rules.tsv that a driver can put to the test from outside, with
// nothing but the bus: what is tried for each, and what must come of it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tools/vmsg-guest/raw_driver.hpp"

namespace vmsg::guest {

/// What a check found wrong. Empty: nothing.
class Findings {
 public:
  void expect(bool is_as_it_should_be, std::string what) {
    if (!is_as_it_should_be) found_.push_back(std::move(what));
  }
  template <typename T>
  void equal(const T& wanted, const T& found, const std::string& what);

  [[nodiscard]] const std::vector<std::string>& list() const { return found_; }

 private:
  std::vector<std::string> found_;
};

struct ConformRule {
  std::string_view rule;   // as in tests/conformance-rules.tsv
  std::string_view tried;  // in a few words
  void (*check)(RawDriver&, Findings&);
};

// Each begins with a reset of its own where it matters.
[[nodiscard]] std::span<const ConformRule> frame_rules();
[[nodiscard]] std::span<const ConformRule> device_rules();
[[nodiscard]] std::span<const ConformRule> queue_rules();
[[nodiscard]] std::span<const ConformRule> bus_rules();

/// All of them, in this order.
[[nodiscard]] std::vector<ConformRule> conform_rules();

}  // namespace vmsg::guest
