// What the transcripts cannot say of the engine: framing, hostile bytes, flow control, counters
// and what is left of a domain.
#include "tests/mock-xen/store/store_engine.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "tests/mock-xen/store/engine_under_test.hpp"
#include "tests/mock-xen/store/transcript.hpp"

namespace vmsg::mock::store {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

constexpr ConnectionId kDom0 = 1;
constexpr ConnectionId kGuest = 2;
constexpr std::uint16_t kGuestDomid = 3;

std::string nul_terminated(std::string_view text) { return std::string(text) + '\0'; }

struct Request {
  std::uint32_t type = XS_READ;
  std::string payload;
  std::uint32_t id = 7;
  std::uint32_t transaction = 0;
  std::uint32_t length = 0;

  Request(std::uint32_t request_type, std::string request_payload)
      : type(request_type),
        payload(std::move(request_payload)),
        length(static_cast<std::uint32_t>(payload.size())) {}
  Request with_id(std::uint32_t value) && {
    id = value;
    return std::move(*this);
  }
  Request with_length(std::uint32_t value) && {
    length = value;
    return std::move(*this);
  }
  Request in(std::uint32_t value) && {
    transaction = value;
    return std::move(*this);
  }

  [[nodiscard]] std::string bytes() const {
    const xsd_sockmsg header = {.type = type, .req_id = id, .tx_id = transaction, .len = length};
    std::string all(sizeof header, '\0');
    std::memcpy(all.data(), &header, sizeof header);
    return all + payload;
  }
};

class Engine : public testing::Test {
 protected:
  Engine() : engine([this](ConnectionId id, auto bytes) { keep(id, bytes); }) {
    engine.domain_introduced(kGuestDomid);
    engine.connect(kDom0, 0);
    engine.connect(kGuest, kGuestDomid);
  }

  bool give(ConnectionId id, std::string_view bytes) {
    return engine.receive(id, std::as_bytes(std::span(bytes)));
  }
  bool give(ConnectionId id, const Request& request) { return give(id, request.bytes()); }

  /// Payloads received by a connection since the last call; a watch event as "path token".
  std::vector<std::string> taken(ConnectionId id) {
    std::vector<std::string> payloads;
    for (const StoreMessage& message : received[id]) {
      std::string text = message.payload;
      if (text.ends_with('\0')) text.pop_back();
      std::ranges::replace(text, '\0', ' ');
      payloads.push_back(text);
    }
    received[id].clear();
    return payloads;
  }

  void keep(ConnectionId id, std::span<const std::byte> bytes) {
    StoreMessage message;
    ASSERT_GE(bytes.size(), sizeof message.header);
    std::memcpy(&message.header, bytes.data(), sizeof message.header);
    message.payload.resize(bytes.size() - sizeof message.header);
    ASSERT_EQ(message.header.len, message.payload.size());
    std::memcpy(message.payload.data(), bytes.data() + sizeof message.header,
                message.payload.size());
    received[id].push_back(std::move(message));
  }

