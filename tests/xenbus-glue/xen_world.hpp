// The fixture of this folder: a mock Xen with dom0, two guests and a driver domain, all of them in
// this process. Whatever a test opened must be given back by its end.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

#include "tests/mock-xen/mock_xen.hpp"
#include "xenbus-glue/xen_types.hpp"

namespace vmsg::xen {

class XenWorld : public ::testing::Test {
 protected:
  static constexpr DomainId kBackend = 0;
  static constexpr DomainId kGuest = 3;
  static constexpr DomainId kOther = 4;
  static constexpr DomainId kDriverDomain = 5;

  // How long a test waits for something that is sure to come before it gives up.
  static constexpr std::chrono::seconds kDeadline{20};

  XenWorld() {
    // The mock's broker is a thread: a child that is only forked would miss it.
    GTEST_FLAG_SET(death_test_style, "threadsafe");
    xen.create_domain(kGuest);
    xen.create_domain(kOther);
    xen.create_domain(kDriverDomain, true);
  }

  /// Declared first, so destroyed last: by then the fixture and the test gave everything back.
  struct World : mock::MockXen {
    ~World() {
      if (is_leak_expected) return;
      EXPECT_THAT(what_is_left(), ::testing::IsEmpty());
    }
    bool is_leak_expected = false;
  };
  World xen;

  /// What `open` opens belongs to `domain`.
  template <typename Open>
  auto in_domain(DomainId domain, Open open) {
    const auto scope = xen.as_domain(domain);
    return open();
  }

  /// The value of something that has to succeed for the test to make sense.
  template <typename T>
  static T opened(Result<T, XenError> result) {
    if (!result) {
      std::cerr << "cannot set the test up: " << to_string(result.error()) << '\n';
      std::abort();
    }
    return std::move(*result);
  }

  /// The call after `skip` others of its kind fails, once.
  void fail(DomainId domain, mock::Call call, int error, std::uint32_t skip = 0) {
    xen.fail_nth(call, skip + 1, error, domain);
  }
};

inline void PrintTo(const XenError& error, std::ostream* out) { *out << to_string(error); }

}  // namespace vmsg::xen
