// The device side's two ends of a ring whose other side does what it likes with the shared memory,
// between any two calls. The input is a program: what the peer writes where, and what we do next.
// After a RingError the bus would be closed; so the run ends there.
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "transport/ring.hpp"

namespace {

using namespace vmsg;

constexpr std::uint32_t kMaxMessage = 264;

void require(bool condition) {
  if (!condition) std::abort();
}

class Program {
 public:
  explicit Program(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  [[nodiscard]] bool is_empty() const { return bytes_.empty(); }
  std::uint32_t number(std::size_t size) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < size && !bytes_.empty(); ++i, bytes_ = bytes_.subspan(1)) {
      value |= std::uint32_t{bytes_[0]} << (8 * i);
    }
    return value;
  }

 private:
  std::span<const std::uint8_t> bytes_;
};

std::uint32_t stated_size(std::span<const std::byte> frame) {
  return std::to_integer<std::uint32_t>(frame[VIRTIO_MSG_HDR_MSG_SIZE]) |
         std::to_integer<std::uint32_t>(frame[VIRTIO_MSG_HDR_MSG_SIZE + 1]) << 8U;
}

struct alignas(kRingPageSize) Page {
  std::array<std::byte, kRingPageSize> bytes;
};

class Run {
 public:
  explicit Run(Program program) : program_(program) {
    write_interface_page(page_view(), layout_, std::array<std::uint32_t, 1>{1});
  }

  void go() {
    // What the peer prepared before we attached.
    const std::uint32_t preparations = program_.number(1) % 8;
    for (std::uint32_t i = 0; i < preparations; ++i) peer_writes();
    static_cast<void>(InterfacePage::read(page_view(), 4, kMaxMessage));
    auto producer = RingProducer::attach(RingSide::kDevice, memory(), layout_);
    auto consumer = RingConsumer::attach(RingSide::kDevice, memory(), layout_);
    if (!producer || !consumer) return;
    while (!program_.is_empty()) {
      if (!step(*producer, *consumer)) return;
    }
  }

 private:
  [[nodiscard]] SharedBytes page_view() {
    return SharedBytes::unchecked_wrap(page_.bytes.data(), page_.bytes.size());
  }
  [[nodiscard]] SharedBytes data_view() {
    return SharedBytes::unchecked_wrap(data_.bytes.data(), data_.bytes.size());
  }
  [[nodiscard]] RingMemory memory() { return {page_view(), data_view()}; }

  void peer_writes() {
    const bool in_page = program_.number(1) % 2 == 0;
    if (in_page) {
      // One of the fields, ours included: the peer can write anywhere.
      const std::size_t at = program_.number(1) % 0x60 / 4 * 4;
      page_view().store_relaxed32(at, program_.number(4));
    } else {
      const std::size_t at = program_.number(2) % (kRingPageSize - 1);
      data_view().store(at, static_cast<std::uint16_t>(program_.number(2)));
    }
  }

  bool step(RingProducer& producer, RingConsumer& consumer) {
    switch (program_.number(1) % 7) {
      case 0:
      case 1:
        peer_writes();
        return true;
      case 2:
        return push(producer);
      case 3:
        static_cast<void>(producer.publish());
        return true;
      case 4:
        return producer.arm_for_room(program_.number(2) % (layout_.size() + 1)).has_value();
      case 5:
        return take(consumer);
      default:
        static_cast<void>(consumer.publish());
        return consumer.prepare_to_sleep().has_value();
    }
  }

  bool push(RingProducer& producer) {
    const std::uint32_t size = 8 + program_.number(2) % (kMaxMessage - 7);
    std::vector<std::byte> frame(size, std::byte{0x5a});
    frame[VIRTIO_MSG_HDR_MSG_SIZE] = static_cast<std::byte>(size);
    frame[VIRTIO_MSG_HDR_MSG_SIZE + 1] = static_cast<std::byte>(size >> 8U);
    const auto room = producer.free_space();
    if (!room) return false;
    require(*room <= layout_.size());
    return producer.push(frame).has_value();
  }

  bool take(RingConsumer& consumer) {
    std::array<std::byte, kMaxMessage> scratch;
    const std::uint32_t limit = program_.number(1) % 8;
    const auto turn = take_turn(consumer, limit, scratch, [&](std::span<const std::byte> frame) {
      require(frame.size() >= 8 && frame.size() <= kMaxMessage);
      // The peer writes while we hold the message: the copy does not change.
      peer_writes();
      require(stated_size(frame) == frame.size());
      return program_.number(1) % 4 != 0;
    });
    if (!turn) return false;
    require(turn->taken <= limit);
    return true;
  }

  Program program_;
  RingLayout layout_ = RingLayout::create(0, kMaxMessage).value();
  Page page_{};
  Page data_{};
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Run(Program({data, size})).go();
  return 0;
}
