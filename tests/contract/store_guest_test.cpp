// What a guest may do in xenstore and what it may not: permissions and quotas, tried by the guest.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "tests/contract/protocol.hpp"
#include "tests/contract/store_fixture.hpp"

namespace vmsg::contract {

std::string StoreGuestContract::hex(const std::string& text) { return to_hex(text); }

namespace {

using Words = std::vector<std::string>;

TEST_F(StoreGuestContract, AGuestWritesBelowItsData) {
  EXPECT_EQ(guest().call("xs-write", "data/try/a", hex("x")).error, 0);

  EXPECT_EQ(store.read(home() + "/data/try/a"), "x");
}

TEST_F(StoreGuestContract, ANodeAGuestMadeBelongsToIt) {
  guest().must("xs-write", "data/try/a", hex("x"));

  EXPECT_EQ(store.permissions(home() + "/data/try/a"), Permissions{guests('n')});
}

TEST_F(StoreGuestContract, AGuestCannotWriteItsHome) {
  EXPECT_EQ(guest().call("xs-write", "contract", hex("x")).error, EACCES);
}

TEST_F(StoreGuestContract, AGuestCannotWriteWhatBelongsToOthers) {
  ASSERT_EQ(store.write(at("a"), "ours"), 0);

  EXPECT_EQ(guest().call("xs-write", at("a"), hex("theirs")).error, EACCES);
  EXPECT_EQ(guest().call("xs-mkdir", at("b")).error, EACCES);
  EXPECT_EQ(guest().call("xs-rm", at("a")).error, EACCES);

  EXPECT_EQ(value_of("a"), "ours");
}

TEST_F(StoreGuestContract, AGuestCannotReadWithoutTheRight) {
  ASSERT_EQ(store.write(at("a"), "secret"), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0"}), 0);

  EXPECT_EQ(guest().call("xs-read", at("a")).error, EACCES);
  EXPECT_EQ(guest().call("xs-list", at("a")).error, EACCES);
  EXPECT_EQ(guest().call("xs-perms", at("a")).error, EACCES);
}

TEST_F(StoreGuestContract, ReadPermissionLetsAGuestReadAndNotWrite) {
  ASSERT_EQ(store.write(at("a"), "public"), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0", guests('r')}), 0);

  EXPECT_EQ(guest().must("xs-read", at("a")), Words{hex("public")});
  EXPECT_EQ(guest().call("xs-write", at("a"), hex("x")).error, EACCES);
}

TEST_F(StoreGuestContract, WritePermissionLetsAGuestWriteAndNotRead) {
  ASSERT_EQ(store.write(at("a"), "old"), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0", guests('w')}), 0);

  EXPECT_EQ(guest().call("xs-read", at("a")).error, EACCES);
  EXPECT_EQ(guest().call("xs-write", at("a"), hex("new")).error, 0);
  EXPECT_EQ(value_of("a"), "new");
}

TEST_F(StoreGuestContract, TheOwnersLetterIsEverybodyElsesRight) {
  ASSERT_EQ(store.write(at("a"), "public"), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"r0"}), 0);

  EXPECT_EQ(guest().must("xs-read", at("a")), Words{hex("public")});
}

TEST_F(StoreGuestContract, TheOwnerReadsAndWritesWhateverItsLetter) {
  ASSERT_EQ(store.write(at("a"), "theirs"), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {guests('n')}), 0);

  EXPECT_EQ(guest().must("xs-read", at("a")), Words{hex("theirs")});
  EXPECT_EQ(guest().call("xs-write", at("a"), hex("x")).error, 0);
}

TEST_F(StoreGuestContract, AGuestThatMayWriteADirectoryMakesNodesOfItsOwn) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  ASSERT_EQ(store.set_permissions(at("dir"), {"n0", guests('b')}), 0);

  ASSERT_EQ(guest().call("xs-write", at("dir/a"), hex("x")).error, 0);

  EXPECT_EQ(store.permissions(at("dir/a")), (Permissions{guests('n'), guests('b')}));
}

TEST_F(StoreGuestContract, AGuestMayReadByPathWithoutRightsOnTheDirectoriesAbove) {
  ASSERT_EQ(store.write(at("dir/a"), "x"), 0);
  ASSERT_EQ(store.set_permissions(at("dir"), {"n0"}), 0);
  ASSERT_EQ(store.set_permissions(at("dir/a"), {"n0", guests('r')}), 0);

  EXPECT_EQ(guest().must("xs-read", at("dir/a")), Words{hex("x")});
  EXPECT_EQ(guest().call("xs-list", at("dir")).error, EACCES);
}

TEST_F(StoreGuestContract, AMissingNodeInAnUnreadableDirectoryIsEacces) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  ASSERT_EQ(store.set_permissions(at("dir"), {"n0"}), 0);

