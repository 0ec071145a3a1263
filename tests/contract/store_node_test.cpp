// Nodes of xenstore: values, directories, paths, removal, permissions as the owner of all sees
// them.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>
#include <vector>

#include "tests/contract/store_fixture.hpp"

namespace vmsg::contract {
namespace {

using Names = std::vector<std::string>;

TEST_F(StoreContract, ReadReturnsWhatWasWritten) {
  ASSERT_EQ(store.write(at("a"), "value"), 0);

  EXPECT_EQ(store.read(at("a")), "value");
}

TEST_F(StoreContract, AnotherConnectionReadsIt) {
  ASSERT_EQ(store.write(at("a"), "value"), 0);

  EXPECT_EQ(Store().read(at("a")), "value");
}

TEST_F(StoreContract, WriteReplacesTheWholeValue) {
  ASSERT_EQ(store.write(at("a"), "a long value"), 0);
  ASSERT_EQ(store.write(at("a"), "short"), 0);

  EXPECT_EQ(store.read(at("a")), "short");
}

TEST_F(StoreContract, BinaryValuesSurvive) {
  const std::string binary("\x00\x01\xff\n\x00", 5);
  ASSERT_EQ(store.write(at("a"), binary), 0);

  EXPECT_EQ(store.read(at("a")), binary);
}

TEST_F(StoreContract, AValueIsTerminatedBehindItsLength) {
  ASSERT_EQ(store.write(at("a"), "abc"), 0);
  unsigned length = 0;

  const Malloced<void> value(xs_read(store.raw(), XBT_NULL, at("a").c_str(), &length));

  ASSERT_NE(value, nullptr);
  EXPECT_EQ(length, 3U);
  EXPECT_STREQ(static_cast<const char*>(value.get()), "abc");
}

TEST_F(StoreContract, AnEmptyValueIsNotAMissingNode) {
  ASSERT_EQ(store.write(at("empty"), ""), 0);

  EXPECT_EQ(store.read(at("empty")), "");
  EXPECT_EQ(store.read(at("missing")), std::unexpected(ENOENT));
}

TEST_F(StoreContract, WriteCreatesTheNodesAbove) {
  ASSERT_EQ(store.write(at("a/b/c"), "deep"), 0);

  EXPECT_EQ(store.read(at("a/b")), "");
  EXPECT_EQ(store.read(at("a/b/c")), "deep");
}

TEST_F(StoreContract, DirectoryListsTheChildrenAndNotTheirChildren) {
  ASSERT_EQ(store.write(at("b/below"), ""), 0);
  ASSERT_EQ(store.write(at("a"), ""), 0);

  EXPECT_EQ(store.list(kBase), (Names{"a", "b"}));
}

TEST_F(StoreContract, EmptyDirectoryIsNotAMissingOne) {
  ASSERT_EQ(store.mkdir(at("empty")), 0);

  EXPECT_EQ(store.list(at("empty")), Names{});
  EXPECT_EQ(store.list(at("missing")), std::unexpected(ENOENT));
}

TEST_F(StoreContract, ADirectoryThatExceedsOneMessageIsListedWhole) {
  Names names;
  for (int i = 100; i < 200; ++i) {
    names.push_back("a-name-of-sixty-characters-so-that-few-nodes-are-enough-" + std::to_string(i));
    ASSERT_EQ(store.write(at("many/" + names.back()), ""), 0);
  }

  EXPECT_EQ(store.list(at("many")), names);
}

TEST_F(StoreContract, MkdirOfAnExistingNodeKeepsIt) {
  ASSERT_EQ(store.write(at("a"), "kept"), 0);

  EXPECT_EQ(store.mkdir(at("a")), 0);

  EXPECT_EQ(store.read(at("a")), "kept");
}

TEST_F(StoreContract, RmRemovesTheWholeSubtree) {
  ASSERT_EQ(store.write(at("a/b/c"), ""), 0);

  EXPECT_EQ(store.remove(at("a")), 0);

  EXPECT_EQ(store.read(at("a/b/c")), std::unexpected(ENOENT));
  EXPECT_EQ(store.list(kBase), Names{});
}

TEST_F(StoreContract, RmOfAMissingNodeInADirectoryThatExistsSucceeds) {
  EXPECT_EQ(store.remove(at("missing")), 0);
}

TEST_F(StoreContract, RmOfAMissingNodeInAMissingDirectoryIsEnoent) {
  EXPECT_EQ(store.remove(at("missing/node")), ENOENT);
}

TEST_F(StoreContract, RmOfTheRootIsEinval) { EXPECT_EQ(store.remove("/"), EINVAL); }

TEST_F(StoreContract, PathsAreRestrictedToTheKnownCharacters) {
  EXPECT_EQ(store.write(at("a-Z_0@9"), ""), 0);
  EXPECT_EQ(store.write(at("with space"), ""), EINVAL);
  EXPECT_EQ(store.write(at("dot.ted"), ""), EINVAL);
  EXPECT_EQ(store.write(at("co:lon"), ""), EINVAL);
}

TEST_F(StoreContract, EmptyPathComponentsAreEinval) {
  EXPECT_EQ(store.read(at("a//b")), std::unexpected(EINVAL));
  EXPECT_EQ(store.read(at("a/")), std::unexpected(EINVAL));
}

TEST_F(StoreContract, PathsMayHave2048Characters) {
  const std::string longest = at(std::string(2048 - at("").size(), 'x'));

  EXPECT_EQ(store.write(longest, ""), 0);
  EXPECT_EQ(store.read(longest), "");
  EXPECT_EQ(store.write(longest + 'x', ""), EINVAL);
}

TEST_F(StoreContract, TheHomeOfADomainDoesNotCountInTheLengthOfAPath) {
  const std::string longest(2048, 'x');
  const std::string home = "/local/domain/" + std::to_string(self()) + '/';

  EXPECT_EQ(store.read(longest), std::unexpected(ENOENT));
  EXPECT_EQ(store.read(longest + 'x'), std::unexpected(EINVAL));
  EXPECT_EQ(store.read(home + longest), std::unexpected(ENOENT));
  EXPECT_EQ(store.read(home + longest + 'x'), std::unexpected(EINVAL));
}

TEST_F(StoreContract, PathAndValueTogetherMayHave4096Bytes) {
  const std::string path = at("a");
  const std::string largest(4096 - path.size() - 1, 'v');

  EXPECT_EQ(store.write(path, largest), 0);
  EXPECT_EQ(store.read(path), largest);
  EXPECT_EQ(store.write(path, largest + 'v'), E2BIG);
}

TEST_F(StoreContract, RelativePathsStartAtTheDomainsHome) {
  const std::string home = "/local/domain/" + std::to_string(self());
  ASSERT_EQ(store.write("data/contract-relative", "mine"), 0);

  EXPECT_EQ(store.read(home + "/data/contract-relative"), "mine");

  EXPECT_EQ(store.remove("data/contract-relative"), 0);
}

TEST_F(StoreContract, TheHomeOfADomainIsKnownWithoutTheDomain) {
  const Malloced<char> home(xs_get_domain_path(store.raw(), world().nobody()));

  ASSERT_NE(home, nullptr);
  EXPECT_STREQ(home.get(), "/local/domain/32000");
}

TEST_F(StoreContract, ADomainNobodyCreatedIsNotIntroduced) {
  EXPECT_FALSE(xs_is_domain_introduced(store.raw(), world().nobody()));
}

TEST_F(StoreContract, PermissionsAreReadBackAsTheyWereSet) {
  ASSERT_EQ(store.mkdir(at("a")), 0);

  EXPECT_EQ(store.set_permissions(at("a"), {"n0", "r6", "b7", "w8"}), 0);

  EXPECT_EQ(store.permissions(at("a")), (Permissions{"n0", "r6", "b7", "w8"}));
}

TEST_F(StoreContract, PermissionsAreInheritedFromTheDirectory) {
  ASSERT_EQ(store.mkdir(at("dir")), 0);
  ASSERT_EQ(store.set_permissions(at("dir"), {"n0", "r6"}), 0);

  ASSERT_EQ(store.write(at("dir/a/b"), ""), 0);

  EXPECT_EQ(store.permissions(at("dir/a")), (Permissions{"n0", "r6"}));
  EXPECT_EQ(store.permissions(at("dir/a/b")), (Permissions{"n0", "r6"}));
}

TEST_F(StoreContract, LaterChangesOfADirectorysPermissionsDoNotReachItsChildren) {
  ASSERT_EQ(store.write(at("dir/a"), ""), 0);
  const auto before = store.permissions(at("dir/a"));

  ASSERT_EQ(store.set_permissions(at("dir"), {"n0", "r6"}), 0);

  EXPECT_EQ(store.permissions(at("dir/a")), before);
}

TEST_F(StoreContract, WritingANodeKeepsItsPermissions) {
  ASSERT_EQ(store.mkdir(at("a")), 0);
  ASSERT_EQ(store.set_permissions(at("a"), {"n0", "r6"}), 0);

  ASSERT_EQ(store.write(at("a"), "new"), 0);

  EXPECT_EQ(store.permissions(at("a")), (Permissions{"n0", "r6"}));
}

TEST_F(StoreContract, AnOwnerThatDoesNotExistIsEnoent) {
  ASSERT_EQ(store.mkdir(at("a")), 0);

  EXPECT_EQ(store.set_permissions(at("a"), {"n" + std::to_string(world().nobody())}), ENOENT);
}

TEST_F(StoreContract, PermissionsOfAMissingNodeAreEnoent) {
  EXPECT_EQ(store.permissions(at("missing")), std::unexpected(ENOENT));
  EXPECT_EQ(store.set_permissions(at("missing"), {"n0"}), ENOENT);
}

}  // namespace
}  // namespace vmsg::contract
