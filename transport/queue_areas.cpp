#include "transport/queue_areas.hpp"

namespace vmsg {
namespace {

std::optional<QueueError> find_fault(const SharedBytes& area, std::uint64_t bytes,
                                     std::uint64_t alignment) {
  if (area.size() < bytes) return QueueError{QueueFault::kAreaTooSmall, area.size()};
  if (!area.is_aligned(alignment)) return QueueError{QueueFault::kMisaligned, alignment};
  return std::nullopt;
}

}  // namespace

std::optional<QueueError> find_area_fault(QueueFormat format, std::uint32_t size,
                                          const QueueAreas& areas) {
  if (!is_valid_queue_size(format, size)) return QueueError{QueueFault::kBadSize, size};
  const AreaNumbers sizes = area_sizes(format, size);
  const AreaNumbers alignments = area_alignments(format);
  if (auto fault = find_fault(areas.descriptors, sizes.descriptors, alignments.descriptors)) {
    return fault;
  }
  if (auto fault = find_fault(areas.driver, sizes.driver, alignments.driver)) return fault;
  return find_fault(areas.device, sizes.device, alignments.device);
}

}  // namespace vmsg