  EXPECT_EQ(guest().call("xs-read", at("dir/missing")).error, EACCES);
}

TEST_F(StoreGuestContract, AMissingNodeInAReadableDirectoryIsEnoent) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  ASSERT_EQ(store.set_permissions(at("dir"), {"n0", guests('r')}), 0);

  EXPECT_EQ(guest().call("xs-read", at("dir/missing")).error, ENOENT);
}

TEST_F(StoreGuestContract, OnlyTheOwnerChangesPermissions) {
  ASSERT_EQ(store.mkdir(at("a")), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0", guests('b')}), 0);

  EXPECT_EQ(guest().call("xs-chmod", at("a"), guests('n')).error, EACCES);
}

TEST_F(StoreGuestContract, AGuestCannotGiveANodeAway) {
  guest().must("xs-write", "data/try/a", hex("x"));

  EXPECT_EQ(guest().call("xs-chmod", "data/try/a", "n0").error, EPERM);
}

TEST_F(StoreGuestContract, AGuestCanOpenItsNodeToOthers) {
  guest().must("xs-write", "data/try/a", hex("x"));

  EXPECT_EQ(guest().call("xs-chmod", "data/try/a", guests('n'), "r7").error, 0);

  EXPECT_EQ(store.permissions(home() + "/data/try/a"), (Permissions{guests('n'), "r7"}));
}

TEST_F(StoreGuestContract, APrivilegedClientReadsAndWritesEverything) {
  guest().must("xs-write", "data/try/a", hex("theirs"));
  guest().must("xs-chmod", "data/try/a", guests('n'));

  EXPECT_EQ(store.read(home() + "/data/try/a"), "theirs");
  EXPECT_EQ(store.write(home() + "/data/try/a", "ours"), 0);
  EXPECT_EQ(guest().must("xs-read", "data/try/a"), Words{hex("ours")});
}

TEST_F(StoreGuestContract, ANodeMadeByUsInAGuestsDirectoryBelongsToTheGuest) {
  guest().must("xs-mkdir", "data/try");

  ASSERT_EQ(store.write(home() + "/data/try/a", "x"), 0);

  EXPECT_EQ(store.permissions(home() + "/data/try/a"), Permissions{guests('n')});
}

TEST_F(StoreGuestContract, RelativePathsOfAGuestStartAtItsHome) {
  guest().must("xs-write", "data/try/a", hex("x"));

  EXPECT_EQ(guest().must("xs-read", home() + "/data/try/a"), Words{hex("x")});
}

TEST_F(StoreGuestContract, AWatchOfAGuestFiresForWhatItMayRead) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0", guests('r')}), 0);
  guest().must("xs-watch", at("a"), "token");
  ASSERT_EQ(guest().must("xs-next-event"), (Words{at("a"), "token"}));

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  EXPECT_EQ(guest().must("xs-next-event"), (Words{at("a"), "token"}));
}

