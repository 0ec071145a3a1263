#include "transport/queue_setup.hpp"

#include <array>
#include <bit>

#include "transport/grant_address.hpp"

namespace vmsg {
namespace {

struct Area {
  std::uint64_t address;
  std::uint64_t alignment;
  std::uint64_t bytes;
};

bool is_usable(const Area& area) {
  if (area.address == 0 || area.address % area.alignment != 0) return false;
  const auto start = GrantAddress::parse(area.address);
  return start && start->holds(area.bytes);
}

}  // namespace

bool is_valid_setup(const SetVqueueRequest& request, std::uint32_t max_size, RingLayout layout) {
  // The values of `flags` are settled by this line alone: the field may be a bit set or a number.
  if (request.flags != 0 && request.flags != VIRTIO_MSG_VQUEUE_ENABLE) return false;
  if (request.size == 0 || request.size > max_size) return false;

  const std::uint64_t size = request.size;
  if (layout == RingLayout::kPacked) {
    return is_usable({.address = request.descriptor_addr, .alignment = 16, .bytes = 16 * size}) &&
           is_usable({.address = request.driver_addr, .alignment = 4, .bytes = 4}) &&
           is_usable({.address = request.device_addr, .alignment = 4, .bytes = 4});
  }
  if (!std::has_single_bit(request.size)) return false;
  return is_usable({.address = request.descriptor_addr, .alignment = 16, .bytes = 16 * size}) &&
         is_usable({.address = request.driver_addr, .alignment = 2, .bytes = 6 + 2 * size}) &&
         is_usable({.address = request.device_addr, .alignment = 4, .bytes = 6 + 8 * size});
}

std::uint32_t notification_hint(std::uint32_t next_offset, std::uint32_t queue_size,
                                RingLayout layout) {
  constexpr std::uint32_t kTop = 0x80000000;
  if (layout == RingLayout::kPacked) {
    return (next_offset & ~kTop) < queue_size ? next_offset : 0;
  }
  // Two readings of the text are on the wire: the plain 16-bit index, and its top bit moved to bit
  // 31. Bit 15 and bit 31 are never both needed, so both decode without doubt.
  if ((next_offset & kTop) == 0) return next_offset <= 0xffff ? next_offset : 0;
  const std::uint32_t low = next_offset & ~kTop;
  return low <= 0x7fff ? 0x8000 | low : 0;
}

}  // namespace vmsg
