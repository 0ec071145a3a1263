#include "transport/queue_setup.hpp"

#include "transport/grant_address.hpp"

namespace vmsg {
namespace {

bool lies_in_grants(std::uint64_t address, std::uint64_t bytes) {
  const auto start = GrantAddress::parse(address);
  return start && start->holds(bytes);
}

}  // namespace

bool is_valid_setup(const SetVqueueRequest& request, std::uint32_t max_size, QueueFormat format) {
  // The values of `flags` are settled by this line alone: the field may be a bit set or a number.
  if (request.flags != 0 && request.flags != VIRTIO_MSG_VQUEUE_ENABLE) return false;
  if (request.size > max_size) return false;
  const AreaNumbers addresses{.descriptors = request.descriptor_addr,
                              .driver = request.driver_addr,
                              .device = request.device_addr};
  if (find_layout_fault(format, request.size, addresses)) return false;
  const AreaNumbers sizes = area_sizes(format, request.size);
  return lies_in_grants(addresses.descriptors, sizes.descriptors) &&
         lies_in_grants(addresses.driver, sizes.driver) &&
         lies_in_grants(addresses.device, sizes.device);
}

std::uint32_t notification_hint(std::uint32_t next_offset, std::uint32_t queue_size,
                                QueueFormat format) {
  constexpr std::uint32_t kTop = 0x80000000;
  if (format == QueueFormat::kPacked) {
    return (next_offset & ~kTop) < queue_size ? next_offset : 0;
  }
  // Two readings of the text are on the wire: the plain 16-bit index, and its top bit moved to bit
  // 31. Bit 15 and bit 31 are never both needed, so both decode without doubt.
  if ((next_offset & kTop) == 0) return next_offset <= 0xffff ? next_offset : 0;
  const std::uint32_t low = next_offset & ~kTop;
  return low <= 0x7fff ? 0x8000 | low : 0;
}

}  // namespace vmsg
