// Queues that cannot be, queues where they should not lie, and what happens to a queue's memory and
// its event channel while it is in use.
#include "tests/hostile/adversary.hpp"
#include "tests/hostile/raw_queue.hpp"

namespace vmsg::hostile {
namespace {

constexpr std::uint64_t kGrantBit = std::uint64_t{1} << 63;

/// A queue that is right but for one thing: it has to be refused, and a right one taken after it.
std::function<void(Attacker&)> refused(std::function<void(SetVqueueRequest&)> spoil) {
  return [spoil = std::move(spoil)](Attacker& attacker) {
    RawQueue queue(attacker, QueueFormat::kSplit);
    SetVqueueRequest request = queue.request();
    spoil(request);
    expect(!queue.enable(request), "a queue that cannot be is enabled");
    expect(queue.enable(queue.request()), "a right queue is refused after a wrong one");
    attacker.reset();
  };
}

/// An area of one page of the attacker's that is granted wrongly.
std::function<void(Attacker&)> wrong_grant(std::function<xen::SharedPages(Attacker&)> share,
                                           std::uint64_t SetVqueueRequest::* area) {
  return [share = std::move(share), area](Attacker& attacker) {
    RawQueue queue(attacker, QueueFormat::kSplit);
    const xen::SharedPages page = share(attacker);
    SetVqueueRequest request = queue.request();
    request.*area = page.address()->raw();
    expect(!queue.enable(request), "an area that is not granted so is mapped");
    attacker.reset();
  };
}

void overlapping_areas(Attacker& attacker) {
  const RawQueue memory(attacker, QueueFormat::kSplit);
  const auto page = attacker.share(1, Access::kReadWrite);
  RawQueue queue(attacker, QueueFormat::kSplit);
  SetVqueueRequest request = memory.request();
  request.descriptor_addr = page.address()->raw();
  request.driver_addr = page.address()->raw();
  request.device_addr = page.address()->raw();
  static_cast<void>(queue.enable(request));
  attacker.set_status(kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
  {
    const SharedBytes bytes = page.bytes();
    const Relentless thread([bytes](Random& random) {
      bytes.store(random() % kGrantPageSize & ~3U, Le32(static_cast<std::uint32_t>(random() % 64)));
    });
    attacker.for_a_while([&] {
      queue.kick();
      attacker.drain();
      expect(attacker.wait_until([&] {
        attacker.drain();
        return attacker.has_room();
      }),
             "the ring stands still");
    });
  }
  attacker.reset();
}

/// The device side then writes used entries over its own ring.
void areas_on_the_ring(Attacker& attacker) {
  RawQueue queue(attacker, QueueFormat::kSplit);
  SetVqueueRequest request = queue.request();
  request.device_addr = attacker.ring_data().address()->raw();
  static_cast<void>(queue.enable(request));
  attacker.set_status(kStatusAcknowledge | kStatusDriver | kStatusFeaturesOk | kStatusDriverOk);
  for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) {
    queue.publish_one(slot, 64);
    queue.kick();
  }
}

/// 32768 entries, all of them in one page: consecutive references that are not all granted.
void largest_queue(Attacker& attacker) {
  RawQueue queue(attacker, QueueFormat::kSplit);
  SetVqueueRequest request = queue.request();
  for (std::uint32_t size = 1; size != 0; size *= 2) {
    request.size = size;
    if (size > 64) expect(!queue.enable(request), "a queue larger than the device's");
  }
  request.size = 0xffff'ffff;
  expect(!queue.enable(request), "a queue of 2^32-1 entries");
  attacker.reset();
}

void enable_twice(Attacker& attacker) {
  RawQueue first(attacker, QueueFormat::kSplit);
  const RawQueue second(attacker, QueueFormat::kSplit);
  expect(first.enable(first.request()), "a right queue is refused");
  static_cast<void>(attacker.ask<SetVqueueResponse>(second.request()));
  const auto record = attacker.ask<GetVqueueResponse>(GetVqueueRequest{.index = 0});
  expect(record && record->descriptor_addr == first.request().descriptor_addr,
         "an enabled queue is moved");
  attacker.reset();
}

void set_up_without_end(Attacker& attacker) {
  attacker.bring_up({RingFeature::kRingReset});
  RawQueue queue(attacker, QueueFormat::kSplit);
  attacker.for_a_while([&] {
    expect(queue.enable(queue.request()), "a right queue is refused");
    expect(attacker.ask<ResetVqueueResponse>(ResetVqueueRequest{.index = 0}).has_value(),
           "RESET_VQUEUE is not answered");
  });
  attacker.reset();
}

void port_games(Attacker& attacker) {
  RawQueue queue(attacker, QueueFormat::kSplit);
  queue.go_live(true);
  const auto bind = [&](std::uint32_t port) {
    const auto answer = attacker.ask<QueueEventChannelResponse>(QueueEventChannelRequest{
        .dev_num = attacker.options().device, .vq_index = 0, .port = port});
    expect(answer.has_value(), "QUEUE_EVENT_CHANNEL is not answered");
    return answer->status;
  };
  // The bus's own port is bound already; the others are not open for the device side.
  for (const std::uint32_t port : {attacker.port(), 3000U, 0x1f'ffffU, 0xffff'ffffU}) {
    expect(bind(port) == VMSG_XEN_QEC_NOT_BOUND, "a port that cannot be bound is");
  }
  auto of_another = attacker.events().alloc_unbound(attacker.options().bystander);
  expect(
      of_another && bind(static_cast<std::uint32_t>(of_another->local())) == VMSG_XEN_QEC_NOT_BOUND,
      "a port for another domain is bound");
  auto mine = attacker.events().alloc_unbound(attacker.id().device_domain);
  expect(mine.has_value(), "no port");
  attacker.for_a_while([&] {
    expect(bind(static_cast<std::uint32_t>(mine->local())) == VMSG_XEN_QEC_OK, "not bound");
    expect(bind(0) == VMSG_XEN_QEC_OK, "not taken away");
  });
  attacker.reset();
}

void kick_port_without_end(Attacker& attacker) {
  RawQueue queue(attacker, QueueFormat::kSplit);
  queue.go_live(true);
  attacker.for_a_while([&] { queue.kick(); });
  queue.publish_one(0, 64);
  queue.kick();
  expect(attacker.wait_until([&] { return queue.came_back(0); }), "a buffer is forgotten");
  attacker.reset();
}

/// The guest takes its queue's pages away while the queue is enabled.
void revoke_areas(Attacker& attacker) {
  RawQueue queue(attacker, QueueFormat::kSplit);
  queue.go_live(true);
  queue.publish_one(0, 64);
  queue.unshare_areas();
  queue.kick();
  attacker.reset();
}

void revoke_ring(Attacker& attacker) { attacker.replace_ring_page({}); }

/// A device that was reset touches nothing any more, whatever was under way.
void reset_under_io(Attacker& attacker) {
  attacker.for_a_while([&] {
    attacker.bring_up({});
    RawQueue queue(attacker, QueueFormat::kSplit);
    queue.go_live(true);
    for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) queue.publish_one(slot, 4096);
    queue.kick();
    attacker.reset();
    // From here on every byte is the guest's.
    std::array<std::byte, kGrantPageSize> pattern{};
    pattern.fill(std::byte{0xa5});
    for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) {
      queue.buffer_bytes(slot).copy_in(0, pattern);
    }
    queue.device().copy_in(0, pattern);
    expect(attacker.ping(), "the bus stands still");
    std::array<std::byte, kGrantPageSize> found{};
    for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) {
      queue.buffer_bytes(slot).copy_out(0, found);
      expect(found == pattern, "a buffer is written to after the reset was answered");
    }
    queue.device().copy_out(0, found);
    expect(found == pattern, "the used ring is written to after the reset was answered");
  });
}

