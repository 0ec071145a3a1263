#include "transport/ring.hpp"

#include <algorithm>
#include <bit>

#include "transport/message.hpp"
#include "transport/wire.hpp"

namespace vmsg {
namespace {

static_assert(VMSG_XEN_IF_RING_REFS + (4U << kMaxRingPageOrder) <= kRingPageSize);

constexpr std::uint32_t kAlign = VMSG_XEN_MSG_ALIGN;
static_assert(std::has_single_bit(kAlign) && sizeof(wire::Header) <= kAlign,
              "a header never wraps");

bool is_aligned(std::uint32_t index) { return index % kAlign == 0; }

std::unexpected<RingError> error(RingErrorKind kind, std::uint32_t prod, std::uint32_t cons,
                                 std::uint32_t msg_size = 0) {
  return std::unexpected(RingError{.kind = kind, .prod = prod, .cons = cons, .msg_size = msg_size});
}

/// What both ends require of the pair of indices.
Result<std::uint32_t, RingError> checked_distance(std::uint32_t prod, std::uint32_t cons,
                                                  std::uint32_t size) {
  const std::uint32_t distance = prod - cons;
  if (!is_aligned(prod) || !is_aligned(cons)) return error(RingErrorKind::kMisaligned, prod, cons);
  if (distance > size) return error(RingErrorKind::kOutOfRange, prod, cons);
  return distance;
}

/// Whether the peer asked to hear of an index that goes from `before` to `now`.
bool passes(std::uint32_t now, std::uint32_t before, std::uint32_t event) {
  return now - event - 1 < now - before;
}

SharedBytes direction_of(const RingMemory& memory, const RingLayout& layout, bool is_in) {
  VMSG_INVARIANT(memory.interface_page.size() >= kRingPageSize);
  VMSG_INVARIANT(memory.data.size() == layout.span_bytes());
  return memory.data.sub(is_in ? 0 : layout.size(), layout.size());
}

}  // namespace

// ---- set-up ------------------------------------------------------------------------------------

Result<RingLayout, RingSetupFault> RingLayout::create(std::uint32_t page_order,
                                                      std::uint32_t max_message_size) {
  if (page_order > kMaxRingPageOrder) {
    return std::unexpected(RingSetupFault{RingSetupError::kOrderTooLarge, page_order});
  }
  const RingLayout layout(page_order, max_message_size);
  if (max_message_size < kMinMaxMessageSize) {
    return std::unexpected(RingSetupFault{RingSetupError::kMessageSizeTooSmall, max_message_size});
  }
  if (max_message_size > std::min(layout.size() / 4, kMaxMaxMessageSize)) {
    return std::unexpected(RingSetupFault{RingSetupError::kMessageSizeTooLarge, max_message_size});
  }
  return layout;
}

void write_interface_page(const SharedBytes& page, const RingLayout& layout,
                          std::span<const std::uint32_t> refs) {
  VMSG_INVARIANT(refs.size() == layout.page_count());
  for (std::size_t at = 0; at < kRingPageSize; at += sizeof(std::uint32_t)) {
    page.store_relaxed32(at, 0);
  }
  page.store_relaxed32(VMSG_XEN_IF_RING_PAGE_ORDER, layout.page_order());
  std::size_t at = VMSG_XEN_IF_RING_REFS;
  for (const std::uint32_t ref : refs) {
    page.store_relaxed32(at, ref);
    at += sizeof(ref);
  }
  // The other side looks after it was told through xenstore; the magic comes last all the same.
  page.store_release32(VMSG_XEN_IF_MAGIC, VMSG_XEN_MAGIC);
}

Result<InterfacePage, RingSetupFault> InterfacePage::read(const SharedBytes& page,
                                                          std::uint32_t max_page_order,
                                                          std::uint32_t max_message_size) {
  const std::uint32_t magic = page.load_acquire32(VMSG_XEN_IF_MAGIC);
  if (magic != VMSG_XEN_MAGIC) {
    return std::unexpected(RingSetupFault{RingSetupError::kBadMagic, magic});
  }
  const std::uint32_t order = page.load_relaxed32(VMSG_XEN_IF_RING_PAGE_ORDER);
  if (order > max_page_order) {
    return std::unexpected(RingSetupFault{RingSetupError::kOrderTooLarge, order});
  }
  const auto layout = RingLayout::create(order, max_message_size);
  if (!layout) return std::unexpected(layout.error());

  InterfacePage interface(*layout);
  for (std::uint32_t i = 0; i < layout->page_count(); ++i) {
    interface.refs_[i] = page.load_relaxed32(VMSG_XEN_IF_RING_REFS + i * sizeof(std::uint32_t));
  }
  return interface;
}

/// The four words of the interface page that belong to one direction.
struct RingDirection {
  bool is_in;  // to the driver side
  std::size_t prod;
  std::size_t cons;
  std::size_t prod_event;
  std::size_t cons_event;

