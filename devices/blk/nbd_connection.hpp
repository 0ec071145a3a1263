// One connection to an NBD server, by libnbd: made (which blocks), asked what the server can do.
#pragma once

#include <libnbd.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <string>

#include "devices/blk/disk.hpp"
#include "transport/result.hpp"

namespace vmsg::blk {

struct CloseNbd {
  void operator()(nbd_handle* handle) const { nbd_close(handle); }
};
using NbdHandle = std::unique_ptr<nbd_handle, CloseNbd>;

/// What a server says about its export.
struct NbdExport {
  std::uint64_t size = 0;
  DiskTraits traits;
  bool can_flush = false;
  bool can_fua = false;
};

struct NbdConnection {
  NbdHandle handle;
  NbdExport exported;
};

/// Connects within `patience`, or until `is_stopped`. The error says in words why not.
[[nodiscard]] Result<NbdConnection, std::string> connect_nbd(const std::string& uri,
                                                             std::chrono::seconds patience,
                                                             const std::atomic<bool>& is_stopped);

}  // namespace vmsg::blk
