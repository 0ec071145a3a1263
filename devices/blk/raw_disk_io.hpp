// What the kernel is asked for when a raw disk is asked for something: one io_uring entry.
#pragma once

#include <liburing.h>

#include "devices/blk/disk.hpp"

namespace vmsg::blk {

/// Fills in an entry that has been prepared with its completion.
void prepare_raw_io(io_uring_sqe& entry, int fd, const DiskIo& io);

}  // namespace vmsg::blk
