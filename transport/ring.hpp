// The message ring between the two domains of a bus: one producer and one consumer a direction,
// over memory that the peer can write at any moment. It moves frames and knows only their length.
//
// The peer's indices and bytes are read once, checked, and used; what cannot be is a RingError with
// both indices, and the ring is then of no more use: close the bus. Nothing here loops on what the
// peer wrote, and nothing reads or writes outside the two views.
//
//   producing                                   consuming (one turn)
//     push(frame) ... push(frame)                 take_turn(consumer, limit, scratch, handler)
//     if (publish()) notify the peer              if (turn.notify) notify the peer
//     full? arm_for_room(n), then wait            idle? prepare_to_sleep(), then wait
//
// One thread uses one end. The two ends of a direction meet only in the shared memory.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "transport/result.hpp"
#include "transport/shared_bytes.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg {

// ---- set-up ------------------------------------------------------------------------------------

inline constexpr std::uint32_t kRingPageSize = VMSG_XEN_PAGE_SIZE;
inline constexpr std::uint32_t kMaxRingPageOrder = VMSG_XEN_MAX_RING_PAGE_ORDER;

enum class RingSetupError : std::uint8_t {
  kBadMagic,             // number: what was there
  kOrderTooLarge,        // number: the order
  kMessageSizeTooSmall,  // below what any bus must carry; number: the size
  kMessageSizeTooLarge,  // more than a quarter of a direction; number: the size
};

struct RingSetupFault {
  RingSetupError error = RingSetupError::kBadMagic;
  std::uint32_t number = 0;

  friend bool operator==(const RingSetupFault&, const RingSetupFault&) = default;
};

/// The sizes of a ring; only consistent ones exist.
class RingLayout {
 public:
  /// `max_message_size` is the agreed maximum of whole frames.
  static Result<RingLayout, RingSetupFault> create(std::uint32_t page_order,
                                                   std::uint32_t max_message_size);

  [[nodiscard]] std::uint32_t page_order() const { return page_order_; }
  [[nodiscard]] std::uint32_t page_count() const { return std::uint32_t{1} << page_order_; }
  [[nodiscard]] std::size_t span_bytes() const {
    return static_cast<std::size_t>(page_count()) * kRingPageSize;
  }
  /// Bytes of one direction: a power of two.
  [[nodiscard]] std::uint32_t size() const { return page_count() * (kRingPageSize / 2); }
  [[nodiscard]] std::uint32_t max_message_size() const { return max_message_size_; }

  friend bool operator==(const RingLayout&, const RingLayout&) = default;

 private:
  RingLayout(std::uint32_t page_order, std::uint32_t max_message_size)
      : page_order_(page_order), max_message_size_(max_message_size) {}

  std::uint32_t page_order_;
  std::uint32_t max_message_size_;
};

/// Driver side, before Initialised: clears the page, then writes the constants and the grants of
/// the data pages. `refs.size()` == layout.page_count().
void write_interface_page(const SharedBytes& page, const RingLayout& layout,
                          std::span<const std::uint32_t> refs);

/// Device side: the constants of the interface page, each read once.
class InterfacePage {
 public:
  /// `max_page_order` is what this side has advertised (bounded by kMaxRingPageOrder).
  static Result<InterfacePage, RingSetupFault> read(const SharedBytes& page,
                                                    std::uint32_t max_page_order,
                                                    std::uint32_t max_message_size);

  [[nodiscard]] const RingLayout& layout() const { return layout_; }
  [[nodiscard]] std::span<const std::uint32_t> refs() const {
    return std::span(refs_).first(layout_.page_count());
  }

 private:
  explicit InterfacePage(const RingLayout& layout) : layout_(layout) {}

  RingLayout layout_;
  std::array<std::uint32_t, std::size_t{1} << kMaxRingPageOrder> refs_{};
};

// ---- the two ends of a direction ---------------------------------------------------------------

enum class RingErrorKind : std::uint8_t {
  kMisaligned,  // an index, or the distance of the two, is not a multiple of 8
  kOutOfRange,  // prod - cons is more than the ring holds
  kBadSize,     // msg_size below 8 or beyond the agreed maximum
  kIncomplete,  // a message that prod does not reach the end of
};

/// What the peer did. `msg_size` is 0 where no message is concerned.
struct RingError {
  RingErrorKind kind = RingErrorKind::kMisaligned;
  std::uint32_t prod = 0;
  std::uint32_t cons = 0;
  std::uint32_t msg_size = 0;

  friend bool operator==(const RingError&, const RingError&) = default;
};

/// Who we are. The driver side consumes *in* and produces *out*; the device side the reverse.
enum class RingSide : std::uint8_t { kDriver, kDevice };

/// The memory of a ring as one side sees it: the interface page and the data pages, contiguous.
struct RingMemory {
  SharedBytes interface_page;
  SharedBytes data;
};

/// The bytes that a message of `size` takes.
[[nodiscard]] constexpr std::uint32_t ring_space(std::uint32_t size) {
  return (size + VMSG_XEN_MSG_ALIGN - 1) & ~std::uint32_t{VMSG_XEN_MSG_ALIGN - 1};
}

