// Domains that come and go, as xenstore tells of them.
#include <gtest/gtest.h>

#include <cerrno>
#include <string>

#include "tests/contract/store_fixture.hpp"

namespace vmsg::contract {
namespace {

class StoreDomainContract : public StoreContract {
 protected:
  void SetUp() override {
    if (!world().can_create_domains()) GTEST_SKIP() << "no --domain-command here";
    StoreContract::SetUp();
  }

  bool is_introduced(std::uint32_t domain) { return xs_is_domain_introduced(store.raw(), domain); }
};

TEST_F(StoreDomainContract, ANewDomainFiresIntroduceDomain) {
  watch_quietly(store, "@introduceDomain", "new");

  const std::uint32_t domain = world().create_domain();

  EXPECT_EQ(store.next_event(), (WatchEvent{"@introduceDomain", "new"}));
  EXPECT_TRUE(is_introduced(domain));
  world().destroy_domain(domain);
}

TEST_F(StoreDomainContract, ADestroyedDomainFiresReleaseDomain) {
  const std::uint32_t domain = world().create_domain();
  watch_quietly(store, "@releaseDomain", "gone");

  world().destroy_domain(domain);

  EXPECT_EQ(store.next_event(), (WatchEvent{"@releaseDomain", "gone"}));
}

TEST_F(StoreDomainContract, ADestroyedDomainIsNoLongerIntroduced) {
  const std::uint32_t domain = world().create_domain();
  ASSERT_TRUE(is_introduced(domain));

  world().destroy_domain(domain);

  EXPECT_FALSE(is_introduced(domain));
}

TEST_F(StoreDomainContract, SpecialWatchesDoNotFireForNodes) {
  watch_quietly(store, "@introduceDomain", "new");
  watch_quietly(store, "@releaseDomain", "gone");

  ASSERT_EQ(store.write(at("a"), "x"), 0);

  EXPECT_EQ(store.event_fired_so_far(), std::nullopt);
}

TEST_F(StoreDomainContract, NodesOfADestroyedDomainGoWithIt) {
  const std::uint32_t domain = world().create_domain();
  ASSERT_EQ(store.write(at("theirs/below"), "x"), 0);
  ASSERT_EQ(store.write(at("ours"), "x"), 0);
  ASSERT_EQ(store.set_permissions(at("theirs"), {"n" + std::to_string(domain)}), 0);
  ASSERT_EQ(store.set_permissions(at("ours"), {"n0", "r" + std::to_string(domain)}), 0);

  world().destroy_domain(domain);

  EXPECT_EQ(store.read(at("theirs")), std::unexpected(ENOENT));
  EXPECT_EQ(store.read(at("theirs/below")), std::unexpected(ENOENT));
  EXPECT_EQ(value_of("ours"), "x");
}

TEST_F(StoreDomainContract, NodesOfADestroyedDomainGoWithAnEvent) {
  const std::uint32_t domain = world().create_domain();
  ASSERT_EQ(store.write(at("theirs"), "x"), 0);
  ASSERT_EQ(store.set_permissions(at("theirs"), {"n" + std::to_string(domain)}), 0);
  watch_quietly(store, at("theirs"), "token");

  world().destroy_domain(domain);

  EXPECT_EQ(store.next_event(), (WatchEvent{at("theirs"), "token"}));
  EXPECT_EQ(store.read(at("theirs")), std::unexpected(ENOENT));
}

TEST_F(StoreDomainContract, ADomainThatIsGoneCanStillBeGrantedRights) {
  const std::uint32_t domain = world().create_domain();
  world().destroy_domain(domain);
  ASSERT_EQ(store.mkdir(at("a")), 0);

  EXPECT_EQ(store.set_permissions(at("a"), {"n0", "r" + std::to_string(domain)}), 0);
}

}  // namespace
}  // namespace vmsg::contract