  std::map<ConnectionId, std::vector<StoreMessage>> received;
  StoreEngine engine;
};

// --- Framing.

TEST_F(Engine, MessagesMayArriveByteByByte) {
  const std::string bytes = Request(XS_WRITE, nul_terminated("/t") + "value").bytes() +
                            Request(XS_READ, nul_terminated("/t")).bytes();

  for (const char byte : bytes) ASSERT_TRUE(give(kDom0, std::string_view(&byte, 1)));

  EXPECT_THAT(taken(kDom0), ElementsAre("OK", "value"));
}

TEST_F(Engine, SeveralMessagesMayArriveAtOnceWithTheStartOfAnother) {
  const std::string whole = Request(XS_WRITE, nul_terminated("/t") + "value").bytes() +
                            Request(XS_READ, nul_terminated("/t")).bytes();
  const std::string next = Request(XS_READ, nul_terminated("/t")).bytes();

  ASSERT_TRUE(give(kDom0, whole + next.substr(0, 20 - 3)));
  EXPECT_THAT(taken(kDom0), ElementsAre("OK", "value"));

  ASSERT_TRUE(give(kDom0, next.substr(20 - 3)));
  EXPECT_THAT(taken(kDom0), ElementsAre("value"));
}

TEST_F(Engine, TheReplyCarriesTypeRequestAndTransaction) {
  ASSERT_TRUE(give(kDom0, Request(XS_TRANSACTION_START, nul_terminated(""))));
  ASSERT_TRUE(give(kDom0, Request(XS_DIRECTORY, nul_terminated("/")).with_id(0xffffffff).in(1)));

  ASSERT_EQ(received[kDom0].size(), 2u);
  const xsd_sockmsg header = received[kDom0][1].header;
  EXPECT_EQ(header.type, static_cast<std::uint32_t>(XS_DIRECTORY));
  EXPECT_EQ(header.req_id, 0xffffffff);
  EXPECT_EQ(header.tx_id, 1u);
}

TEST_F(Engine, ThePayloadLimitItselfIsAccepted) {
  EXPECT_TRUE(give(kDom0, Request(XS_WRITE, nul_terminated("/t") + std::string(4093, 'x'))));
  EXPECT_THAT(taken(kDom0), ElementsAre("OK"));
}

TEST_F(Engine, APayloadOverTheLimitEndsTheConnection) {
  EXPECT_FALSE(give(kDom0, Request(XS_WRITE, nul_terminated("/t")).with_length(4097)));
  EXPECT_THAT(taken(kDom0), IsEmpty());
  EXPECT_EQ(engine.counters(0).connections, 0u);

  // What it sends before it notices is ignored.
  EXPECT_TRUE(give(kDom0, Request(XS_READ, nul_terminated("/"))));
  EXPECT_THAT(taken(kDom0), IsEmpty());
}

TEST_F(Engine, AnAbsurdLengthEndsTheConnection) {
  EXPECT_FALSE(give(kDom0, Request(XS_READ, "").with_length(0xffffffff)));
}

TEST_F(Engine, AnOversizedMessageTakesTheWatchesAndTransactionsOfItsConnection) {
  ASSERT_TRUE(give(kGuest, Request(XS_WATCH, nul_terminated("data") + nul_terminated("t"))));
  ASSERT_TRUE(give(kGuest, Request(XS_TRANSACTION_START, nul_terminated(""))));
  ASSERT_FALSE(engine.what_is_left(kGuestDomid).none());

  ASSERT_FALSE(give(kGuest, Request(XS_READ, "").with_length(4097)));

  EXPECT_TRUE(engine.what_is_left(kGuestDomid).none());
  EXPECT_EQ(engine.counters(kGuestDomid).watches, 0u);
}

TEST_F(Engine, AMessageCutShortByTheEndOfItsConnectionIsForgotten) {
  ASSERT_TRUE(give(kDom0, Request(XS_WRITE, nul_terminated("/t") + "x").bytes().substr(0, 18)));
  engine.disconnect(kDom0);
  engine.connect(kDom0, 0);

  ASSERT_TRUE(give(kDom0, Request(XS_READ, nul_terminated("/t"))));
  EXPECT_THAT(taken(kDom0), ElementsAre("ENOENT"));
}

TEST_F(Engine, UnknownConnectionsAreIgnored) {
  engine.disconnect(99);
  engine.set_blocked(99, true);
  EXPECT_TRUE(give(99, Request(XS_READ, nul_terminated("/"))));
  EXPECT_THAT(taken(99), IsEmpty());
}

// What one string is expected and something else comes xenstored answers with whatever errno was
// last; the engine says what is wrong.
TEST_F(Engine, UnterminatedStringsAreInvalid) {
  for (const std::uint32_t type : {XS_READ, XS_DIRECTORY, XS_GET_PERMS, XS_MKDIR, XS_RM}) {
    ASSERT_TRUE(give(kDom0, Request(type, "/tool")));
    ASSERT_TRUE(give(kDom0, Request(type, "")));
    ASSERT_TRUE(give(kDom0, Request(type, nul_terminated("/tool") + "junk")));
    EXPECT_THAT(taken(kDom0), ElementsAre("EINVAL", "EINVAL", "EINVAL")) << type;
  }
}

// Every request type with bytes that mean nothing, and some that nearly do.
TEST_F(Engine, NoBytesOfAClientHurtAnybody) {
  std::mt19937 random(20260101);  // NOLINT(bugprone-random-generator-seed): the same every time
  const std::vector<std::string> words = {"/",
                                          "/t",
                                          "/t/a",
                                          "/t/a/b",
                                          "/local/domain/3",
                                          "data",
                                          "@releaseDomain",
                                          "",
                                          "0",
                                          "n0",
                                          "b3",
                                          "r4",
                                          "T",
                                          "F",
                                          "1",
                                          "3",
                                          "//",
                                          "/t/",
                                          "\xff",
                                          "a.b",
                                          "-1",
                                          "4294967295",
                                          std::string(3000, 'x')};
  const auto below = [&](std::uint32_t limit) {
    return static_cast<std::uint32_t>(random() % limit);
  };

  for (int i = 0; i < 30000; ++i) {
    std::string payload;
    for (std::uint32_t n = below(4); n > 0; --n) {
      payload += words[below(static_cast<std::uint32_t>(words.size()))];
      if (below(8) != 0) payload += '\0';
    }
    payload.resize(std::min<std::size_t>(payload.size(), XENSTORE_PAYLOAD_MAX));
    const ConnectionId id = 10 + below(6);
    engine.connect(id, static_cast<std::uint16_t>(below(3) == 0 ? 0 : 3 + below(2)));
    ASSERT_TRUE(give(id, Request(below(XS_TYPE_COUNT + 1), payload).in(below(3))));
    if (below(50) == 0) engine.disconnect(id);
    if (below(500) == 0) engine.domain_released(static_cast<std::uint16_t>(3 + below(2)));
    received.clear();
  }
  EXPECT_THAT(engine.inconsistencies(), IsEmpty());

  ASSERT_TRUE(give(kDom0, Request(XS_DIRECTORY, nul_terminated("/tool"))));
  EXPECT_THAT(taken(kDom0), ElementsAre("xenstored"));
}

// --- Flow control.

TEST_F(Engine, NothingIsSentToABlockedConnectionUntilItIsUnblocked) {
  engine.set_blocked(kDom0, true);
  ASSERT_TRUE(give(kDom0, Request(XS_WRITE, nul_terminated("/t") + "x")));
  ASSERT_TRUE(give(kDom0, Request(XS_READ, nul_terminated("/t"))));
  EXPECT_THAT(taken(kDom0), IsEmpty());

  engine.set_blocked(kDom0, false);
  EXPECT_THAT(taken(kDom0), ElementsAre("OK", "x"));
}

TEST_F(Engine, EqualWatchEventsThatWaitAreOne) {
  ASSERT_TRUE(give(kDom0, Request(XS_WATCH, nul_terminated("/t") + nul_terminated("token"))));
  taken(kDom0);
  engine.set_blocked(kDom0, true);
  engine.connect(9, 0);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(give(9, Request(XS_WRITE, nul_terminated("/t/a") + "x")));
    ASSERT_TRUE(give(9, Request(XS_WRITE, nul_terminated("/t/b") + "x")));
  }

