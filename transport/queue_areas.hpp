// The memory of one virtqueue, as whoever serves it sees it.
#pragma once

#include <cstdint>
#include <optional>

#include "transport/queue_error.hpp"
#include "transport/queue_layout.hpp"
#include "transport/shared_bytes.hpp"

namespace vmsg {

/// The three areas, mapped. For a device the split descriptor table and available ring, and the
/// packed driver area, are only ever read and may be mapped read-only.
struct QueueAreas {
  SharedBytes descriptors;
  SharedBytes driver;
  SharedBytes device;
};

/// Whether a queue of this size can work in these areas: valid size, long enough, aligned.
[[nodiscard]] std::optional<QueueError> find_area_fault(QueueFormat format, std::uint32_t size,
                                                        const QueueAreas& areas);

}  // namespace vmsg
