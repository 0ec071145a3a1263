// What can be wrong between state 1 and state 4: every answer of the driver side, one at a time,
// and the states in every order.
#include <fmt/format.h>

#include <string>

#include "tests/hostile/adversary.hpp"

namespace vmsg::hostile {
namespace {

using xen::XenbusState;

constexpr std::uint32_t kUngranted = 0x00ff'fff0;

/// A handshake that is right but for what `spoil` does before state 3.
std::function<void(Attacker&)> spoilt(std::function<void(Attacker&)> spoil) {
  return [spoil = std::move(spoil)](Attacker& attacker) {
    attacker.begin();
    attacker.offer();
    attacker.write_answers(attacker.answers());
    spoil(attacker);
    attacker.enter(XenbusState::kInitialised);
    static_cast<void>(attacker.settle());
  };
}

std::function<void(Attacker&)> with_node(xen::Path::Name node, std::string value) {
  return spoilt([node, value = std::move(value)](Attacker& a) { a.write(node, value); });
}

Adversary refused(std::string_view name, std::string_view about,
                  std::function<void(Attacker&)> attack) {
  return {name, about, Stage::kBus, {Fate::kClosed}, std::move(attack)};
}

/// Every state, in a random order, as fast as xenstore takes them.
void flood_states(Attacker& attacker) {
  attacker.for_a_while(
      [&] { attacker.enter(static_cast<XenbusState>(attacker.random()() % xen::kXenbusStates)); });
}

void rewrite_answers(Attacker& attacker) {
  attacker.begin();
  attacker.offer();
  const xen::Answers right = attacker.answers();
  attacker.write_answers(right);
  attacker.enter(XenbusState::kInitialised);
  attacker.for_a_while([&] {
    attacker.write("ring-ref", std::to_string(attacker.random()() % 64));
    attacker.write("event-channel", std::to_string(attacker.random()() % 64));
    attacker.write("max-message-size", std::to_string(attacker.random()() % 512));
    attacker.write_answers(right);
  });
  static_cast<void>(attacker.settle());
}

/// A connection has what was agreed, whatever its nodes say later.
void rewrite_after_connect(Attacker& attacker) {
  attacker.connect();
  attacker.write("ring-ref", "4294967295");
  attacker.write("event-channel", "1");
  attacker.write("max-message-size", "65535");
  expect(attacker.ping(), "the bus does not go on with what was agreed");
}

void reconnect_without_end(Attacker& attacker) {
  attacker.for_a_while([&] {
    attacker.connect();
    attacker.close();
  });
  attacker.connect();
}

/// Refused as often as it can be: each refusal has a line for the log and a node.
void refused_without_end(Attacker& attacker) {
  attacker.for_a_while([&] {
    attacker.begin();
    attacker.offer();
    attacker.write_answers(attacker.answers());
    attacker.write("version", "7");
    attacker.enter(XenbusState::kInitialised);
    static_cast<void>(attacker.settle());
    attacker.close();
  });
  attacker.connect();
}

void flood_nodes(Attacker& attacker) {
  attacker.connect();
  std::uint32_t count = 0;
  attacker.for_a_while([&] {
    const auto node =
        (attacker.id().driver_directory() / "noise").child(fmt::format("n{}", count++ % 200));
    static_cast<void>(attacker.store().write(*node, "x"));
    attacker.enter(XenbusState::kConnected);
  });
  attacker.remove("noise");
}

/// A guest can remove the directory too, but then only the toolstack can make it again.
void take_nodes_away(Attacker& attacker) {
  attacker.connect();
  const auto nodes = attacker.store().list(attacker.id().driver_directory());
  expect(nodes.has_value(), "the directory cannot be listed");
  for (const std::string& node : *nodes) {
    static_cast<void>(attacker.store().remove(*attacker.id().driver_directory().child(node)));
  }
  expect(attacker.wait_until([&] { return attacker.peer() != xen::XenbusState::kConnected; }),
         "the device side serves a bus without a driver side");
  // What the toolstack wrote is put back, so that the next one finds it.
  attacker.write("backend", attacker.id().device_directory().text());
  attacker.write("backend-id", std::to_string(attacker.id().device_domain));
}

const std::vector<Adversary>& all() {
  static const std::vector<Adversary> adversaries{
      refused("ring-ref-absent", "no ring-ref", spoilt([](Attacker& a) { a.remove("ring-ref"); })),
      refused("ring-ref-words", "ring-ref is no number", with_node("ring-ref", "a ring")),
      refused("ring-ref-negative", "ring-ref is -1", with_node("ring-ref", "-1")),
      refused("ring-ref-65-bits", "ring-ref does not fit",
              with_node("ring-ref", "18446744073709551617")),
      refused("ring-ref-ungranted", "ring-ref names a grant that is none",
              with_node("ring-ref", std::to_string(kUngranted))),
      refused("ring-ref-last", "ring-ref is the last reference there can be",
              with_node("ring-ref", "4294967295")),
      refused("ring-ref-read-only", "the interface page is granted for reading",
              spoilt([](Attacker& a) {
                a.replace_ring_page(a.share(1, Access::kReadOnly));
                a.write_answers(a.answers());
              })),
      refused("ring-ref-of-another", "the interface page is granted to another domain",
              spoilt([](Attacker& a) {
                a.replace_ring_page(a.share_with(a.options().bystander, Access::kReadWrite));
                a.write_answers(a.answers());
              })),
      refused("magic-wrong", "the interface page has no magic",
              spoilt([](Attacker& a) { a.page().store(VMSG_XEN_IF_MAGIC, Le32(0)); })),
      refused("order-too-large", "the ring is larger than what was offered",
              spoilt([](Attacker& a) { a.page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(9)); })),
      refused("order-absurd", "the ring has 2^(2^32-1) pages", spoilt([](Attacker& a) {
                a.page().store(VMSG_XEN_IF_RING_PAGE_ORDER, Le32(0xffff'ffff));
              })),
      refused("data-page-ungranted", "a data page is no grant",
              spoilt([](Attacker& a) { a.page().store(VMSG_XEN_IF_RING_REFS, Le32(kUngranted)); })),
      refused("indices-from-the-start", "out_prod is out of range before anything was sent",
              spoilt([](Attacker& a) { a.set_out_prod(0x7fff'fff8); })),
      refused("port-zero", "event-channel is 0", with_node("event-channel", "0")),
      refused("port-huge", "event-channel is 2^32-1", with_node("event-channel", "4294967295")),
      refused("port-long", "event-channel is 1500 bytes long",
              with_node("event-channel", std::string(1500, '7'))),
      refused("port-of-nobody", "event-channel names a port that is not open",
              with_node("event-channel", "3000")),
      refused("message-size-small", "max-message-size is 51", with_node("max-message-size", "51")),
      refused("message-size-large", "max-message-size is above what was offered",
              with_node("max-message-size", "265")),
      refused("features-not-offered", "a transport feature that was not on offer",
              with_node("transport-features", "0x8000000000000001")),
      refused("version-unknown", "a version that was not on offer", with_node("version", "2")),
      refused("flag-words", "a flag that is neither 0 nor 1",
              with_node("request-shared-regions", "maybe")),
      refused("answers-absent", "state 3 without any answer",
              [](Attacker& a) {
                a.begin();
                for (const xen::Path::Name node :
                     {xen::Path::Name("ring-ref"), xen::Path::Name("event-channel"),
                      xen::Path::Name("version"), xen::Path::Name("max-message-size")}) {
                  a.remove(node);
                }
                a.enter(XenbusState::kInitialised);
                static_cast<void>(a.settle());
              }),
      {"connected-at-once",
       "state 4 without a handshake",
       Stage::kBus,
       {Fate::kClosed, Fate::kNotStarted},
       [](Attacker& a) { a.enter(XenbusState::kConnected); }},
      {"state-words",
       "the state is a word, then too long for a number",
       Stage::kConnected,
       {Fate::kClosed, Fate::kNotStarted},
       [](Attacker& a) {
         a.write("state", "banana");
         a.write("state", std::string(2000, '4'));
         static_cast<void>(a.wait_until([&] { return a.peer() != XenbusState::kConnected; }));
       }},
      {"states-in-any-order",
       "every state in a random order, without pause",
       Stage::kBus,
       {Fate::kServed, Fate::kClosed, Fate::kNotStarted},
       flood_states},
      // rules: HOSTILE-6
      {"answers-rewritten",
       "the answers change while they are read",
       Stage::kBus,
       {Fate::kServed, Fate::kClosed},
       rewrite_answers},
      // rules: HOSTILE-6
      {"answers-rewritten-later",
       "the answers change once the bus is connected",
       Stage::kBus,
       {Fate::kServed},
       rewrite_after_connect},
      // rules: HOSTILE-4
      {"reconnects-without-end",
       "connects and closes, over and over",
       Stage::kBus,
       {Fate::kServed},
       reconnect_without_end},
      {"refused-without-end",
       "asks for what is refused, over and over",
       Stage::kBus,
       {Fate::kServed},
       refused_without_end},
      {"nodes-without-end",
       "writes nodes and its state without pause",
       Stage::kBus,
       {Fate::kServed},
       flood_nodes},
      {"nodes-removed",
       "removes all its nodes while connected",
       Stage::kBus,
       {Fate::kClosed, Fate::kNotStarted},
       take_nodes_away},
  };
  return adversaries;
}

}  // namespace

std::span<const Adversary> handshake_adversaries() { return all(); }

}  // namespace vmsg::hostile