void reset_queue_under_io(Attacker& attacker) {
  attacker.bring_up({RingFeature::kRingReset});
  attacker.for_a_while([&] {
    RawQueue queue(attacker, QueueFormat::kSplit);
    queue.go_live(true);
    for (std::uint32_t slot = 0; slot < RawQueue::kSize; ++slot) queue.publish_one(slot, 4096);
    queue.kick();
    expect(attacker.ask<ResetVqueueResponse>(ResetVqueueRequest{.index = 0}).has_value(),
           "RESET_VQUEUE is not answered");
  });
  attacker.reset();
}

const std::vector<Adversary>& all() {
  const auto served = [](std::string_view name, std::string_view about,
                         std::function<void(Attacker&)> attack) {
    return Adversary{name, about, Stage::kFeatures, {Fate::kServed}, std::move(attack)};
  };
  using R = SetVqueueRequest;
  static const std::vector<Adversary> adversaries{
      served("queue-size-zero", "a queue of no entries", refused([](R& r) { r.size = 0; })),
      served("queue-size-odd", "a split queue of 12 entries", refused([](R& r) { r.size = 12; })),
      served("queue-size-large", "every size above the device's", largest_queue),
      served("queue-flags-unknown", "flags that do not exist",
             refused([](R& r) { r.flags = 0xffff'fffe; })),
      served("queue-address-zero", "areas at address 0",
             refused([](R& r) { r.descriptor_addr = r.driver_addr = r.device_addr = 0; })),
      served("queue-address-plain", "an address that is no grant address",
             refused([](R& r) { r.driver_addr &= ~kGrantBit; })),
      served("queue-address-reserved", "reserved bits of an address",
             refused([](R& r) { r.device_addr |= std::uint64_t{1} << 44; })),
      served("queue-address-misaligned", "an area off its alignment",
             refused([](R& r) { r.descriptor_addr += 8; })),
      served("queue-past-last-grant", "an area past the last reference",
             refused([](R& r) { r.descriptor_addr = kGrantBit | 0xfff'ffff'fff0U; })),
      served("queue-ungranted", "an area that is not granted",
             refused([](R& r) { r.device_addr = kGrantBit | std::uint64_t{0xff'fff0} << 12; })),
      served("queue-over-two-pages", "an area that runs into a page that is not granted",
             refused([](R& r) {
               r.device_addr = (kGrantBit | std::uint64_t{0xff'ffef} << 12) + 0xffc;
             })),
      served(
          "used-ring-read-only", "the device may not write where it must",
          wrong_grant([](Attacker& a) { return a.share(1, Access::kReadOnly); }, &R::device_addr)),
      served(
          "queue-of-another", "an area that is granted to another domain",
          wrong_grant(
              [](Attacker& a) { return a.share_with(a.options().bystander, Access::kReadWrite); },
              &R::driver_addr)),
      {"areas-overlap",
       "all areas on one page that changes without pause",
       Stage::kFeatures,
       {Fate::kServed, Fate::kNeedsReset},
       overlapping_areas},
      {"areas-on-the-ring",
       "the used ring lies on the bus's ring",
       Stage::kFeatures,
       {Fate::kServed, Fate::kNeedsReset, Fate::kClosed},
       areas_on_the_ring},
      served("enabled-twice", "a second set-up of an enabled queue", enable_twice),
      served("set-up-without-end", "enables and resets a queue, over and over", set_up_without_end),
      // rules: HOSTILE-5
      served("port-games", "event channels that cannot be, and over and over", port_games),
      served("port-kicked-without-end", "kicks by the queue's channel without pause",
             kick_port_without_end),
      {"areas-revoked",
       "takes the pages of an enabled queue away",
       Stage::kFeatures,
       {Fate::kServed, Fate::kNeedsReset},
       revoke_areas},
      {"ring-revoked",
       "takes the interface page away",
       Stage::kFeatures,
       {Fate::kNotStarted},
       revoke_ring},
      // rules: DEV-76
      served("reset-under-io", "resets the device with buffers under way", reset_under_io),
      served("queue-reset-under-io", "resets the queue with buffers under way",
             reset_queue_under_io),
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> queue_adversaries() { return all(); }

}  // namespace vmsg::hostile
