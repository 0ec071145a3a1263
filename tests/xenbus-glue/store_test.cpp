// Nodes, permissions and transactions.
#include "xenbus-glue/store.hpp"

#include <cerrno>

#include "tests/xenbus-glue/xen_world.hpp"

namespace vmsg::xen {
namespace {

using Done = Result<void, XenError>;

class StoreTest : public XenWorld {
 protected:
  std::unique_ptr<Store> store = in_domain(kBackend, [] { return opened(Store::open()); });
  std::unique_ptr<Store> other = in_domain(kBackend, [] { return opened(Store::open()); });
  std::unique_ptr<Store> guest = in_domain(kGuest, [] { return opened(Store::open()); });
  const Path top = *Path::parse("/test");

  static int error_of(const auto& result) { return result.has_value() ? 0 : result.error().error; }
};

TEST_F(StoreTest, ReadsWhatWasWritten) {
  ASSERT_TRUE(store->write(top / "a", "value").has_value());

  EXPECT_EQ(*other->read(top / "a"), "value");
  EXPECT_EQ(*other->find(top / "a"), "value");
}

TEST_F(StoreTest, AnAbsentNodeIsAnErrorToReadAndAValueToFind) {
  EXPECT_EQ(store->read(top / "a").error(), (XenError{XenCall::kStoreRead, ENOENT, std::nullopt}));
  EXPECT_FALSE(store->find(top / "a")->has_value());
  EXPECT_FALSE(*store->exists(top / "a"));
}

TEST_F(StoreTest, AnEmptyValueIsAValue) {
  ASSERT_TRUE(store->write(top / "a", "").has_value());

  EXPECT_EQ(*store->read(top / "a"), "");
  EXPECT_TRUE(*store->exists(top / "a"));
}

TEST_F(StoreTest, ValuesAreBytes) {
  const std::string value("a\0b\n", 4);
  ASSERT_TRUE(store->write(top / "a", value).has_value());

  EXPECT_EQ(*store->read(top / "a"), value);
}

TEST_F(StoreTest, AValueLongerThanAskedForIsRefusedWhole) {
  ASSERT_TRUE(store->write(top / "a", "12345").has_value());

  EXPECT_EQ(error_of(store->read(top / "a", 4)), E2BIG);
  EXPECT_EQ(error_of(store->find(top / "a", 4)), E2BIG);
  EXPECT_EQ(*store->read(top / "a", 5), "12345");
}

TEST_F(StoreTest, AnAbsurdlyLongValueIsNotEvenSent) {
  EXPECT_EQ(error_of(store->write(top / "a", std::string(StoreOps::kMaxValue + 1, 'x'))), E2BIG);
}

TEST_F(StoreTest, RemovingWhatIsNotThereAndMakingWhatIsThereSucceed) {
  EXPECT_TRUE(store->remove(top / "a").has_value());
  EXPECT_TRUE(store->make_directory(top).has_value());
  EXPECT_TRUE(store->make_directory(top).has_value());
}

TEST_F(StoreTest, RemovesWhatIsBelowToo) {
  ASSERT_TRUE(store->write(top / "a" / "b", "x").has_value());

  ASSERT_TRUE(store->remove(top / "a").has_value());

  EXPECT_FALSE(*store->exists(top / "a" / "b"));
}

TEST_F(StoreTest, ListsChildren) {
  for (const unsigned number : {2U, 10U, 1U}) {
    ASSERT_TRUE(store->write(top / number, "").has_value());
  }
  ASSERT_TRUE(store->write(top / "x", "").has_value());
  ASSERT_TRUE(store->write(*top.child("007"), "").has_value());

  EXPECT_EQ(store->list(top)->size(), 5U);
  EXPECT_EQ(*store->list_numbers(top, 9), (std::vector<std::uint32_t>{1, 2}));
  EXPECT_EQ(*store->list_numbers(top, 10), (std::vector<std::uint32_t>{1, 2, 10}));
  EXPECT_EQ(error_of(store->list(top, 4)), E2BIG);
}

TEST_F(StoreTest, AnAbsentDirectoryHasNoChildren) {
  EXPECT_TRUE(store->list(top / "nowhere")->empty());
  EXPECT_TRUE(store->list_numbers(top / "nowhere", 10)->empty());
}

TEST_F(StoreTest, PermissionsComeBackAsTheyWereSet) {
  ASSERT_TRUE(store->make_directory(top).has_value());
  Permissions permissions = Permissions::owned_by(kGuest).readable_by(kOther);
  permissions.entries.push_back({kBackend, StoreAccess::kReadWrite});

  ASSERT_TRUE(store->set_permissions(top, permissions).has_value());

  EXPECT_EQ(*store->permissions(top), permissions);
}

TEST_F(StoreTest, AGuestIsRefusedWhatItMayNot) {
  ASSERT_TRUE(store->write(top / "secret", "x").has_value());
  ASSERT_TRUE(store->write(top / "open", "x").has_value());
  ASSERT_TRUE(
      store->set_permissions(top / "open", Permissions::owned_by(kBackend).readable_by(kGuest))
          .has_value());

  EXPECT_EQ(error_of(guest->read(top / "secret")), EACCES);
  EXPECT_EQ(error_of(guest->find(top / "secret")), EACCES);
  EXPECT_TRUE(guest->read(top / "open").has_value());
  EXPECT_EQ(error_of(guest->write(top / "open", "y")), EACCES);
  EXPECT_EQ(error_of(guest->remove(top / "open")), EACCES);
}

TEST_F(StoreTest, KnowsItsOwnDomain) {
  EXPECT_EQ(*store->own_domain(), kBackend);
  EXPECT_EQ(*guest->own_domain(), kGuest);
}

TEST_F(StoreTest, AnOwnDomainThatIsNoNumberIsAnError) {
  ASSERT_TRUE(store->write(Path::domain(kBackend) / "domid", "zero").has_value());

  EXPECT_EQ(error_of(store->own_domain()), EINVAL);
}

TEST_F(StoreTest, KnowsWhichDomainsThereAre) {
  EXPECT_TRUE(*store->is_domain_introduced(kGuest));
  EXPECT_FALSE(*store->is_domain_introduced(99));
  EXPECT_EQ(error_of(guest->is_domain_introduced(kOther)), EACCES);
}

// ---- transactions -------------------------------------------------------------------------------

TEST_F(StoreTest, ATransactionShowsAllOrNothing) {
  const auto done = store->transact([&](Transaction& transaction) -> Done {
    if (auto wrote = transaction.write(top / "a", "1"); !wrote) return wrote;
    EXPECT_FALSE(*other->exists(top / "a"));
    return transaction.write(top / "b", "2");
  });

  EXPECT_TRUE(done.has_value());
  EXPECT_TRUE(*other->exists(top / "a") && *other->exists(top / "b"));
}

TEST_F(StoreTest, AnErrorOfTheWorkAbortsAndIsReturned) {
  const XenError error{XenCall::kStoreRead, EIO, std::nullopt};

  const auto done = store->transact([&](Transaction& transaction) -> Done {
    if (auto wrote = transaction.write(top / "a", "1"); !wrote) return wrote;
    return std::unexpected(error);
  });

  EXPECT_EQ(done.error(), error);
  EXPECT_FALSE(*store->exists(top / "a"));
}

TEST_F(StoreTest, AConflictRunsTheWorkAgainOnWhatIsThereNow) {
  ASSERT_TRUE(store->write(top / "count", "0").has_value());
  int runs = 0;

  const auto done = store->transact([&](Transaction& transaction) -> Done {
    const auto count = transaction.read(top / "count");
    if (!count) return std::unexpected(count.error());
    if (++runs <= 3) {
      EXPECT_TRUE(other->write(top / "count", "1" + *count).has_value());
    }
    return transaction.write(top / "count", "+" + *count);
  });

  EXPECT_TRUE(done.has_value());
  EXPECT_EQ(runs, 4);
  EXPECT_EQ(*store->read(top / "count"), "+1110");
  EXPECT_EQ(store->transaction_retries(), 3U);
}

TEST_F(StoreTest, AConflictWithoutEndGivesUpAtItsLimit) {
  ASSERT_TRUE(store->write(top / "count", "0").has_value());
  int runs = 0;

  const auto done = store->transact(
      [&](Transaction& transaction) -> Done {
        static_cast<void>(transaction.read(top / "count"));
        EXPECT_TRUE(other->write_number(top / "count", static_cast<unsigned>(++runs)).has_value());
        return transaction.write(top / "count", "mine");
      },
      5);

  EXPECT_EQ(done.error(), (XenError{XenCall::kStoreTransactionEnd, EAGAIN, std::nullopt}));
  EXPECT_EQ(runs, 5);
  EXPECT_EQ(*store->read(top / "count"), "5");
}

TEST_F(StoreTest, ATransactionThatCannotStartIsAnError) {
  fail(kBackend, mock::Call::kXsTransactionStart, ENOSPC);

  EXPECT_EQ(store->transact([](Transaction&) -> Done { return {}; }).error(),
            (XenError{XenCall::kStoreTransactionStart, ENOSPC, std::nullopt}));
}

TEST_F(StoreTest, EveryOperationSaysWhichOneFailed) {
  ASSERT_TRUE(store->write(top, "x").has_value());
  const auto call_of = [&](mock::Call call, auto operation) {
    fail(kBackend, call, EIO);
    const auto result = operation();
    EXPECT_FALSE(result.has_value());
    return result.has_value() ? XenCall::kStoreOpen : result.error().call;
  };

  EXPECT_EQ(call_of(mock::Call::kXsRead, [&] { return store->read(top); }), XenCall::kStoreRead);
  EXPECT_EQ(call_of(mock::Call::kXsWrite, [&] { return store->write(top, "y"); }),
            XenCall::kStoreWrite);
  EXPECT_EQ(call_of(mock::Call::kXsRm, [&] { return store->remove(top); }), XenCall::kStoreRemove);
  EXPECT_EQ(call_of(mock::Call::kXsMkdir, [&] { return store->make_directory(top); }),
            XenCall::kStoreMkdir);
  EXPECT_EQ(call_of(mock::Call::kXsDirectory, [&] { return store->list(top); }),
            XenCall::kStoreList);
  EXPECT_EQ(call_of(mock::Call::kXsGetPermissions, [&] { return store->permissions(top); }),
            XenCall::kStoreGetPermissions);
  EXPECT_EQ(call_of(mock::Call::kXsSetPermissions,
                    [&] { return store->set_permissions(top, Permissions::owned_by(0)); }),
            XenCall::kStoreSetPermissions);
}

TEST_F(StoreTest, AnErrorReadsLikeASentence) {
  EXPECT_EQ(to_string(XenError{XenCall::kGnttabMap, EINVAL, DomainId{7}}),
            "map grants (domain 7): Invalid argument (22)");
  EXPECT_EQ(to_string(XenError{XenCall::kStoreRead, ENOENT, std::nullopt}),
            "read a xenstore node: No such file or directory (2)");
}

}  // namespace
}  // namespace vmsg::xen
