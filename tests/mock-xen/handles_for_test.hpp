// Library handles that close themselves, a world that checks what is left, and shorthands: for the
// tests of the mock. The tests call Xen's C functions themselves; only opening and closing is here.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
}

#include "tests/mock-xen/event_queue.hpp"
#include "tests/mock-xen/mock_xen.hpp"

namespace vmsg::mock {

template <auto close_function>
struct Closer {
  template <typename T>
  void operator()(T* handle) const {
    close_function(handle);
  }
};

using Evtchn = std::unique_ptr<xenevtchn_handle, Closer<xenevtchn_close>>;
using Gnttab = std::unique_ptr<xengnttab_handle, Closer<xengnttab_close>>;
using Gntshr = std::unique_ptr<xengntshr_handle, Closer<xengntshr_close>>;

/// The ports that have fired, in order; never waits.
inline std::vector<int> fired(xenevtchn_handle* handle) {
  const int fd = xenevtchn_fd(handle);
  const int flags = ::fcntl(fd, F_GETFL);
  ::fcntl(fd, F_SETFL, flags | O_NONBLOCK);
  std::vector<int> ports;
  for (int port = xenevtchn_pending(handle); port >= 0; port = xenevtchn_pending(handle)) {
    ports.push_back(port);
  }
  ::fcntl(fd, F_SETFL, flags);
  return ports;
}

/// Domain 0 and the guest 3; ends with nothing left.
class MockWorld : public testing::Test {
 protected:
  static constexpr std::uint32_t kGuest = 3;

  MockWorld() { xen.create_domain(kGuest); }

  // After the members of the tests' own fixtures, so that their handles are closed.
  ~MockWorld() override {
    if (leaks_on_purpose) return;
    EXPECT_THAT(xen.what_is_left(), testing::IsEmpty());
  }

  Evtchn open_evtchn(std::uint32_t domid) {
    const auto in_domain = xen.as_domain(domid);
    return Evtchn(xenevtchn_open(nullptr, 0));
  }
  Gnttab open_gnttab(std::uint32_t domid) {
    const auto in_domain = xen.as_domain(domid);
    return Gnttab(xengnttab_open(nullptr, 0));
  }
  Gntshr open_gntshr(std::uint32_t domid) {
    const auto in_domain = xen.as_domain(domid);
    return Gntshr(xengntshr_open(nullptr, 0));
  }

  MockXen xen;
  bool leaks_on_purpose = false;
};

/// "-1 and errno is `error`".
MATCHER_P(FailsWith, error, "fails with errno " + std::to_string(error)) {
  const int seen = errno;
  *result_listener << "errno is " << seen;
  return arg == -1 && seen == error;
}

}  // namespace vmsg::mock
