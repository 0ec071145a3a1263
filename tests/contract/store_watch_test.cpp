// Watches: when they fire, with which path and token, and what becomes of them.
#include <gtest/gtest.h>
#include <poll.h>

#include <algorithm>
#include <cerrno>
#include <string>
#include <vector>

#include "tests/contract/store_fixture.hpp"

namespace vmsg::contract {
namespace {

TEST_F(StoreContract, AWatchStartsWithOneEvent) {
  ASSERT_EQ(store.write(at("a"), ""), 0);

  ASSERT_EQ(store.watch(at("a"), "token"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, AWatchOnAMissingNodeStartsWithAnEventToo) {
  ASSERT_EQ(store.watch(at("missing/node"), "token"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("missing/node"), "token"}));
}

TEST_F(StoreContract, AWatchFiresWhenItsNodeAppears) {
  watch_quietly(store, at("later/node"), "token");

  ASSERT_EQ(Store().write(at("later/node"), "x"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("later/node"), "token"}));
}

TEST_F(StoreContract, AWatchFiresWhenItsNodeIsWritten) {
  ASSERT_EQ(store.write(at("a"), "1"), 0);
  watch_quietly(store, at("a"), "token");

  ASSERT_EQ(Store().write(at("a"), "2"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AWatchFiresForAWriteThatChangesNothing) {
  ASSERT_EQ(store.write(at("a"), "same"), 0);
  watch_quietly(store, at("a"), "token");

  ASSERT_EQ(Store().write(at("a"), "same"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AWatchFiresForWritesOfItsOwnConnection) {
  watch_quietly(store, at("a"), "token");

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AWatchCoversTheSubtreeAndNamesTheNodeThatChanged) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  watch_quietly(store, at("dir"), "token");

  ASSERT_EQ(store.write(at("dir/a/b"), "x"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("dir/a/b"), "token"}));
}

TEST_F(StoreContract, AWatchDoesNotFireForANodeWhoseNameOnlyBeginsAlike) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  watch_quietly(store, at("dir"), "token");

  ASSERT_EQ(store.write(at("dir2"), "x"), 0);
  ASSERT_EQ(store.write(at("directory/a"), "x"), 0);

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, AWatchDoesNotFireForItsSiblingsOrItsParent) {
  ASSERT_EQ(store.write(at("dir/a"), ""), 0);
  watch_quietly(store, at("dir/a"), "token");

  ASSERT_EQ(store.write(at("dir/b"), "x"), 0);
  ASSERT_EQ(store.write(at("dir"), "x"), 0);

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, AWatchDoesNotFireForReads) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  watch_quietly(store, at("a"), "token");

  ASSERT_TRUE(store.read(at("a")).has_value());
  ASSERT_TRUE(store.list(at("a")).has_value());

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, MkdirOfAnExistingNodeFiresNothing) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  watch_quietly(store, at("dir"), "token");

  ASSERT_EQ(store.mkdir(at("dir")), 0);

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, AWatchFiresWhenItsNodeIsRemoved) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  watch_quietly(store, at("a"), "token");

  ASSERT_EQ(store.remove(at("a")), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AWatchFiresWhenADirectoryAboveIsRemoved) {
  ASSERT_EQ(store.write(at("dir/a/b"), ""), 0);
  watch_quietly(store, at("dir/a/b"), "token");

  ASSERT_EQ(store.remove(at("dir")), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("dir/a/b"), "token"}));
}

TEST_F(StoreContract, AWatchOnADirectoryFiresForItsOwnRemoval) {
  ASSERT_EQ(store.write(at("dir/a"), ""), 0);
  watch_quietly(store, at("dir"), "token");

  ASSERT_EQ(store.remove(at("dir")), 0);

  std::vector<WatchEvent> events;
  while (const auto event = store.event_fired_so_far()) events.push_back(*event);
  EXPECT_NE(std::ranges::find(events, WatchEvent{at("dir"), "token"}), events.end());
}

