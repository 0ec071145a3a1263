// Internal to this folder: the libxenstore handle behind a Store.
#pragma once

#include "xenbus-glue/store.hpp"

extern "C" {
#include <xenstore.h>
}

namespace vmsg::xen {

struct StoreOps::Connection {
  explicit Connection(xs_handle* opened) : handle(opened) {}
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { xs_close(handle); }

  xs_handle* handle;
};

}  // namespace vmsg::xen
