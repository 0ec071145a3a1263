// What can be wrong with a virtqueue: the other side's memory, or the way a queue was set up.
//
// Every value here can be caused by bytes of the other side. The reader of an error decides what
// to do (the device needs a reset); the queue only refuses to go on.
#pragma once

#include <cstdint>
#include <string_view>

namespace vmsg {

enum class QueueFault : std::uint8_t {
  // Set-up; `value` is the size or the area length concerned.
  kBadSize,       // 0, too large, or not a power of two for a split queue
  kAreaTooSmall,  // an area does not hold `size` entries
  kMisaligned,    // an area does not lie on the alignment of its format
  kBadLimit,      // max_in_flight or max_chain_segments is 0 or too large

  // Device side: a chain or the available ring. `value` is the number found.
  kIndexRunaway,     // more new entries than the queue has; value: the distance
  kBadIndex,         // a head, `next` or buffer id that is not below the table size
  kIdInFlight,       // a head or buffer id that is not given back yet
  kChainLoop,        // more descriptors than the table has
  kChainTooLong,     // more descriptors than max_chain_segments; value: how many, or the table's
  kTooManyInFlight,  // more descriptors outstanding than the queue has
  kUnknownFlags,     // flags outside those that the format defines
  kIndirectOff,      // INDIRECT without VIRTIO_F_INDIRECT_DESC
  kIndirectAndNext,  // INDIRECT where the chain goes on, or (packed) inside a chain
  kNestedIndirect,   // INDIRECT inside an indirect table
  kBadTableLength,   // an indirect table of 0 bytes or not a multiple of 16; value: the length
  kTableUnreadable,  // the table could not be copied; value: the CopyOutcome
  kReadAfterWrite,   // a readable descriptor after a writable one
  kTotalLength,      // the chain's bytes do not fit 32 bits; value: the sum so far
  kBadAddress,       // not a grant address; value: the address
  kRangeEnd,         // the range leaves the last grant reference; value: its address
  kNotAvailable,     // packed: a chain runs into a descriptor that is not made available
  kOutOfOrder,       // VIRTIO_F_IN_ORDER: a head or `next` that is not the following descriptor

  // Driver side: what a device published. `value` is the number found.
  kUsedRunaway,    // more used entries than buffers outstanding
  kUsedUnknownId,  // an id that names no outstanding buffer
  kUsedLength,     // more bytes written than the buffer has room for
  kUsedOrder,      // VIRTIO_F_IN_ORDER: an id out of order

  kAbandoned,  // the queue was given up (reset) and takes nothing any more
};

struct QueueError {
  QueueFault fault;
  std::uint64_t value = 0;

  friend bool operator==(const QueueError&, const QueueError&) = default;
};

/// The enumerator without its k, for logs and metrics.
[[nodiscard]] std::string_view name(QueueFault fault);

}  // namespace vmsg