  static RingDirection of(bool is_in) {
    if (is_in) {
      return {.is_in = true,
              .prod = VMSG_XEN_IF_IN_PROD,
              .cons = VMSG_XEN_IF_IN_CONS,
              .prod_event = VMSG_XEN_IF_IN_PROD_EVENT,
              .cons_event = VMSG_XEN_IF_IN_CONS_EVENT};
    }
    return {.is_in = false,
            .prod = VMSG_XEN_IF_OUT_PROD,
            .cons = VMSG_XEN_IF_OUT_CONS,
            .prod_event = VMSG_XEN_IF_OUT_PROD_EVENT,
            .cons_event = VMSG_XEN_IF_OUT_CONS_EVENT};
  }
};

// ---- producer ----------------------------------------------------------------------------------

RingProducer::RingProducer(const RingDirection& direction, const RingMemory& memory,
                           const RingLayout& layout)
    : page_(memory.interface_page),
      ring_(direction_of(memory, layout, direction.is_in)),
      prod_at_(direction.prod),
      cons_event_at_(direction.cons_event),
      cons_at_(direction.cons),
      prod_event_at_(direction.prod_event),
      size_(layout.size()),
      max_message_size_(layout.max_message_size()) {}

Result<RingProducer, RingError> RingProducer::attach(RingSide side, const RingMemory& memory,
                                                     const RingLayout& layout) {
  RingProducer producer(RingDirection::of(side == RingSide::kDevice), memory, layout);
  producer.prod_ = producer.page_.load_relaxed32(producer.prod_at_);
  producer.published_ = producer.prod_;
  const auto used = producer.look();
  if (!used) return std::unexpected(used.error());
  return producer;
}

/// Bytes in use, from the peer's index of this moment.
Result<std::uint32_t, RingError> RingProducer::look() {
  // ORDER: pairs with the release store of RingConsumer::publish(): the bytes before `cons` were
  // read before we may overwrite them.
  const std::uint32_t cons = page_.load_acquire32(cons_at_);
  const auto used = checked_distance(prod_, cons, size_);
  if (used) cons_seen_ = cons;
  return used;
}

Result<std::uint32_t, RingError> RingProducer::free_space() {
  const auto used = look();
  if (!used) return std::unexpected(used.error());
  return size_ - *used;
}

Result<bool, RingError> RingProducer::has_room(std::uint32_t space) {
  if (space <= size_ - (prod_ - cons_seen_)) return true;
  const auto space_now = free_space();
  if (!space_now) return std::unexpected(space_now.error());
  return space <= *space_now;
}

Result<bool, RingError> RingProducer::push(std::span<const std::byte> frame) {
  VMSG_INVARIANT(frame.size() >= sizeof(wire::Header) && frame.size() <= max_message_size_);
  const auto size = static_cast<std::uint32_t>(frame.size());
  const auto stated = std::to_integer<std::uint32_t>(frame[VIRTIO_MSG_HDR_MSG_SIZE]) |
                      std::to_integer<std::uint32_t>(frame[VIRTIO_MSG_HDR_MSG_SIZE + 1]) << 8U;
  VMSG_INVARIANT(stated == size);

  const auto fits = has_room(ring_space(size));
  if (!fits || !*fits) return fits;
  static constexpr std::array<std::byte, kAlign> kPadding{};
  write_wrapped(prod_, frame);
  write_wrapped(prod_ + size, std::span(kPadding).first(ring_space(size) - size));
  prod_ += ring_space(size);
  return true;
}

bool RingProducer::publish() {
  if (prod_ == published_) return false;
  const std::uint32_t before = published_;
  // ORDER: pairs with the acquire load in RingConsumer::look(): bytes first, then the index.
  page_.store_release32(prod_at_, prod_);
  published_ = prod_;
  // ORDER: pairs with the barrier in RingConsumer::prepare_to_sleep(): either it sees this index,
  // or we see its event.
  full_barrier();
  return passes(prod_, before, page_.load_relaxed32(prod_event_at_));
}

Result<bool, RingError> RingProducer::arm_for_room(std::uint32_t space) {
  VMSG_INVARIANT(space <= size_);
  // There is room as soon as cons reaches prod + space - size; the peer tells us when it passes
  // what we store, so that is the step before.
  page_.store_relaxed32(cons_event_at_, prod_ + ring_space(space) - size_ - kAlign);
  // ORDER: pairs with the barrier in RingConsumer::publish().
  full_barrier();
  const auto space_now = free_space();
  if (!space_now) return std::unexpected(space_now.error());
  return space <= *space_now;
}

void RingProducer::write_wrapped(std::uint32_t at, std::span<const std::byte> bytes) const {
  const std::uint32_t offset = at & (size_ - 1);
  const std::size_t first = std::min<std::size_t>(bytes.size(), size_ - offset);
  ring_.copy_in(offset, bytes.first(first));
  ring_.copy_in(0, bytes.subspan(first));
}

// ---- consumer ----------------------------------------------------------------------------------

RingConsumer::RingConsumer(const RingDirection& direction, const RingMemory& memory,
                           const RingLayout& layout)
    : page_(memory.interface_page),
      ring_(direction_of(memory, layout, direction.is_in)),
      cons_at_(direction.cons),
      prod_event_at_(direction.prod_event),
      prod_at_(direction.prod),
      cons_event_at_(direction.cons_event),
      size_(layout.size()),
      max_message_size_(layout.max_message_size()) {}

Result<RingConsumer, RingError> RingConsumer::attach(RingSide side, const RingMemory& memory,
                                                     const RingLayout& layout) {
  RingConsumer consumer(RingDirection::of(side == RingSide::kDriver), memory, layout);
  consumer.cons_ = consumer.page_.load_relaxed32(consumer.cons_at_);
  consumer.published_ = consumer.cons_;
  const auto available = consumer.look();
  if (!available) return std::unexpected(available.error());
  return consumer;
}

/// Bytes not yet consumed, from the peer's index of this moment.
Result<std::uint32_t, RingError> RingConsumer::look() {
  // ORDER: pairs with the release store of RingProducer::publish().
  const std::uint32_t prod = page_.load_acquire32(prod_at_);
  const auto available = checked_distance(prod, cons_, size_);
  if (available) prod_seen_ = prod;
  return available;
}

Result<std::optional<std::span<const std::byte>>, RingError> RingConsumer::peek(
    std::span<std::byte> scratch) {
  VMSG_INVARIANT(scratch.size() >= max_message_size_);
  peeked_space_ = 0;
  std::uint32_t available = prod_seen_ - cons_;
  if (available == 0) {
    const auto now = look();
    if (!now) return std::unexpected(now.error());
    if (*now == 0) return std::nullopt;
    available = *now;
  }

  // Not empty and a multiple of 8, so the header is there, in one piece. It is read once: what the
  // frame says of its size later is what was checked here.
  const auto header = ring_.load<wire::Header>(cons_ & (size_ - 1));
  const std::uint32_t msg_size = header.msg_size.get();
  if (msg_size < sizeof(header) || msg_size > max_message_size_) {
    return error(RingErrorKind::kBadSize, prod_seen_, cons_, msg_size);
  }
  if (ring_space(msg_size) > available) {
    return error(RingErrorKind::kIncomplete, prod_seen_, cons_, msg_size);
  }
  const std::span<std::byte> frame = scratch.first(msg_size);
  std::memcpy(frame.data(), &header, sizeof(header));
  read_wrapped(cons_ + std::uint32_t{sizeof(header)}, frame.subspan(sizeof(header)));
  peeked_space_ = ring_space(msg_size);
  return std::optional<std::span<const std::byte>>(frame);
}

void RingConsumer::consume() {
  VMSG_INVARIANT(peeked_space_ != 0);
  cons_ += peeked_space_;
  peeked_space_ = 0;
}

bool RingConsumer::publish() {
  if (cons_ == published_) return false;
  const std::uint32_t before = published_;
  // ORDER: pairs with the acquire load in RingProducer::look(): our reads of the bytes come first.
  page_.store_release32(cons_at_, cons_);
  published_ = cons_;
  // ORDER: pairs with the barrier in RingProducer::arm_for_room().
  full_barrier();
  return passes(cons_, before, page_.load_relaxed32(cons_event_at_));
}

Result<bool, RingError> RingConsumer::prepare_to_sleep() {
  VMSG_INVARIANT(cons_ == published_);
  page_.store_relaxed32(prod_event_at_, cons_);
  // ORDER: pairs with the barrier in RingProducer::publish().
  full_barrier();
  const auto available = look();
  if (!available) return std::unexpected(available.error());
  return *available == 0;
}

void RingConsumer::read_wrapped(std::uint32_t at, std::span<std::byte> bytes) const {
  const std::uint32_t offset = at & (size_ - 1);
  const std::size_t first = std::min<std::size_t>(bytes.size(), size_ - offset);
  ring_.copy_out(offset, bytes.first(first));
  ring_.copy_out(0, bytes.subspan(first));
}

}  // namespace vmsg