  engine.set_blocked(kDom0, false);
  EXPECT_THAT(taken(kDom0), ElementsAre("/t/a token", "/t/b token"));
}

TEST_F(Engine, WatchEventsOfAnUnblockedConnectionAreNotMerged) {
  ASSERT_TRUE(give(kDom0, Request(XS_WATCH, nul_terminated("/t") + nul_terminated("token"))));
  ASSERT_TRUE(give(kDom0, Request(XS_WRITE, nul_terminated("/t") + "x")));
  ASSERT_TRUE(give(kDom0, Request(XS_WRITE, nul_terminated("/t") + "x")));

  EXPECT_THAT(taken(kDom0), ElementsAre("OK", "/t token", "/t token", "OK", "/t token", "OK"));
}

// --- Quotas across the connections of a domain, which a guest with one ring does not have.

TEST_F(Engine, WatchesOfAllConnectionsOfADomainCountTogether) {
  engine.connect(9, kGuestDomid);
  for (int i = 0; i < 129; ++i) {
    ASSERT_TRUE(
        give(i % 2 == 0 ? kGuest : ConnectionId{9},
             Request(XS_WATCH, nul_terminated("data") + nul_terminated(std::to_string(i)))));
  }
  taken(9);

  ASSERT_TRUE(give(9, Request(XS_WATCH, nul_terminated("data") + nul_terminated("more"))));
  EXPECT_THAT(taken(9), ElementsAre("E2BIG"));

  engine.disconnect(kGuest);
  ASSERT_TRUE(give(9, Request(XS_WATCH, nul_terminated("data") + nul_terminated("more"))));
  EXPECT_THAT(taken(9), ElementsAre("OK", "data more"));
}

TEST(StoreLimits, CanBeSet) {
  EngineUnderTest store({.nodes_per_domain = 2});
  const Transcript transcript = {
      .name = "",
      .lines = {"introduce 3", "0 MKDIR /t -> OK", "0 SET_PERMS /t n0 b3 -> OK",
                "3 MKDIR /t/a -> OK", "3 MKDIR /t/b -> OK", "3 MKDIR /t/c -> ENOSPC"}};

  EXPECT_EQ(play(transcript, store), expected_text(transcript));
}

// --- Counters and leftovers.

TEST_F(Engine, CountsWhatADomainDoes) {
  ASSERT_TRUE(give(kGuest, Request(XS_READ, nul_terminated("nothing"))));
  ASSERT_TRUE(give(kGuest, Request(XS_WATCH, nul_terminated("data") + nul_terminated("t"))));
  ASSERT_TRUE(give(kGuest, Request(XS_TRANSACTION_START, nul_terminated(""))));

  const StoreCounters counters = engine.counters(kGuestDomid);
  EXPECT_EQ(counters.operations, 3u);
  EXPECT_EQ(counters.errors, 1u);
  EXPECT_EQ(counters.watches_fired, 1u);
  EXPECT_EQ(counters.watches, 1u);
  EXPECT_EQ(counters.transactions, 1u);
  EXPECT_EQ(counters.connections, 1u);
  EXPECT_EQ(counters.nodes_owned, 0u);
}

