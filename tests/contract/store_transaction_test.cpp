// Transactions: what they hide, when they conflict, and what they never do.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/contract/store_fixture.hpp"

namespace vmsg::contract {
namespace {

TEST_F(StoreContract, WritesInATransactionAreHiddenUntilItsEnd) {
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.write(at("a"), "new", transaction), 0);
  EXPECT_EQ(value_of("a"), "(none)");

  EXPECT_EQ(store.commit(transaction), 0);

  EXPECT_EQ(value_of("a"), "new");
}

TEST_F(StoreContract, ATransactionSeesItsOwnWrites) {
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.write(at("dir/a"), "new", transaction), 0);

  EXPECT_EQ(store.read(at("dir/a"), transaction), "new");
  EXPECT_EQ(store.list(at("dir"), transaction), std::vector<std::string>{"a"});

  EXPECT_EQ(store.abandon(transaction), 0);
}

TEST_F(StoreContract, AnAbandonedTransactionLeavesNothing) {
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.write(at("a"), "new", transaction), 0);

  EXPECT_EQ(store.abandon(transaction), 0);

  EXPECT_EQ(value_of("a"), "(none)");
}

TEST_F(StoreContract, ATransactionThatReadWhatHasChangedIsEagain) {
  ASSERT_EQ(store.write(at("a"), "old"), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("a"), transaction), "old");
  ASSERT_EQ(Store().write(at("a"), "theirs"), 0);

  ASSERT_EQ(store.write(at("b"), "mine", transaction), 0);
  EXPECT_EQ(store.commit(transaction), EAGAIN);

  EXPECT_EQ(value_of("b"), "(none)");
}

TEST_F(StoreContract, ATransactionThatReadAMissingNodeConflictsWithItsCreation) {
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("a"), transaction), std::unexpected(ENOENT));
  ASSERT_EQ(Store().write(at("a"), "theirs"), 0);

  ASSERT_EQ(store.write(at("b"), "mine", transaction), 0);
  EXPECT_EQ(store.commit(transaction), EAGAIN);
}

TEST_F(StoreContract, ATransactionThatReadConflictsWithAWriteOfTheSameValue) {
  ASSERT_EQ(store.write(at("a"), "same"), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("a"), transaction), "same");
  ASSERT_EQ(Store().write(at("a"), "same"), 0);

  ASSERT_EQ(store.write(at("b"), "mine", transaction), 0);
  EXPECT_EQ(store.commit(transaction), EAGAIN);
}

TEST_F(StoreContract, TwoTransactionsThatWriteTheSameNodeConflict) {
  Store other;
  ASSERT_EQ(store.write(at("a"), "old"), 0);
  const auto first = store.begin().value();
  const auto second = other.begin().value();
  ASSERT_EQ(store.write(at("a"), "first", first), 0);
  ASSERT_EQ(other.write(at("a"), "second", second), 0);

  EXPECT_EQ(store.commit(first), 0);
  EXPECT_EQ(other.commit(second), EAGAIN);

  EXPECT_EQ(value_of("a"), "first");
}

TEST_F(StoreContract, ATransactionThatConflictedWorksWhenItIsDoneAgain) {
  ASSERT_EQ(store.write(at("a"), "1"), 0);
  const auto first_try = store.begin().value();
  ASSERT_EQ(store.read(at("a"), first_try), "1");
  ASSERT_EQ(Store().write(at("a"), "2"), 0);
  ASSERT_EQ(store.write(at("a"), "3", first_try), 0);
  ASSERT_EQ(store.commit(first_try), EAGAIN);

  const auto second_try = store.begin().value();
  ASSERT_EQ(store.read(at("a"), second_try), "2");
  ASSERT_EQ(store.write(at("a"), "3", second_try), 0);

  EXPECT_EQ(store.commit(second_try), 0);
  EXPECT_EQ(value_of("a"), "3");
}

TEST_F(StoreContract, ChangesElsewhereDoNotDisturbATransaction) {
  ASSERT_EQ(store.write(at("a"), "old"), 0);
  ASSERT_EQ(store.write(at("elsewhere"), "old"), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("a"), transaction), "old");
  ASSERT_EQ(Store().write(at("elsewhere"), "theirs"), 0);

  ASSERT_EQ(store.write(at("a"), "mine", transaction), 0);

  EXPECT_EQ(store.commit(transaction), 0);
}

