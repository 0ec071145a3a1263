// What the kernel is asked for when a raw disk is asked for something: one io_uring entry.
#pragma once

#include <liburing.h>

#include <cstdint>
#include <optional>

#include "devices/blk/disk.hpp"

namespace vmsg::blk {

/// Fills in an entry that has been prepared with its completion. `fixed` is the number of the
/// memory that the data is in, if the kernel keeps that at hand.
void prepare_raw_io(io_uring_sqe& entry, int fd, const DiskIo& io, std::optional<unsigned> fixed);

/// What to do when the kernel says that it cannot do that with this target. It may say so although
/// the target looked as if it could: what a block device can do is known when it is tried.
enum class Resort : std::uint8_t {
  kNone,   // it is an error
  kAgain,  // `io` asks for less now
  kDone,   // it need not be done
};
[[nodiscard]] Resort resort_for(DiskIo& io);

}  // namespace vmsg::blk