struct RingDirection;  // where the indices of a direction are

class RingProducer {
 public:
  /// Goes on from the indices in memory, so that it serves a fresh ring and one that a former
  /// process of this side has used. `memory` must be as large as `layout` says.
  static Result<RingProducer, RingError> attach(RingSide side, const RingMemory& memory,
                                                const RingLayout& layout);

  /// Bytes free for ring_space() of messages, at this moment.
  [[nodiscard]] Result<std::uint32_t, RingError> free_space();

  /// Whether messages that take `space` bytes fit. Looks at the peer's index only when the last
  /// look does not suffice.
  [[nodiscard]] Result<bool, RingError> has_room(std::uint32_t space);

  /// Writes a frame behind those already pushed; the peer sees none before publish(). False: no
  /// room, nothing was written. `frame` is one of our own: its msg_size is its length.
  [[nodiscard]] Result<bool, RingError> push(std::span<const std::byte> frame);

  /// Hands over what was pushed. True: notify the peer.
  [[nodiscard]] bool publish();

  /// Asks to be notified when `space` bytes are free. True: they are free already, so do not wait.
  /// `space` is at most the size of the ring.
  [[nodiscard]] Result<bool, RingError> arm_for_room(std::uint32_t space);

  [[nodiscard]] std::uint32_t size() const { return size_; }

 private:
  RingProducer(const RingDirection& direction, const RingMemory& memory, const RingLayout& layout);

  [[nodiscard]] Result<std::uint32_t, RingError> look();
  void write_wrapped(std::uint32_t at, std::span<const std::byte> bytes) const;

  SharedBytes page_;
  SharedBytes ring_;
  std::size_t prod_at_;
  std::size_t cons_event_at_;
  std::size_t cons_at_;
  std::size_t prod_event_at_;
  std::uint32_t size_;
  std::uint32_t max_message_size_;
  // Our own index is never read back: the peer could have written there.
  std::uint32_t prod_ = 0;
  std::uint32_t published_ = 0;
  std::uint32_t cons_seen_ = 0;
};

class RingConsumer {
 public:
  static Result<RingConsumer, RingError> attach(RingSide side, const RingMemory& memory,
                                                const RingLayout& layout);

  /// Copies the next message into `scratch` and checks the copy; empty when there is none. It stays
  /// the next one until consume(). `scratch` holds the agreed maximum. Bytes of the ring are read
  /// once: what is returned cannot change any more.
  [[nodiscard]] Result<std::optional<std::span<const std::byte>>, RingError> peek(
      std::span<std::byte> scratch);

  /// Steps past the message that the last peek() returned. The peer may reuse its bytes, and a
  /// restarted process no longer sees it, from publish() on.
  void consume();

  /// Gives the consumed bytes back. True: notify the peer.
  [[nodiscard]] bool publish();

  /// Asks to be notified of the next message, then looks once more. True: there is none, so wait.
  /// Consumed bytes must have been published.
  [[nodiscard]] Result<bool, RingError> prepare_to_sleep();

  [[nodiscard]] std::uint32_t max_message_size() const { return max_message_size_; }

 private:
  RingConsumer(const RingDirection& direction, const RingMemory& memory, const RingLayout& layout);

  [[nodiscard]] Result<std::uint32_t, RingError> look();
  void read_wrapped(std::uint32_t at, std::span<std::byte> bytes) const;

  SharedBytes page_;
  SharedBytes ring_;
  std::size_t cons_at_;
  std::size_t prod_event_at_;
  std::size_t prod_at_;
  std::size_t cons_event_at_;
  std::uint32_t size_;
  std::uint32_t max_message_size_;
  std::uint32_t cons_ = 0;
  std::uint32_t published_ = 0;
  std::uint32_t prod_seen_ = 0;
  std::uint32_t peeked_space_ = 0;  // 0: no message was peeked
};

// ---- turns -------------------------------------------------------------------------------------

struct RingTurn {
  std::uint32_t taken = 0;
  bool is_empty = false;  // nothing was left when the turn ended; otherwise come back
  bool notify = false;    // the peer waits for the room that this turn made
};

/// Takes at most `limit` messages, so that other buses have their turn. `handler(frame)` returns
/// whether it took the message: false leaves it in the ring and ends the turn (no room for its
/// answer, for instance). After an error the bus is to be closed; what was handled was handled.
template <typename Handler>
Result<RingTurn, RingError> take_turn(RingConsumer& consumer, std::uint32_t limit,
                                      std::span<std::byte> scratch, Handler&& handler) {
  RingTurn turn;
  while (turn.taken < limit) {
    const auto message = consumer.peek(scratch);
    if (!message) return std::unexpected(message.error());
    turn.is_empty = !message->has_value();
    if (turn.is_empty || !handler(**message)) break;
    consumer.consume();
    ++turn.taken;
  }
  turn.notify = consumer.publish();
  return turn;
}

}  // namespace vmsg
