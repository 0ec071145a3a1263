// A virtio-blk request as a value: what the copied header of a chain asks for, judged against the
// disk as it is now. Pure; nothing here touches memory of a guest or a disk.
#pragma once

#include <cstdint>

#include "devices/blk/blk_wire.hpp"
#include "devices/blk/disk.hpp"
#include "transport/result.hpp"

namespace vmsg::blk {

enum class Status : std::uint8_t {
  kOk = wire::kStatusOk,
  kIoError = wire::kStatusIoError,
  kUnsupported = wire::kStatusUnsupported,
};

/// One of the operations on ranges as the device has it: which length a range may have, how many
/// ranges a request.
struct RangeRules {
  std::uint32_t max_sectors = 0;  // 0: not offered
  std::uint32_t max_ranges = 0;
};

/// What requests are judged by.
struct RequestRules {
  std::uint64_t capacity = 0;  // sectors
  std::uint32_t block_sectors = 1;
  bool is_read_only = false;
  RangeRules discard;
  RangeRules write_zeroes;
  RangeRules secure_erase;
};

struct Request {
  Operation operation = Operation::kRead;
  std::uint64_t offset = 0;  // bytes; of reads and writes
  /// Bytes of data: to read, to write, or of ranges.
  std::uint32_t length = 0;
};

/// One range of a discard, write zeroes or secure erase.
struct DiskRange {
  std::uint64_t offset = 0;  // bytes
  std::uint64_t length = 0;
  bool may_unmap = false;
};

/// What a header asks for, whether or not it can be had.
[[nodiscard]] Operation operation_of(const wire::RequestHeader& header);

/// `readable` and `writable` are the bytes of data in the chain, without header and status. The
/// error is the status to answer with.
[[nodiscard]] Result<Request, Status> parse_request(const wire::RequestHeader& header,
                                                    std::uint32_t readable, std::uint32_t writable,
                                                    const RequestRules& rules);

[[nodiscard]] Result<DiskRange, Status> parse_range(const wire::Range& range, Operation operation,
                                                    const RequestRules& rules);

}  // namespace vmsg::blk