TEST_F(StoreContract, AWatchSurvivesTheRemovalOfItsNode) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  watch_quietly(store, at("a"), "token");
  ASSERT_EQ(store.remove(at("a")), 0);
  ASSERT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));

  ASSERT_EQ(store.write(at("a"), "again"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AWatchFiresWhenPermissionsChange) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  watch_quietly(store, at("a"), "token");

  ASSERT_EQ(store.set_permissions(at("a"), {"n0", "r6"}), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, OneChangeFiresEveryWatchWithItsToken) {
  watch_quietly(store, at("a"), "first");
  watch_quietly(store, at("a"), "second");

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  std::vector<std::string> tokens{store.next_event().value().token,
                                  store.next_event().value().token};
  std::ranges::sort(tokens);
  EXPECT_EQ(tokens, (std::vector<std::string>{"first", "second"}));
}

TEST_F(StoreContract, TheSameWatchTwiceIsEexist) {
  watch_quietly(store, at("a"), "token");

  EXPECT_EQ(store.watch(at("a"), "token"), EEXIST);
}

TEST_F(StoreContract, TwoConnectionsMaySetTheSameWatch) {
  Store other;

  watch_quietly(store, at("a"), "token");
  watch_quietly(other, at("a"), "token");

  ASSERT_EQ(store.write(at("a"), "x"), 0);
  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
  EXPECT_EQ(other.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AnInvalidPathCannotBeWatched) {
  EXPECT_EQ(store.watch(at("with space"), "token"), EINVAL);
}

TEST_F(StoreContract, UnwatchOfAWatchNeverSetIsEnoent) {
  EXPECT_EQ(store.unwatch(at("a"), "token"), ENOENT);
}

TEST_F(StoreContract, UnwatchWithAnotherTokenIsEnoent) {
  watch_quietly(store, at("a"), "token");

  EXPECT_EQ(store.unwatch(at("a"), "other"), ENOENT);
}

TEST_F(StoreContract, AfterUnwatchNothingFires) {
  watch_quietly(store, at("a"), "token");
  ASSERT_EQ(store.unwatch(at("a"), "token"), 0);

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, ARelativeWatchReportsRelativePaths) {
  watch_quietly(store, "data/contract-watched", "token");

  ASSERT_EQ(store.write("data/contract-watched/a", "x"), 0);
  EXPECT_EQ(store.next_event(), (WatchEvent{"data/contract-watched/a", "token"}));

  EXPECT_EQ(store.remove("data/contract-watched"), 0);
}

TEST_F(StoreContract, ARelativeWatchFiresForAnAbsoluteWrite) {
  const std::string home = "/local/domain/" + std::to_string(self());
  watch_quietly(store, "data/contract-watched", "token");

  ASSERT_EQ(store.write(home + "/data/contract-watched", "x"), 0);
  EXPECT_EQ(store.next_event(), (WatchEvent{"data/contract-watched", "token"}));

  EXPECT_EQ(store.remove("data/contract-watched"), 0);
}

TEST_F(StoreContract, TheDescriptorIsReadableWhileAnEventWaits) {
  watch_quietly(store, at("a"), "token");
  const int descriptor = xs_fileno(store.raw());
  ASSERT_EQ(Store().write(at("a"), "x"), 0);

  pollfd readable{.fd = descriptor, .events = POLLIN, .revents = 0};
  ASSERT_EQ(poll(&readable, 1, static_cast<int>(kPatience.count())), 1);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
  EXPECT_EQ(poll(&readable, 1, 0), 0);
}

TEST_F(StoreContract, CheckWatchWithoutAnEventIsEagain) {
  watch_quietly(store, at("a"), "token");

  errno = 0;
  EXPECT_EQ(xs_check_watch(store.raw()), nullptr);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(StoreContract, AnEventThatArrivesDuringAnotherRequestIsNotLost) {
  watch_quietly(store, at("a"), "token");
  ASSERT_EQ(Store().write(at("a"), "x"), 0);

  ASSERT_TRUE(store.read(at("a")).has_value());
  ASSERT_EQ(store.write(at("b"), "y"), 0);

  pollfd readable{.fd = xs_fileno(store.raw()), .events = POLLIN, .revents = 0};
  EXPECT_EQ(poll(&readable, 1, 0), 1);
  EXPECT_EQ(store.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, EventsOfDifferentNodesKeepTheirOrder) {
  watch_quietly(store, kBase, "token");
  Store writer;

  for (int i = 0; i < 50; ++i) ASSERT_EQ(writer.write(at(std::to_string(i)), ""), 0);

  for (int i = 0; i < 50; ++i)
    ASSERT_EQ(store.next_event(), (WatchEvent{at(std::to_string(i)), "token"}));
}

TEST_F(StoreContract, InAStormOfWritesTheLastOneIsSeen) {
  watch_quietly(store, at("storm"), "token");
  Store reader;

  neighbour().must("xs-count-up", at("storm"), 200);

  std::string seen;
  while (store.event_fired_so_far()) seen = reader.read(at("storm")).value_or("");
  EXPECT_EQ(seen, "200");
}

TEST_F(StoreContract, AReaderThatKeepsUpWithAStormSeesTheLastWrite) {
  watch_quietly(store, at("storm"), "token");
  Store reader;
  Store writer;

  std::string seen;
  for (int i = 1; i <= 150; ++i) {
    ASSERT_EQ(writer.write(at("storm"), std::to_string(i)), 0);
    if (i % 7 == 0 && store.event_fired_so_far()) seen = reader.read(at("storm")).value_or("");
  }
  while (store.event_fired_so_far()) seen = reader.read(at("storm")).value_or("");

  EXPECT_EQ(seen, "150");
}

TEST_F(StoreContract, ManyWatchesOnOneConnection) {
  for (int i = 0; i < 100; ++i) {
    watch_quietly(store, at("w" + std::to_string(i)), std::to_string(i));
  }

  ASSERT_EQ(store.write(at("w87"), "x"), 0);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("w87"), "87"}));
}

TEST_F(StoreContract, SpecialWatchesStartWithAnEventToo) {
  watch_quietly(store, "@introduceDomain", "new");
  watch_quietly(store, "@releaseDomain", "gone");
}

}  // namespace
}  // namespace vmsg::contract
