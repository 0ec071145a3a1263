#include "devices/blk/raw_disk_io.hpp"

#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>

#include <utility>

namespace vmsg::blk {
namespace {

void prepare_fallocate(io_uring_sqe& entry, int fd, const DiskIo& io, int mode) {
  io_uring_prep_fallocate(&entry, fd, mode | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(io.offset),
                          static_cast<off_t>(io.length));
}

}  // namespace

void prepare_raw_io(io_uring_sqe& entry, int fd, const DiskIo& io, std::optional<unsigned> fixed) {
  const auto length = static_cast<unsigned>(io.data.size());
  switch (io.operation) {
    case Operation::kRead:
      if (fixed) {
        io_uring_prep_read_fixed(&entry, fd, io.data.data(), length, io.offset,
                                 static_cast<int>(*fixed));
      } else {
        io_uring_prep_read(&entry, fd, io.data.data(), length, io.offset);
      }
      return;
    case Operation::kWrite:
      if (fixed) {
        io_uring_prep_write_fixed(&entry, fd, io.data.data(), length, io.offset,
                                  static_cast<int>(*fixed));
      } else {
        io_uring_prep_write(&entry, fd, io.data.data(), length, io.offset);
      }
      if (io.is_durable) entry.rw_flags = RWF_DSYNC;
      return;
    case Operation::kDiscard:
      return prepare_fallocate(entry, fd, io, FALLOC_FL_PUNCH_HOLE);
    case Operation::kWriteZeroes:
      return prepare_fallocate(entry, fd, io,
                               io.may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
    case Operation::kFlush:
    case Operation::kSecureErase:
    case Operation::kGetId:
    case Operation::kUnknown:
      io_uring_prep_fsync(&entry, fd, IORING_FSYNC_DATASYNC);
      return;
  }
}

Resort resort_for(DiskIo& io) {
  switch (io.operation) {
    case Operation::kDiscard:
      // The guest says that it needs the contents no more; nothing is promised about them.
      return Resort::kDone;
    case Operation::kWriteZeroes:
      // Zeros are owed, deallocation is not: a device without an operation for both writes them.
      return std::exchange(io.may_unmap, false) ? Resort::kAgain : Resort::kNone;
    default:
      return Resort::kNone;
  }
}

}  // namespace vmsg::blk