TEST_F(StoreContract, ATransactionThatListedADirectoryConflictsWithANewChild) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.list(at("dir"), transaction), std::vector<std::string>{});
  ASSERT_EQ(Store().write(at("dir/theirs"), ""), 0);

  ASSERT_EQ(store.write(at("b"), "mine", transaction), 0);

  EXPECT_EQ(store.commit(transaction), EAGAIN);
}

TEST_F(StoreContract, ATransactionFiresItsWatchesAtItsEndOnly) {
  Store watcher;
  watch_quietly(watcher, at("a"), "token");
  const auto transaction = store.begin().value();

  ASSERT_EQ(store.write(at("a"), "x", transaction), 0);
  EXPECT_EQ(watcher.event_fired_so_far(), std::nullopt);

  ASSERT_EQ(store.commit(transaction), 0);
  EXPECT_EQ(watcher.next_event(), (WatchEvent{at("a"), "token"}));
}

TEST_F(StoreContract, AnAbandonedTransactionFiresNothing) {
  Store watcher;
  watch_quietly(watcher, at("a"), "token");
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.write(at("a"), "x", transaction), 0);

  ASSERT_EQ(store.abandon(transaction), 0);

  EXPECT_EQ(watcher.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, ATransactionThatConflictedFiresNothing) {
  Store watcher;
  ASSERT_EQ(store.write(at("b"), "old"), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("b"), transaction), "old");
  ASSERT_EQ(store.write(at("a"), "x", transaction), 0);
  ASSERT_EQ(Store().write(at("b"), "theirs"), 0);
  watch_quietly(watcher, at("a"), "token");

  ASSERT_EQ(store.commit(transaction), EAGAIN);

  EXPECT_EQ(watcher.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreContract, ATransactionNeverStartedIsEnoent) {
  EXPECT_EQ(store.read(kBase, 12345), std::unexpected(ENOENT));
  EXPECT_EQ(store.write(at("a"), "x", 12345), ENOENT);
  EXPECT_EQ(store.commit(12345), ENOENT);
}

TEST_F(StoreContract, AnEndedTransactionIsEnoent) {
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.commit(transaction), 0);

  EXPECT_EQ(store.write(at("a"), "x", transaction), ENOENT);
  EXPECT_EQ(store.commit(transaction), ENOENT);
}

TEST_F(StoreContract, ATransactionThatConflictedIsOver) {
  ASSERT_EQ(store.write(at("a"), "old"), 0);
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.read(at("a"), transaction), "old");
  ASSERT_EQ(Store().write(at("a"), "theirs"), 0);
  ASSERT_EQ(store.write(at("b"), "mine", transaction), 0);
  ASSERT_EQ(store.commit(transaction), EAGAIN);

  EXPECT_EQ(store.abandon(transaction), ENOENT);
}

TEST_F(StoreContract, ATransactionBelongsToItsConnection) {
  Store other;
  const auto transaction = store.begin().value();
  ASSERT_EQ(store.write(at("a"), "x", transaction), 0);

  EXPECT_EQ(other.commit(transaction), ENOENT);

  EXPECT_EQ(store.abandon(transaction), 0);
}

TEST_F(StoreContract, ATransactionOfAClosedConnectionIsGone) {
  {
    Store short_lived;
    const auto transaction = short_lived.begin().value();
    ASSERT_EQ(short_lived.write(at("a"), "lost", transaction), 0);
  }

  EXPECT_EQ(value_of("a"), "(none)");
  EXPECT_EQ(store.write(at("a"), "mine"), 0);
}

TEST_F(StoreContract, ARemovalInATransactionTakesTheWholeSubtree) {
  ASSERT_EQ(store.write(at("dir/a/b"), ""), 0);
  const auto transaction = store.begin().value();

  ASSERT_EQ(store.remove(at("dir"), transaction), 0);
  EXPECT_EQ(store.read(at("dir/a"), transaction), std::unexpected(ENOENT));
  EXPECT_EQ(value_of("dir/a"), "");
  ASSERT_EQ(store.commit(transaction), 0);

  EXPECT_EQ(value_of("dir/a/b"), "(none)");
}

}  // namespace
}  // namespace vmsg::contract
