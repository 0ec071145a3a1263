#include "devices/blk/blk_request.hpp"

#include <algorithm>

namespace vmsg::blk {
namespace {

const RangeRules& rules_for(Operation operation, const RequestRules& rules) {
  switch (operation) {
    case Operation::kDiscard:
      return rules.discard;
    case Operation::kSecureErase:
      return rules.secure_erase;
    default:
      return rules.write_zeroes;
  }
}

bool is_inside(std::uint64_t sector, std::uint64_t count, const RequestRules& rules) {
  return sector <= rules.capacity && count <= rules.capacity - sector &&
         sector % rules.block_sectors == 0 && count % rules.block_sectors == 0;
}

}  // namespace

Operation operation_of(const wire::RequestHeader& header) {
  switch (header.type.get()) {
    case wire::kTypeIn:
      return Operation::kRead;
    case wire::kTypeOut:
      return Operation::kWrite;
    case wire::kTypeFlush:
      return Operation::kFlush;
    case wire::kTypeGetId:
      return Operation::kGetId;
    case wire::kTypeDiscard:
      return Operation::kDiscard;
    case wire::kTypeWriteZeroes:
      return Operation::kWriteZeroes;
    case wire::kTypeSecureErase:
      return Operation::kSecureErase;
    default:
      return Operation::kUnknown;
  }
}

Result<Request, Status> parse_request(const wire::RequestHeader& header, std::uint32_t readable,
                                      std::uint32_t writable, const RequestRules& rules) {
  const Operation operation = operation_of(header);
  const std::uint64_t sector = header.sector.get();

  switch (operation) {
    case Operation::kFlush:
      return Request{.operation = operation};
    case Operation::kGetId:
      return Request{.operation = operation,
                     .length = std::min<std::uint32_t>(writable, wire::kIdBytes)};
    case Operation::kRead:
    case Operation::kWrite: {
      const bool is_write = operation == Operation::kWrite;
      const std::uint32_t length = is_write ? readable : writable;
      // virtio 1.3, 5.2.6.2: a write to a read-only device is answered with IOERR.
      if (is_write && rules.is_read_only) return std::unexpected(Status::kIoError);
      if (length % wire::kSectorSize != 0) return std::unexpected(Status::kIoError);
      if (!is_inside(sector, length / wire::kSectorSize, rules)) {
        return std::unexpected(Status::kIoError);
      }
      return Request{
          .operation = operation, .offset = sector * wire::kSectorSize, .length = length};
    }
    case Operation::kDiscard:
    case Operation::kWriteZeroes:
    case Operation::kSecureErase: {
      const RangeRules& own = rules_for(operation, rules);
      if (own.max_sectors == 0) return std::unexpected(Status::kUnsupported);
      if (rules.is_read_only) return std::unexpected(Status::kIoError);
      const std::size_t count = readable / sizeof(wire::Range);
      if (count == 0 || readable % sizeof(wire::Range) != 0 || count > own.max_ranges) {
        return std::unexpected(Status::kIoError);
      }
      return Request{.operation = operation, .length = readable};
    }
    case Operation::kUnknown:
      break;
  }
  return std::unexpected(Status::kUnsupported);
}

Result<DiskRange, Status> parse_range(const wire::Range& range, Operation operation,
                                      const RequestRules& rules) {
  // virtio 1.3, 5.2.6.2: unknown flags, and the unmap flag of anything but write zeroes, are
  // answered with UNSUPP.
  const std::uint32_t flags = range.flags.get();
  const std::uint32_t known = operation == Operation::kWriteZeroes ? wire::kRangeFlagUnmap : 0;
  if ((flags & ~known) != 0) return std::unexpected(Status::kUnsupported);
  const std::uint64_t count = range.num_sectors.get();
  if (count > rules_for(operation, rules).max_sectors ||
      !is_inside(range.sector.get(), count, rules)) {
    return std::unexpected(Status::kIoError);
  }
  return DiskRange{.offset = range.sector.get() * wire::kSectorSize,
                   .length = count * wire::kSectorSize,
                   .may_unmap = (flags & wire::kRangeFlagUnmap) != 0};
}

}  // namespace vmsg::blk
