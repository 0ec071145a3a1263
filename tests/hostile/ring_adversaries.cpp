// What can be wrong with the ring of a connected bus: indices, sizes, and memory that changes while
// it is read.
#include "tests/hostile/adversary.hpp"
#include "transport/ring.hpp"

namespace vmsg::hostile {
namespace {

constexpr std::uint8_t kBus = VIRTIO_MSG_TYPE_BUS;
constexpr std::uint8_t kPing = VIRTIO_MSG_BUS_PING;
const std::array<std::byte, 4> kFourBytes{};
constexpr std::size_t kPingSpace = 16;  // of a request and of its answer, in their rings

/// Waits for the end of the bus, which is what has to come.
void see_it_closed(Attacker& attacker) {
  static_cast<void>(
      attacker.wait_until([&] { return attacker.peer() != xen::XenbusState::kConnected; }));
}

std::function<void(Attacker&)> with_out_prod(std::uint32_t moved_by) {
  return [moved_by](Attacker& attacker) {
    attacker.set_out_prod(attacker.out_prod() + moved_by);
    attacker.notify();
    see_it_closed(attacker);
  };
}

/// in_cons is looked at when the ring seems full: so answers are asked for until it does.
std::function<void(Attacker&)> with_in_cons(std::uint32_t moved_by) {
  return [moved_by](Attacker& attacker) {
    const std::uint32_t now = attacker.page().load_acquire32(VMSG_XEN_IF_IN_CONS);
    attacker.page().store_release32(VMSG_XEN_IF_IN_CONS, now + moved_by);
    static_cast<void>(attacker.wait_until([&] {
      while (attacker.has_room()) attacker.send(kBus, kPing, 0, 1, kFourBytes);
      return attacker.peer() != xen::XenbusState::kConnected;
    }));
  };
}

std::function<void(Attacker&)> with_msg_size(std::uint16_t size) {
  return [size](Attacker& attacker) {
    // A size of 0 has no other way in: send() takes it for "the true one".
    std::array<std::byte, 16> frame{std::byte{kBus}, std::byte{kPing}};
    frame[6] = std::byte(size & 0xff);
    frame[7] = std::byte(size >> 8);
    attacker.put(frame, 16);
    attacker.publish();
    attacker.notify();
    see_it_closed(attacker);
  };
}

/// Sends valid frames while `scribble` rewrites shared memory, for as long as the bus lives.
void send_under(Attacker& attacker, std::function<void(Random&)> scribble) {
  const Relentless thread(std::move(scribble));
  bool is_alive = true;
  attacker.for_a_while([&] {
    if (!is_alive) return;
    attacker.drain();
    if (attacker.has_room()) {
      attacker.send(kBus, kPing, 0, attacker.next_token(), kFourBytes);
    } else {
      is_alive = attacker.peer() == xen::XenbusState::kConnected;
    }
  });
}

void rewrite_sizes(Attacker& attacker) {
  const SharedBytes out = attacker.out();
  send_under(attacker, [out](Random& random) {
    out.store((random() % out.size() & ~7U) + VIRTIO_MSG_HDR_MSG_SIZE,
              Le16(random() % 2 == 0 ? std::uint16_t{12} : static_cast<std::uint16_t>(random())));
  });
  // The device side may be in the middle of a message that never was, and take the next one for its
  // end. The one after that has to be answered, unless the bus is closed.
  static_cast<void>(attacker.ping());
}

void rewrite_payloads(Attacker& attacker) {
  const SharedBytes out = attacker.out();
  send_under(attacker, [out](Random& random) {
    const std::size_t at = random() % out.size() & ~7U;
    out.store(at, static_cast<std::uint8_t>(random() % 4));
    // Never EJECTED, which would only tell that the device is not wanted any more.
    out.store(at + 1, static_cast<std::uint8_t>(random() % VMSG_XEN_QUEUE_EVENT_CHANNEL));
    out.store(at + 2, static_cast<std::uint8_t>(random() % 3));
  });
}

void rewrite_indices(Attacker& attacker) {
  const SharedBytes page = attacker.page();
  const std::uint32_t right = attacker.out_prod();
  {
    const Relentless thread([page, right](Random& random) {
      page.store_release32(VMSG_XEN_IF_OUT_PROD, right);
      page.store_release32(VMSG_XEN_IF_OUT_PROD, static_cast<std::uint32_t>(random()));
      page.store_release32(VMSG_XEN_IF_IN_CONS, static_cast<std::uint32_t>(random()));
    });
    attacker.for_a_while([&] { attacker.notify(); });
  }
  attacker.set_out_prod(right + 1);  // in case that it was right whenever somebody looked
  attacker.notify();
  see_it_closed(attacker);
}

void rewrite_wishes(Attacker& attacker) {
  const SharedBytes page = attacker.page();
  const Relentless thread([page](Random& random) {
    page.store_release32(VMSG_XEN_IF_IN_PROD_EVENT, static_cast<std::uint32_t>(random()));
    page.store_release32(VMSG_XEN_IF_OUT_CONS_EVENT, static_cast<std::uint32_t>(random()));
  });
  attacker.for_a_while([&] { expect(attacker.ping(), "a request is lost"); });
}

/// The device side's own fields are for the other side to read; it must not read them itself.
void rewrite_their_fields(Attacker& attacker) {
  expect(attacker.ping(), "the bus does not work");
  const SharedBytes page = attacker.page();
  {
    const Relentless thread([page](Random& random) {
      page.store_release32(VMSG_XEN_IF_OUT_PROD_EVENT, static_cast<std::uint32_t>(random()));
      page.store_release32(VMSG_XEN_IF_IN_CONS_EVENT, static_cast<std::uint32_t>(random()));
    });
    attacker.for_a_while([&] { expect(attacker.ping(), "a request is lost"); });
  }
  page.store_release32(VMSG_XEN_IF_IN_PROD, 0x1234'5670);
  page.store_release32(VMSG_XEN_IF_OUT_CONS, 0x7654'3210);
  // The next answer stores both anew: what stood there did not matter.
  attacker.send(kBus, kPing, 0, 1, kFourBytes);
  expect(attacker.wait_until(
             [&] { return page.load_acquire32(VMSG_XEN_IF_OUT_CONS) == attacker.out_prod(); }),
         "the device side reads its own index back");
}

void rewrite_constants(Attacker& attacker) {
  for (std::size_t at = VMSG_XEN_IF_MAGIC; at < kGrantPageSize; at += sizeof(Le32)) {
    attacker.page().store(at, Le32(0xdead'beef));
  }
  expect(attacker.ping(), "constants are read again");
}

/// Requests without end, and no answer is ever taken: until the device side takes no more.
void never_consume(Attacker& attacker) {
  const std::size_t most = (attacker.out().size() + attacker.in().size()) / kPingSpace;
  std::size_t sent = 0;
  const auto send_all = [&] {
    while (attacker.has_room() && sent <= most) {
      attacker.send(kBus, kPing, 0, 1, kFourBytes);
      ++sent;
    }
    attacker.notify();
  };
  expect(attacker.wait_until([&] {
    send_all();
    return sent > most || (!attacker.has_room() && attacker.are_answers_full());
  }),
         "requests are not taken although their answers have room");
  attacker.for_a_while(send_all);
  expect(sent <= most, "requests are taken although their answers have no room");
  // Not one is lost for that.
  std::size_t answered = 0;
  while (answered < sent && attacker.receive()) {
    ++answered;
    attacker.notify();
  }
  expect(answered == sent, "an answer is lost");
}

void notify_without_end(Attacker& attacker) {
  attacker.for_a_while([&] { attacker.notify(); });
}

/// *in* and *out* on one page, or on the interface page: the device side destroys what it reads.
std::function<void(Attacker&)> with_data_on(bool interface_page) {
  return [interface_page](Attacker& attacker) {
    attacker.begin();
    attacker.offer(1);
    const xen::GrantRef first =
        interface_page ? attacker.ring_page().refs().front() : attacker.ring_data().refs().front();
    attacker.page().store(VMSG_XEN_IF_RING_REFS, Le32(first));
    attacker.page().store(VMSG_XEN_IF_RING_REFS + 4, Le32(first));
    attacker.write_answers(attacker.answers());
    attacker.enter(xen::XenbusState::kInitialised);
    if (!attacker.settle()) return;
    attacker.enter(xen::XenbusState::kConnected);
    std::uint32_t sent = 0;
    attacker.for_a_while([&] {
      if (sent >= 100) return;
      ++sent;
      std::array<std::byte, 16> frame{std::byte{kBus}, std::byte{kPing}};
      frame[6] = std::byte{12};
      attacker.page().copy_in(sent % 128 * 16, frame);
      attacker.put(frame, 16);
      attacker.publish();
      attacker.notify();
    });
    attacker.set_out_prod(attacker.out_prod() + 4);
    attacker.notify();
    see_it_closed(attacker);
  };
}

const std::vector<Adversary>& all() {
  const auto closed = [](std::string_view name, std::string_view about,
                         std::function<void(Attacker&)> attack) {
    return Adversary{name, about, Stage::kConnected, {Fate::kClosed}, std::move(attack)};
  };
  static const std::vector<Adversary> adversaries{
      // rules: HOSTILE-1
      closed("out-prod-runaway", "more than the ring holds was sent", with_out_prod(0x1'0000)),
      closed("out-prod-misaligned", "an index that is no multiple of 8", with_out_prod(4)),
      closed("out-prod-backwards", "an index that goes back", with_out_prod(0xffff'fff8)),
      // rules: HOSTILE-1
      closed("in-cons-ahead", "more was taken than was sent", with_in_cons(0x1'0000)),
      closed("in-cons-misaligned", "an index that is no multiple of 8", with_in_cons(0xffff'ffff)),
      closed("in-cons-far-behind", "the ring would hold more than it can",
             with_in_cons(0x8000'0000)),
      closed("size-zero", "a message of 0 bytes", with_msg_size(0)),
      closed("size-below-header", "a message of 7 bytes", with_msg_size(7)),
      // rules: HOSTILE-1
      closed("size-above-maximum", "a message of 265 bytes", with_msg_size(265)),
      closed("size-largest", "a message of 65535 bytes", with_msg_size(65535)),
      closed("size-beyond-index", "a message that out_prod does not reach the end of",
             with_msg_size(200)),
      // rules: HOSTILE-1
      closed("indices-rewritten", "both indices change without pause", rewrite_indices),
      {"sizes-rewritten",
       "message sizes change without pause",
       Stage::kConnected,
       {Fate::kServed, Fate::kClosed},
       rewrite_sizes},
      {"messages-rewritten",
       "message headers change without pause",
       Stage::kConnected,
       {Fate::kServed},
       rewrite_payloads},
      {"wishes-rewritten",
       "the wishes to be notified change without pause",
       Stage::kConnected,
       {Fate::kServed},
       rewrite_wishes},
      {"their-fields-rewritten",
       "the device side's fields are overwritten",
       Stage::kConnected,
       {Fate::kServed, Fate::kClosed},
       rewrite_their_fields},
      {"constants-rewritten",
       "magic, order and references are overwritten",
       Stage::kConnected,
       {Fate::kServed},
       rewrite_constants},
      // rules: HOSTILE-4
      {"never-consumes",
       "requests without end, no answer taken",
       Stage::kConnected,
       {Fate::kServed},
       never_consume},
      {"notifies-without-end",
       "the ring's event channel without pause",
       Stage::kConnected,
       {Fate::kServed},
       notify_without_end},
      {"data-pages-alike",
       "both data pages are one page",
       Stage::kBus,
       {Fate::kClosed},
       with_data_on(false)},
      {"data-is-interface-page",
       "the data pages are the interface page",
       Stage::kBus,
       {Fate::kClosed},
       with_data_on(true)},
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> ring_adversaries() { return all(); }

}  // namespace vmsg::hostile
