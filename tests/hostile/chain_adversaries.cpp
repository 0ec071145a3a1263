// Buffers of a live queue: chains that cannot be, tables inside of tables, memory that is not there
// or not the attacker's, and rings that change while they are read.
#include <algorithm>

#include "tests/hostile/adversary.hpp"
#include "tests/hostile/raw_queue.hpp"

namespace vmsg::hostile {
namespace {

using vring::kIndirect;
using vring::kNext;
using vring::kWrite;

constexpr std::uint64_t kGrantBit = std::uint64_t{1} << 63;
constexpr std::uint64_t kUngranted = kGrantBit | std::uint64_t{0xff'fff0} << 12;
constexpr std::uint32_t kSize = RawQueue::kSize;

bool needs_reset(Attacker& attacker) { return (attacker.status() & kStatusNeedsReset) != 0; }

void see_it_stopped(Attacker& attacker) {
  expect(attacker.wait_until([&] { return needs_reset(attacker); }),
         "a buffer that cannot be does not stop the queue");
}

/// A live split queue whose first buffer, at head 0, is what `write` makes it.
std::function<void(Attacker&)> split(std::function<void(Attacker&, RawQueue&)> write,
                                     std::uint16_t head = 0) {
  return [write = std::move(write), head](Attacker& attacker) {
    attacker.bring_up({RingFeature::kIndirectDesc});
    RawQueue queue(attacker, QueueFormat::kSplit);
    queue.go_live(true);
    queue.available(0, head);
    write(attacker, queue);
    queue.set_available_index(1);
    queue.kick();
    see_it_stopped(attacker);
  };
}

std::function<void(Attacker&)> packed(std::function<void(Attacker&, RawQueue&)> write) {
  return [write = std::move(write)](Attacker& attacker) {
    attacker.bring_up({RingFeature::kIndirectDesc, RingFeature::kRingPacked});
    RawQueue queue(attacker, QueueFormat::kPacked);
    queue.go_live(true);
    write(attacker, queue);
    queue.kick();
    see_it_stopped(attacker);
  };
}

/// One indirect table of `length` bytes whose entries `fill` writes.
std::function<void(Attacker&)> table(std::uint32_t length,
                                     std::function<void(const SharedBytes&, RawQueue&)> fill,
                                     bool is_packed = false) {
  const auto write = [length, fill = std::move(fill), is_packed](Attacker& attacker,
                                                                 RawQueue& queue) {
    const xen::SharedPages page = attacker.share(1, Access::kReadWrite);
    fill(page.bytes(), queue);
    if (is_packed) {
      queue.packed(0, page.address()->raw(), length, 0, kIndirect);
    } else {
      queue.descriptor(0, page.address()->raw(), length, kIndirect, 0);
    }
    if (!is_packed) queue.set_available_index(1);
    queue.kick();
    see_it_stopped(attacker);
  };
  return is_packed ? packed(write) : split(write);
}

void entry(const SharedBytes& bytes, std::uint32_t index, std::uint64_t address,
           std::uint32_t length, std::uint16_t third, std::uint16_t fourth) {
  const std::size_t at = std::size_t{index} * vring::kDescriptorSize;
  bytes.store(at, Le64(address));
  bytes.store(at + 8, Le32(length));
  bytes.store(at + 12, Le16(third));
  bytes.store(at + 14, Le16(fourth));
}

std::function<void(Attacker&)> buffer_at(std::uint64_t address, std::uint32_t length) {
  return split([address, length](Attacker&, RawQueue& queue) {
    queue.descriptor(0, address, length, kWrite, 0);
  });
}

/// A buffer on a page that is granted wrongly.
std::function<void(Attacker&)> buffer_on(std::function<xen::SharedPages(Attacker&)> share) {
  return split([share = std::move(share)](Attacker& attacker, RawQueue& queue) {
    const xen::SharedPages page = share(attacker);
    queue.descriptor(0, page.address()->raw(), 64, kWrite, 0);
    queue.set_available_index(1);
    queue.kick();
    see_it_stopped(attacker);
  });
}

/// Publishes buffers and takes their pages away at once, again and again.
void revoke_in_use(Attacker& attacker) {
  attacker.for_a_while([&] {
    attacker.bring_up({});
    RawQueue queue(attacker, QueueFormat::kSplit);
    queue.go_live(true);
    for (std::uint32_t slot = 0; slot < kSize; ++slot) queue.publish_one(slot, 4096);
    queue.kick();
    queue.unshare_buffers();
    attacker.reset();
  });
}

std::function<void(Attacker&)> rewriting(QueueFormat format, bool event_idx) {
  return [format, event_idx](Attacker& attacker) {
    attacker.bring_up(format == QueueFormat::kPacked
                          ? std::initializer_list<RingFeature>{RingFeature::kRingPacked,
                                                               RingFeature::kIndirectDesc}
                      : event_idx ? std::initializer_list<RingFeature>{RingFeature::kEventIdx,
                                                                       RingFeature::kIndirectDesc}
                                  : std::initializer_list<RingFeature>{RingFeature::kIndirectDesc});
    RawQueue queue(attacker, format);
    const std::uint64_t buffer = queue.buffer(0);
    queue.go_live(true);
    {
      const SharedBytes descriptors = queue.descriptors();
      const SharedBytes driver = queue.driver();
      const Relentless thread([=](Random& random) {
        const std::size_t at = random() % kSize * vring::kDescriptorSize;
        // Mostly right, so that chains get far.
        descriptors.store(at, Le64(random() % 8 == 0 ? random() : buffer + random() % 4096));
        descriptors.store(at + 8, Le32(random() % 8 == 0 ? 0xffff'ffffU : random() % 4096));
        descriptors.store(at + 12, Le32(static_cast<std::uint32_t>(random() & 0x8087'8087U)));
        driver.store(random() % (vring::used_event_offset(kSize) + 2) & ~1U,
                     Le16(static_cast<std::uint16_t>(random() % (kSize * 2))));
      });
      // A stopped queue is reset and set up again: the thread has many tries.
      attacker.for_a_while([&] {
        for (int i = 0; i < 100; ++i) queue.kick();
        if (!needs_reset(attacker)) return;
        attacker.reset();
        attacker.bring_up(format == QueueFormat::kPacked
                              ? std::initializer_list<RingFeature>{RingFeature::kRingPacked,
                                                                   RingFeature::kIndirectDesc}
                              : std::initializer_list<RingFeature>{RingFeature::kIndirectDesc});
        queue.go_live(true);
      });
    }
    attacker.reset();
  };
}

/// The available index at full speed: as many chains as there can be, without pause.
void available_without_end(Attacker& attacker) {
  attacker.bring_up({});
  RawQueue queue(attacker, QueueFormat::kSplit);
  queue.go_live(true);
  for (std::uint32_t slot = 0; slot < kSize; ++slot) {
    queue.descriptor(slot, queue.buffer(slot), 4096, kWrite, 0);
    queue.available(static_cast<std::uint16_t>(slot), static_cast<std::uint16_t>(slot));
  }
  std::uint16_t given = 0;
  attacker.for_a_while([&] {
    // Never more outstanding than the queue has, never any less.
    given = static_cast<std::uint16_t>(queue.used_index() + kSize);
    queue.set_available_index(given);
    queue.kick();
  });
  expect(attacker.wait_until([&] { return queue.used_index() == given; }), "a buffer is forgotten");
  attacker.reset();
}

const std::vector<Adversary>& all() {
  const auto stopped = [](std::string_view name, std::string_view about,
                          std::function<void(Attacker&)> attack) {
    return Adversary{name, about, Stage::kConnected, {Fate::kNeedsReset}, std::move(attack)};
  };
  using A = Attacker;
  using Q = RawQueue;
  static const std::vector<Adversary> adversaries{
      stopped("chain-loop", "two descriptors that point at each other", split([](A&, Q& q) {
                q.descriptor(0, q.buffer(0), 16, kNext | kWrite, 1);
                q.descriptor(1, q.buffer(1), 16, kNext | kWrite, 0);
              })),
      stopped("chain-loop-of-one", "a descriptor that points at itself",
              split([](A&, Q& q) { q.descriptor(0, q.buffer(0), 16, kNext | kWrite, 0); })),
      stopped("chain-out-of-table", "a next that is beyond the table",
              split([](A&, Q& q) { q.descriptor(0, q.buffer(0), 16, kNext | kWrite, 0xffff); })),
      stopped("chain-too-long", "more descriptors than the device takes", split([](A&, Q& q) {
                for (std::uint32_t i = 0; i + 1 < kSize; ++i) {
                  q.descriptor(i, q.buffer(i), 16, kNext | kWrite,
                               static_cast<std::uint16_t>(i + 1));
                }
              })),
      stopped("head-out-of-table", "a head that is beyond the table", split([](A&, Q&) {}, 0xffff)),
      stopped("head-twice", "a head that was not given back yet", split([](A& a, Q& q) {
                // A buffer in the middle of a batch: both are seen in one turn.
                q.descriptor(0, q.buffer(0), 16, kWrite, 0);
                for (std::uint16_t i = 0; i < kSize; ++i) q.available(i, 0);
                q.set_available_index(kSize);
                q.kick();
                see_it_stopped(a);
              })),
      stopped("available-runaway", "more new entries than the queue has", split([](A& a, Q& q) {
                q.set_available_index(0x7fff);
                q.kick();
                see_it_stopped(a);
              })),
      stopped("readable-after-writable", "a direction that comes too late", split([](A&, Q& q) {
                q.descriptor(0, q.buffer(0), 16, kNext | kWrite, 1);
                q.descriptor(1, q.buffer(1), 16, 0, 0);
              })),
      stopped("flags-unknown", "descriptor flags that do not exist",
              split([](A&, Q& q) { q.descriptor(0, q.buffer(0), 16, 0xfff8 | kWrite, 0); })),
      stopped("total-length", "a chain of more than 4 GB", split([](A&, Q& q) {
                q.descriptor(0, q.buffer(0), 0xffff'ffff, kNext | kWrite, 1);
                q.descriptor(1, q.buffer(0), 0xffff'ffff, kWrite, 0);
              })),
      stopped("nothing-writable", "a request that leaves no room for an answer",
              split([](A&, Q& q) { q.descriptor(0, q.buffer(0), 16, 0, 0); })),
      stopped("length-zero", "a buffer of no bytes",
              split([](A&, Q& q) { q.descriptor(0, q.buffer(0), 0, kWrite, 0); })),
      stopped("address-zero", "a buffer at address 0", buffer_at(0, 16)),
      stopped("address-plain", "an address that is no grant address", buffer_at(0x1000, 16)),
      stopped("address-reserved", "reserved bits of an address",
              buffer_at(kGrantBit | std::uint64_t{1} << 60, 16)),
      stopped("address-past-end", "a buffer past the last reference",
              buffer_at(kGrantBit | 0xfff'ffff'fff8U, 16)),
      stopped("buffer-ungranted", "a buffer that is not granted", buffer_at(kUngranted, 16)),
      stopped("buffer-beyond-table", "a reference that no table holds",
              buffer_at(kGrantBit | std::uint64_t{0xffff'fffe} << 12, 16)),
      stopped("buffer-read-only", "a buffer that the device may only read",
              buffer_on([](A& a) { return a.share(1, Access::kReadOnly); })),
      stopped(
          // rules: HOSTILE-3
          "buffer-of-another", "a buffer that is granted to another domain",
          buffer_on([](A& a) { return a.share_with(a.options().bystander, Access::kReadWrite); })),
      stopped("table-in-table", "an indirect table inside of a table",
              table(16, [](const SharedBytes& t,
                           Q& q) { entry(t, 0, q.buffer(0), 16, kIndirect, 0); })),
      stopped("table-and-next", "a table in a chain that goes on", split([](A&, Q& q) {
                q.descriptor(0, q.buffer(0), 16, kIndirect | kNext, 1);
                q.descriptor(1, q.buffer(1), 16, kWrite, 0);
              })),
      stopped("table-empty", "a table of no bytes", table(0, [](const SharedBytes&, Q&) {})),
      stopped("table-odd", "a table of 17 bytes", table(17, [](const SharedBytes&, Q&) {})),
      stopped("table-huge", "a table of 4 GB", table(0xffff'fff0, [](const SharedBytes&, Q&) {})),
      stopped("table-loop", "a table that points into itself",
              table(32,
                    [](const SharedBytes& t, Q& q) {
                      entry(t, 0, q.buffer(0), 16, kNext | kWrite, 1);
                      entry(t, 1, q.buffer(1), 16, kNext | kWrite, 0);
                    })),
      stopped("table-out-of-table", "a next beyond the table",
              table(16, [](const SharedBytes& t,
                           Q& q) { entry(t, 0, q.buffer(0), 16, kNext | kWrite, 200); })),
      stopped("table-ungranted", "a table that is not granted",
              split([](A&, Q& q) { q.descriptor(0, kUngranted, 64, kIndirect, 0); })),
      stopped("packed-without-end", "a chain over the whole ring that does not end",
              packed([](A&, Q& q) {
                for (std::uint32_t i = kSize; i-- > 0;)
                  q.packed(i, q.buffer(i), 16, 0, kNext | kWrite);
              })),
      stopped("packed-into-nothing", "a chain that goes on where nothing is available",
              packed([](A&, Q& q) { q.packed(0, q.buffer(0), 16, 0, kNext | kWrite); })),
      stopped("packed-id-out-of-ring", "a buffer id that is beyond the ring",
              packed([](A&, Q& q) { q.packed(0, q.buffer(0), 16, 0xfff0, kWrite); })),
      stopped("packed-id-twice", "one id for all buffers of a ring", packed([](A&, Q& q) {
                for (std::uint32_t i = kSize; i-- > 0;) q.packed(i, q.buffer(i), 16, 3, kWrite);
              })),
      stopped("packed-table-in-chain", "a table inside of a chain", packed([](A&, Q& q) {
                q.packed(1, q.buffer(1), 16, 0, kIndirect);
                q.packed(0, q.buffer(0), 16, 0, kNext | kWrite);
              })),
      stopped(
          "packed-table-in-table", "a table inside of a table",
          table(
              16, [](const SharedBytes& t, Q& q) { entry(t, 0, q.buffer(0), 16, 0, kIndirect); },
              true)),
      stopped("packed-table-odd", "a table of 17 bytes",
              table(
                  17, [](const SharedBytes&, Q&) {}, true)),
      {"buffers-revoked",
       "takes buffers away while they are filled",
       Stage::kConnected,
       {Fate::kServed},
       revoke_in_use},
      {"split-rewritten",
       "descriptors and available ring change without pause",
       Stage::kConnected,
       {Fate::kServed},
       rewriting(QueueFormat::kSplit, false)},
      {"split-events-rewritten",
       "the event index too",
       Stage::kConnected,
       {Fate::kServed},
       rewriting(QueueFormat::kSplit, true)},
      {"packed-rewritten",
       "a packed ring changes without pause",
       Stage::kConnected,
       {Fate::kServed},
       rewriting(QueueFormat::kPacked, false)},
      {"buffers-without-end",
       "a full queue at all times",
       Stage::kConnected,
       {Fate::kServed},
       available_without_end},
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> chain_adversaries() { return all(); }

}  // namespace vmsg::hostile
