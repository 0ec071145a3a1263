// Owners for the handles and heap blocks of Xen's C libraries, and nothing more: both contract
// programs speak the plain C ABI on purpose, so that what they state is about Xen and not about
// the project's own wrappers (xenbus-glue/), which they therefore do not use.
#pragma once

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
}

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>

namespace vmsg::contract {

inline constexpr std::size_t kPageSize = 4096;

// How long anything may take that is bound to happen. Generous, because an emulated machine with
// one busy core is slow; a test that meets its rule never waits for it.
inline constexpr std::chrono::milliseconds kPatience{20'000};

template <auto Function>
struct Closer {
  template <class Handle>
  void operator()(Handle* handle) const {
    static_cast<void>(Function(handle));
  }
};

using EvtchnHandle = std::unique_ptr<xenevtchn_handle, Closer<xenevtchn_close>>;
using GnttabHandle = std::unique_ptr<xengnttab_handle, Closer<xengnttab_close>>;
using GntshrHandle = std::unique_ptr<xengntshr_handle, Closer<xengntshr_close>>;
using StoreHandle = std::unique_ptr<xs_handle, Closer<xs_close>>;

// Whatever libxenstore returns is one malloc'ed block.
template <class T>
using Malloced = std::unique_ptr<T, Closer<std::free>>;

}  // namespace vmsg::contract