TEST_F(StoreGuestContract, AWatchOfAGuestIsSilentAboutWhatItMayNotRead) {
  ASSERT_EQ(store.write(at("a"), ""), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0"}), 0);
  guest().must("xs-watch", at("a"), "token");
  ASSERT_EQ(guest().must("xs-next-event"), (Words{at("a"), "token"})) << "the first always comes";

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  EXPECT_EQ(guest().must("xs-event-fired"), Words{"none"});
}

TEST_F(StoreGuestContract, AWatchOfAGuestFiresWithRelativePaths) {
  guest().must("xs-watch", "data/try", "token");
  ASSERT_EQ(guest().must("xs-next-event"), (Words{"data/try", "token"}));

  ASSERT_EQ(store.write(home() + "/data/try/from-us", "x"), 0);

  EXPECT_EQ(guest().must("xs-next-event"), (Words{"data/try/from-us", "token"}));
}

TEST_F(StoreGuestContract, OurWatchSeesWhatAGuestWrites) {
  watch_quietly(store, home() + "/data/try", "token");

  guest().must("xs-write", "data/try/a", hex("x"));

  EXPECT_EQ(store.next_event(), (WatchEvent{home() + "/data/try/a", "token"}));
}

TEST_F(StoreGuestContract, AStormFromAGuestEndsWithTheLastValueSeen) {
  guest().must("xs-write", "data/try/storm", hex("0"));
  watch_quietly(store, home() + "/data/try/storm", "token");

  guest().must("xs-count-up", "data/try/storm", 200);

  std::string seen;
  while (store.event_fired_so_far()) seen = store.read(home() + "/data/try/storm").value_or("");
  EXPECT_EQ(seen, "200");
}

TEST_F(StoreGuestContract, TheNamesInADirectoryOfAGuestAreLimitedTo2048BytesByEnospc) {
  const PeerReply reply = guest().call("xs-create",
                                       "data/try/a-name-of-60-characters-is-soon-too-"
                                       "long-for-a-directory-if-",
                                       50);

  EXPECT_EQ(reply.error, ENOSPC);
  EXPECT_EQ(reply.words.at(0), "32");
}

TEST_F(StoreGuestContract, ANodeOfAGuestIsLimitedTo2048BytesByEnospc) {
  EXPECT_EQ(guest().call("xs-write-long", "data/try/big", 2000).error, 0);
  EXPECT_EQ(guest().call("xs-write-long", "data/try/big", 2049).error, ENOSPC);
}

TEST_F(StoreGuestContract, WatchesOfAGuestAreLimitedByE2big) {
  const PeerReply reply = guest().call("xs-watch-many", "data/try", 150);

  EXPECT_EQ(reply.error, E2BIG);
  EXPECT_GT(to_number<int>(reply.words.at(0)), 100);
  EXPECT_LE(to_number<int>(reply.words.at(0)), 128);
}

TEST_F(StoreGuestContract, WatchesOfAKilledProcessAreGone) {
  guest().must("xs-watch-many", "data/try", 80);

  guest().die();

  EXPECT_EQ(guest().call("xs-watch-many", "data/try", 80).error, 0);
}

TEST_F(StoreGuestContract, TransactionsOfAGuestAreLimitedByEnospc) {
  const PeerReply reply = guest().call("xs-begin", 50);

  EXPECT_EQ(reply.error, ENOSPC);
  EXPECT_EQ(reply.words.at(0), "11");
}

TEST_F(StoreGuestContract, TransactionsOfAKilledGuestProcessAreGone) {
  ASSERT_EQ(guest().call("xs-begin", 50).error, ENOSPC);

  guest().die();

  EXPECT_EQ(guest().call("xs-begin", 5).error, 0);
}

// A guest that has nearly all of its 1000 nodes. Those that we make in a guest's directory are the
// guest's and count too; that way they are made quickly, and once for all tests.
class StoreQuotaContract : public StoreGuestContract {
 protected:
  static constexpr int kNodes = 980;

  static void SetUpTestSuite() {
    if (world().guest() == nullptr) return;
    Store store;
    static_cast<void>(store.remove(full()));
    guest().must("xs-mkdir", "data/full");
    for (int i = 0; i < kNodes; ++i) static_cast<void>(store.write(node(i), ""));
  }
  static void TearDownTestSuite() {
    if (world().guest() != nullptr) static_cast<void>(Store().remove(full()));
  }

  static std::string full() { return home() + "/data/full"; }
  // In directories of 100: the names in one directory are limited by themselves.
  static std::string node(int i) {
    return full() + '/' + std::to_string(i / 100) + '/' + std::to_string(i);
  }
};

TEST_F(StoreQuotaContract, NodesOfAGuestAreLimitedByEnospcWhoeverMadeThem) {
  ASSERT_TRUE(store.read(node(kNodes - 1)).has_value());

  EXPECT_EQ(guest().call("xs-create", "data/try/more/n", 30).error, ENOSPC);
}

TEST_F(StoreQuotaContract, OurOwnWritesAreNotHeldUpByTheQuotaOfAGuest) {
  guest().call("xs-create", "data/try/more/n", 30);

  EXPECT_EQ(store.write(home() + "/data/try/ours", "x"), 0);
}

TEST_F(StoreQuotaContract, RemovedNodesAreGivenBackToTheQuota) {
  guest().must("xs-rm", "data/full/0");

  EXPECT_EQ(guest().call("xs-create", "data/try/more/n", 30).error, 0);
}

}  // namespace
}  // namespace vmsg::contract
