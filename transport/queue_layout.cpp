#include "transport/queue_layout.hpp"

#include <limits>

namespace vmsg {
namespace {

std::optional<QueueError> find_address_fault(std::uint64_t address, std::uint64_t bytes,
                                             std::uint64_t alignment) {
  if (address == 0) return QueueError{QueueFault::kBadAddress, address};
  if (address % alignment != 0) return QueueError{QueueFault::kMisaligned, address};
  // The last byte is what has to have an address; `bytes` is never 0.
  if (bytes - 1 > std::numeric_limits<std::uint64_t>::max() - address) {
    return QueueError{QueueFault::kRangeEnd, address};
  }
  return std::nullopt;
}

}  // namespace

std::optional<QueueError> find_layout_fault(QueueFormat format, std::uint32_t size,
                                            const AreaNumbers& addresses) {
  if (!is_valid_queue_size(format, size)) return QueueError{QueueFault::kBadSize, size};
  const AreaNumbers sizes = area_sizes(format, size);
  const AreaNumbers alignments = area_alignments(format);
  if (auto fault =
          find_address_fault(addresses.descriptors, sizes.descriptors, alignments.descriptors))
    return fault;
  if (auto fault = find_address_fault(addresses.driver, sizes.driver, alignments.driver))
    return fault;
  return find_address_fault(addresses.device, sizes.device, alignments.device);
}

}  // namespace vmsg
