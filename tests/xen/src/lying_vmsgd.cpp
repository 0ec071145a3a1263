// A backend that lies: vmsgd itself, whose frames, ring index and used entries are made wrong on
// their way to the guest. For tests of guest drivers; what it serves is otherwise right, so that
// each lie is met by a driver that has come far enough to hear it.
//
// The linker (--wrap) has the three functions at the end called in the place of those of
// transport/. A lie is asked for by a file that VMSG_LIE names: "NAME" or "NAME COUNT". It is told
// to any device but number 0, or by the bus, that many times (once), and then the file is removed.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "transport/device_queue.hpp"
#include "transport/endian.hpp"
#include "transport/ring.hpp"
#include "transport/virtio_msg_xen.h"

namespace vmsg {
namespace {

using Frame = std::vector<std::byte>;

std::uint32_t get32(const Frame& frame, std::size_t payload_offset) {
  Le32 value;
  std::memcpy(&value, frame.data() + VIRTIO_MSG_HDR_SIZE + payload_offset, sizeof(value));
  return value.get();
}
void put32(Frame& frame, std::size_t payload_offset, std::uint32_t value) {
  const Le32 wire(value);
  std::memcpy(frame.data() + VIRTIO_MSG_HDR_SIZE + payload_offset, &wire, sizeof(wire));
}
void put16(Frame& frame, std::size_t offset, std::uint16_t value) {
  const Le16 wire(value);
  std::memcpy(frame.data() + offset, &wire, sizeof(wire));
}
std::uint16_t get16(const Frame& frame, std::size_t offset) {
  Le16 value;
  std::memcpy(&value, frame.data() + offset, sizeof(value));
  return value.get();
}

/// What becomes of a response: true if it was one to lie in; an empty frame is not sent at all.
using Falsify = bool (*)(Frame&);

struct FrameLie {
  const char* name;
  bool by_the_bus;
  std::uint8_t id;
  Falsify falsify;
};

constexpr std::uint32_t kDriverOk = 4;

bool never_reset(Frame& frame) {
  if (get32(frame, 0) != 0) return false;
  put32(frame, 0, 1);
  return true;
}

constexpr std::array kFrameLies{
    FrameLie{"too-many-queues", false, VIRTIO_MSG_GET_DEVICE_INFO,
             [](Frame& frame) { return put32(frame, 32, 70'000), true; }},
    FrameLie{"no-information", false, VIRTIO_MSG_GET_DEVICE_INFO,
             [](Frame& frame) { return frame.clear(), true; }},
    FrameLie{"features-cut", false, VIRTIO_MSG_GET_DEVICE_FEATURES,
             [](Frame& frame) { return put32(frame, 4, 1), true; }},
    FrameLie{"no-answer", false, VIRTIO_MSG_SET_DRIVER_FEATURES,
             [](Frame& frame) { return frame.clear(), true; }},
    FrameLie{"other-token", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) {
               put16(frame, VIRTIO_MSG_HDR_TOKEN, get16(frame, VIRTIO_MSG_HDR_TOKEN) ^ 0x5555);
               return true;
             }},
    FrameLie{"short-answer", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) {
               frame.resize(VIRTIO_MSG_HDR_SIZE + 4);
               put16(frame, VIRTIO_MSG_HDR_MSG_SIZE, VIRTIO_MSG_HDR_SIZE + 4);
               return true;
             }},
    FrameLie{"odd-queue", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) { return put32(frame, 4, 3), true; }},
    FrameLie{"huge-queue", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) { return put32(frame, 4, 0x8000'0000), true; }},
    FrameLie{"other-queue", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) { return put32(frame, 0, 77), true; }},
    FrameLie{"forgotten-queue", false, VIRTIO_MSG_GET_VQUEUE,
             [](Frame& frame) {
               if (get32(frame, 8) == 0) return false;  // it was not set up yet
               for (std::size_t at = 8; at < 40; at += 4) put32(frame, at, 0);
               return true;
             }},
    FrameLie{"other-config", false, VIRTIO_MSG_GET_CONFIG,
             [](Frame& frame) { return put32(frame, 4, get32(frame, 4) + 4), true; }},
    FrameLie{"no-reset", false, VIRTIO_MSG_SET_DEVICE_STATUS, never_reset},
    FrameLie{"no-reset", false, VIRTIO_MSG_GET_DEVICE_STATUS, never_reset},
    FrameLie{"not-started", false, VIRTIO_MSG_SET_DEVICE_STATUS,
             [](Frame& frame) {
               if ((get32(frame, 0) & kDriverOk) == 0) return false;
               return put32(frame, 0, get32(frame, 0) & ~kDriverOk), true;
             }},
    FrameLie{"tiny-frame", false, VIRTIO_MSG_GET_DEVICE_STATUS,
             [](Frame& frame) { return put16(frame, VIRTIO_MSG_HDR_MSG_SIZE, 4), true; }},
    FrameLie{"huge-frame", false, VIRTIO_MSG_GET_DEVICE_STATUS,
             [](Frame& frame) { return put16(frame, VIRTIO_MSG_HDR_MSG_SIZE, 0xffff), true; }},
    FrameLie{"list-backwards", true, VIRTIO_MSG_BUS_GET_DEVICES,
             [](Frame& frame) { return put16(frame, VIRTIO_MSG_HDR_SIZE + 2, 1), true; }},
};

/// The lie that is asked for, and how often it has been told. Workers publish queues.
class Liar {
 public:
  /// Tells it if it is `name`; `tell` says whether this was the moment.
  bool tell(const std::string& name, const std::function<bool()>& tell) {
    const std::lock_guard lock(mutex_);
    const char* const path = std::getenv("VMSG_LIE");  // NOLINT(concurrency-mt-unsafe): never set
    if (path == nullptr) return false;
    std::string wanted;
    unsigned count = 1;
    std::ifstream file(path);
    if (!(file >> wanted) || wanted != name) return false;
    if (!(file >> count)) count = 1;
    if (!tell()) return false;
    if (++told_ >= count) {
      told_ = 0;
      ::unlink(path);
    }
    return true;
  }

 private:
  std::mutex mutex_;
  unsigned told_ = 0;
};

Liar& liar() {
  static Liar instance;
  return instance;
}

/// What a ring keeps to itself: its interface page, the bytes of its direction, its index.
struct RingPage {
  friend auto member_of(RingPage);
};
struct RingBytes {
  friend auto member_of(RingBytes);
};
struct RingIndex {
  friend auto member_of(RingIndex);
};
template <typename Of, auto Member>
struct Reveal {
  friend auto member_of(Of /*unused*/) { return Member; }
};
template struct Reveal<RingPage, &RingProducer::page_>;
template struct Reveal<RingBytes, &RingProducer::ring_>;
template struct Reveal<RingIndex, &RingProducer::prod_>;

/// Gets at what only the formats of a queue see.
struct OpenQueue : DeviceQueue {
  static const QueueAreas& areas(const DeviceQueue& queue) { return queue.*(&OpenQueue::areas_); }
};

constexpr std::size_t kPackedDescriptor = 16;
constexpr std::uint16_t kPackedAvail = 1U << 7U;
constexpr std::uint16_t kPackedUsed = 1U << 15U;

/// Every used entry of a packed queue: the id at 12, the flags at 14.
void falsify_used_ids(const QueueAreas& areas) {
  for (std::size_t at = 0; at + kPackedDescriptor <= areas.descriptors.size();
       at += kPackedDescriptor) {
    const auto flags = areas.descriptors.load_relaxed16(at + 14);
    if (((flags & kPackedAvail) != 0) == ((flags & kPackedUsed) != 0)) {
      areas.descriptors.store_relaxed16(at + 12, 0xfff0);
    }
  }
}

}  // namespace

// What the linker calls __real_F is F, and what it calls __wrap_F is called for F.
#define PUSH "_ZN4vmsg12RingProducer4pushESt4spanIKSt4byteLm18446744073709551615EE"
#define RING_PUBLISH "_ZN4vmsg12RingProducer7publishEv"
#define QUEUE_PUBLISH "_ZN4vmsg11DeviceQueue7publishEv"
using Pushed = Result<bool, RingError>;
Pushed real_push(RingProducer*, std::span<const std::byte>) __asm__("__real_" PUSH);
Pushed lying_push(RingProducer*, std::span<const std::byte>) __asm__("__wrap_" PUSH);
bool real_ring_publish(RingProducer*) __asm__("__real_" RING_PUBLISH);
bool lying_ring_publish(RingProducer*) __asm__("__wrap_" RING_PUBLISH);
bool real_queue_publish(DeviceQueue*) __asm__("__real_" QUEUE_PUBLISH);
bool lying_queue_publish(DeviceQueue*) __asm__("__wrap_" QUEUE_PUBLISH);

Pushed lying_push(RingProducer* ring, std::span<const std::byte> honest) {
  Frame frame(honest.begin(), honest.end());
  const auto type = std::to_integer<std::uint8_t>(frame[VIRTIO_MSG_HDR_TYPE]);
  const auto id = std::to_integer<std::uint8_t>(frame[VIRTIO_MSG_HDR_ID]);
  const bool is_of_bus = (type & VIRTIO_MSG_TYPE_BUS) != 0;
  if ((type & VIRTIO_MSG_TYPE_RESPONSE) == 0) return real_push(ring, honest);
  if (!is_of_bus && get16(frame, VIRTIO_MSG_HDR_DEV_NUM) == 0) return real_push(ring, honest);
  for (const auto& lie : kFrameLies) {
    if (lie.id != id || lie.by_the_bus != is_of_bus) continue;
    if (liar().tell(lie.name, [&] { return lie.falsify(frame); })) break;
  }
  if (frame.empty()) return true;
  // A ring does not take a frame of another size than it says it has: that lie comes afterwards.
  const auto stated = get16(frame, VIRTIO_MSG_HDR_MSG_SIZE);
  put16(frame, VIRTIO_MSG_HDR_MSG_SIZE, static_cast<std::uint16_t>(frame.size()));
  const std::size_t at = ring->*member_of(RingIndex{}) & (ring->size() - 1);
  const auto pushed = real_push(ring, frame);
  if (pushed.value_or(false)) {
    (ring->*member_of(RingBytes{})).store(at + VIRTIO_MSG_HDR_MSG_SIZE, Le16(stated));
  }
  return pushed;
}

bool lying_ring_publish(RingProducer* ring) {
  const bool is_wanted = real_ring_publish(ring);
  const bool has_lied = liar().tell("wild-index", [&] {
    const SharedBytes& page = ring->*member_of(RingPage{});
    page.store_release32(VMSG_XEN_IF_IN_PROD,
                         page.load_relaxed32(VMSG_XEN_IF_IN_PROD) + 0x1000'0004);
    return true;
  });
  return is_wanted || has_lied;
}

bool lying_queue_publish(DeviceQueue* queue) {
  const bool is_wanted = real_queue_publish(queue);
  const bool has_lied = liar().tell("other-buffer", [&] {
    falsify_used_ids(OpenQueue::areas(*queue));
    return true;
  });
  return is_wanted || has_lied;
}

}  // namespace vmsg
