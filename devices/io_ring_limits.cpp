#include "devices/io_ring_limits.hpp"

#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <vector>

namespace vmsg {
namespace {

constexpr std::array kOperations{
    IORING_OP_NOP,
    IORING_OP_READV,
    IORING_OP_WRITEV,
    IORING_OP_READ,
    IORING_OP_WRITE,
    IORING_OP_READ_FIXED,
    IORING_OP_WRITE_FIXED,
    IORING_OP_FSYNC,
    IORING_OP_SYNC_FILE_RANGE,
    IORING_OP_FALLOCATE,
    IORING_OP_FADVISE,
    IORING_OP_POLL_ADD,
    IORING_OP_POLL_REMOVE,
    IORING_OP_TIMEOUT,
    IORING_OP_TIMEOUT_REMOVE,
    IORING_OP_LINK_TIMEOUT,
    IORING_OP_ASYNC_CANCEL,
    IORING_OP_SEND,
    IORING_OP_RECV,
    IORING_OP_SENDMSG,
    IORING_OP_RECVMSG,
    // A console's output file is opened anew when it has grown.
    IORING_OP_OPENAT,
    IORING_OP_RENAMEAT,
    IORING_OP_CLOSE,
};

// What may still be registered: memory, in the table that the ring was made with.
constexpr std::array<unsigned, 1> kRegistrations{IORING_REGISTER_BUFFERS_UPDATE};

constexpr std::uint8_t kFlags = IOSQE_IO_DRAIN | IOSQE_IO_LINK | IOSQE_IO_HARDLINK | IOSQE_ASYNC |
                                IOSQE_BUFFER_SELECT | IOSQE_CQE_SKIP_SUCCESS;

io_uring_restriction make(std::uint16_t kind, unsigned value) {
  io_uring_restriction restriction{};
  restriction.opcode = kind;
  // The fields of the union are one byte each and in the same place.
  restriction.sqe_op = static_cast<std::uint8_t>(value);
  return restriction;
}

}  // namespace

int limit_operations(io_uring& ring) {
  std::vector<io_uring_restriction> all;
  all.reserve(kOperations.size() + kRegistrations.size() + 1);
  for (const auto operation : kOperations) {
    all.push_back(make(IORING_RESTRICTION_SQE_OP, static_cast<unsigned>(operation)));
  }
  for (const unsigned registration : kRegistrations) {
    all.push_back(make(IORING_RESTRICTION_REGISTER_OP, registration));
  }
  all.push_back(make(IORING_RESTRICTION_SQE_FLAGS_ALLOWED, kFlags));
  // liburing 2.3 declares a function for this and does not export it.
  const long done = syscall(SYS_io_uring_register, ring.ring_fd, IORING_REGISTER_RESTRICTIONS,
                            all.data(), static_cast<unsigned>(all.size()));
  return done < 0 ? -errno : 0;
}

}  // namespace vmsg