TEST_F(Engine, CountersOfAnUnknownDomainAreZero) {
  EXPECT_EQ(engine.counters(99).operations, 0u);
  EXPECT_TRUE(engine.what_is_left(99).none());
}

TEST_F(Engine, NamesWhatIsLeft) {
  ASSERT_TRUE(give(kGuest, Request(XS_WATCH, nul_terminated("data") + nul_terminated("token"))));
  ASSERT_TRUE(give(kGuest, Request(XS_TRANSACTION_START, nul_terminated(""))));

  const StoreLeftovers left = engine.what_is_left(kGuestDomid);
  EXPECT_EQ(left.connections, 1u);
  EXPECT_EQ(left.transactions, 1u);
  EXPECT_THAT(left.watches, ElementsAre("/local/domain/3/data token"));

  engine.disconnect(kGuest);
  EXPECT_TRUE(engine.what_is_left(kGuestDomid).none());
}

// --- The toolstack's part.

TEST_F(Engine, AHomeIsReadableAndItsDataWritable) {
  engine.populate_home(kGuestDomid);

  ASSERT_TRUE(give(kGuest, Request(XS_READ, nul_terminated("domid"))));
  ASSERT_TRUE(give(kGuest, Request(XS_WRITE, nul_terminated("data/a") + "x")));
  ASSERT_TRUE(give(kGuest, Request(XS_WRITE, nul_terminated("a") + "x")));
  ASSERT_TRUE(give(kGuest, Request(XS_GET_PERMS, nul_terminated("/local/domain/3"))));
  EXPECT_THAT(taken(kGuest), ElementsAre("3", "OK", "EACCES", "n0 r3"));
}

TEST_F(Engine, OnlyADriverDomainOwnsLibxl) {
  engine.domain_introduced(4);
  engine.populate_home(kGuestDomid);
  engine.populate_home(4, true);

  ASSERT_TRUE(give(kDom0, Request(XS_GET_PERMS, nul_terminated("/local/domain/3/libxl"))));
  ASSERT_TRUE(give(kDom0, Request(XS_GET_PERMS, nul_terminated("/local/domain/4/libxl"))));
  EXPECT_THAT(taken(kDom0), ElementsAre("ENOENT", "n4"));
}

TEST_F(Engine, WhatIsAboveTheHomesIsNotForGuests) {
  engine.populate_home(kGuestDomid);

  ASSERT_TRUE(give(kDom0, Request(XS_GET_PERMS, nul_terminated("/local/domain"))));
  ASSERT_TRUE(give(kGuest, Request(XS_DIRECTORY, nul_terminated("/local/domain"))));
  EXPECT_THAT(taken(kDom0), ElementsAre("n0"));
  EXPECT_THAT(taken(kGuest), ElementsAre("EACCES"));
}

TEST_F(Engine, AReleasedDomainLeavesNothingAndCanComeBack) {
  engine.populate_home(kGuestDomid);
  engine.disconnect(kGuest);

  engine.domain_released(kGuestDomid);
  EXPECT_EQ(engine.counters(kGuestDomid).nodes_owned, 0u);
  EXPECT_THAT(engine.domains(), ElementsAre(0));
  EXPECT_THAT(engine.inconsistencies(), IsEmpty());

  engine.domain_introduced(kGuestDomid);
  engine.connect(kGuest, kGuestDomid);
  ASSERT_TRUE(give(kGuest, Request(XS_READ, nul_terminated("domid"))));
  EXPECT_THAT(taken(kGuest), ElementsAre("EACCES"));
}

TEST_F(Engine, WatchersSeeTheHomeGoBeforeTheDomain) {
  engine.populate_home(kGuestDomid);
  const std::string state = nul_terminated("/local/domain/3/device/lab/0/state");
  ASSERT_TRUE(give(kDom0, Request(XS_WRITE, state + "4")));
  ASSERT_TRUE(give(kDom0, Request(XS_WATCH, state + nul_terminated("s"))));
  ASSERT_TRUE(
      give(kDom0, Request(XS_WATCH, nul_terminated("@releaseDomain") + nul_terminated("r"))));
  taken(kDom0);

  engine.domain_released(kGuestDomid);

  EXPECT_THAT(taken(kDom0),
              ElementsAre("/local/domain/3/device/lab/0/state s", "@releaseDomain r"));
}

}  // namespace
}  // namespace vmsg::mock::store
