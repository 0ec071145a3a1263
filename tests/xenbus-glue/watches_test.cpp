// Watches in bounded memory: what a handler hears, and what it is spared.
#include "xenbus-glue/watches.hpp"

#include <poll.h>

#include <algorithm>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <optional>

#include "tests/xenbus-glue/xen_world.hpp"
#include "xenbus-glue/asio_watches.hpp"

namespace vmsg::xen {
namespace {

class WatchesTest : public XenWorld {
 protected:
  std::unique_ptr<Store> store = in_domain(kBackend, [] { return opened(Store::open()); });
  std::unique_ptr<Store> other = in_domain(kBackend, [] { return opened(Store::open()); });
  const Path top = *Path::parse("/test");

  /// Takes turns until `done` holds; waits for the descriptor in between.
  template <typename Done>
  void turn_until(Watches& watches, Done done) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      const auto more = watches.turn();
      ASSERT_TRUE(more.has_value());
      if (*more || done()) continue;
      pollfd ready{.fd = watches.fd(), .events = POLLIN, .revents = 0};
      static_cast<void>(::poll(&ready, 1, 50));
    }
    ASSERT_TRUE(done()) << "the event never came";
  }
};

struct Heard {
  int reports = 0;
  bool is_everything = false;
  std::vector<std::string> paths;

  Watches::Handler handler() {
    return [this](const WatchReport& report) {
      ++reports;
      is_everything = is_everything || report.is_everything;
      paths.insert(paths.end(), report.paths.begin(), report.paths.end());
    };
  }
};

TEST_F(WatchesTest, ANewWatchReportsItselfOnce) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  ASSERT_TRUE(watch.has_value());

  turn_until(watches, [&] { return heard.reports == 1; });

  EXPECT_EQ(heard.paths, std::vector<std::string>{"/test"});
}

TEST_F(WatchesTest, AChangeBelowIsReportedByItsPath) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });

  ASSERT_TRUE(other->write(top / "a" / "b", "1").has_value());
  turn_until(watches, [&] { return heard.reports == 2; });

  EXPECT_EQ(heard.paths.back(), "/test/a/b");
}

TEST_F(WatchesTest, ARelativeWatchReportsRelativePaths) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(Path::home("backend") / "virtio-msg", heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });

  ASSERT_TRUE(other->write(Path::domain(kBackend) / "backend" / "virtio-msg" / 3U, "").has_value());
  turn_until(watches, [&] { return heard.reports == 2; });

  EXPECT_EQ(heard.paths.back(), "backend/virtio-msg/3");
}

TEST_F(WatchesTest, SpecialWatchesTellOfDomains) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(Path::release_domain(), heard.handler());
  ASSERT_TRUE(watch.has_value());
  turn_until(watches, [&] { return heard.reports == 1; });

  xen.destroy_domain(kOther);
  turn_until(watches, [&] { return heard.reports == 2; });

  EXPECT_EQ(heard.paths.back(), "@releaseDomain");
  EXPECT_FALSE(*store->is_domain_introduced(kOther));
}

TEST_F(WatchesTest, AStormOnOneNodeIsOneReportAndOnePath) {
  Watches watches(*store, {.events_per_turn = 100000, .reports_per_turn = 10});
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });
  heard.paths.clear();

  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(other->write(top / "a", "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());  // an answer that comes after all those events
  ASSERT_TRUE(watches.turn().has_value());

  EXPECT_EQ(heard.reports, 2);
  EXPECT_EQ(heard.paths, std::vector<std::string>{"/test/a"});
  // xenstored itself leaves out an event that it has not yet delivered to a slow reader.
  EXPECT_LE(watches.metrics().merged, 999U);
}

TEST_F(WatchesTest, AStormOnManyNodesIsAskedToLookAtEverything) {
  Watches watches(*store, {.events_per_turn = 100000, .reports_per_turn = 10});
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });
  heard.paths.clear();

  for (unsigned i = 0; i < 200; ++i) ASSERT_TRUE(other->write(top / i, "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());
  ASSERT_TRUE(watches.turn().has_value());

  EXPECT_EQ(heard.reports, 2);
  EXPECT_TRUE(heard.is_everything);
  EXPECT_TRUE(heard.paths.empty());
}

TEST_F(WatchesTest, ExactlyAsManyPathsAsFitAreNamed) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });
  heard.paths.clear();

  for (unsigned i = 0; i < WatchReport::kMaxPaths; ++i) {
    ASSERT_TRUE(other->write(top / i, "x").has_value());
  }
  ASSERT_TRUE(store->exists(top).has_value());
  ASSERT_TRUE(watches.turn().has_value());

  EXPECT_FALSE(heard.is_everything);
  EXPECT_EQ(heard.paths.size(), WatchReport::kMaxPaths);
}

TEST_F(WatchesTest, ChangesBelowItsDepthAreOnePath) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(top, heard.handler(), 2);
  turn_until(watches, [&] { return heard.reports == 1; });
  EXPECT_EQ(heard.paths, std::vector<std::string>{"/test"});
  heard.paths.clear();

  for (unsigned i = 0; i < 100; ++i) {
    ASSERT_TRUE(other->write(top / "a" / "b" / i, "x").has_value());
  }
  ASSERT_TRUE(other->write(top / "c", "x").has_value());
  ASSERT_TRUE(other->write(top / "a" / "d", "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());
  ASSERT_TRUE(watches.turn().has_value());

  // xenstored tells of the parent that a write makes as well.
  EXPECT_FALSE(heard.is_everything);
  std::erase(heard.paths, "/test/a");
  EXPECT_EQ(heard.paths, (std::vector<std::string>{"/test/a/b", "/test/c", "/test/a/d"}));
}

TEST_F(WatchesTest, ARelativeWatchCutsRelativePaths) {
  Watches watches(*store);
  Heard heard;
  const auto watch = watches.watch(Path::home("backend") / "virtio-msg", heard.handler(), 1);
  turn_until(watches, [&] { return heard.reports == 1; });
  heard.paths.clear();

  const Path absolute = Path::domain(kBackend) / "backend" / "virtio-msg";
  ASSERT_TRUE(other->write(absolute / 3U / 0U / "state", "1").has_value());
  ASSERT_TRUE(store->exists(top).has_value());
  ASSERT_TRUE(watches.turn().has_value());

  EXPECT_EQ(heard.paths, std::vector<std::string>{"backend/virtio-msg/3"});
}

TEST_F(WatchesTest, ATurnTakesNoMoreThanItsLimitAndSaysThatThereIsMore) {
  Watches watches(*store, {.events_per_turn = 10, .reports_per_turn = 10});
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });
  const std::uint64_t before = watches.metrics().events;
  for (int i = 0; i < 25; ++i) ASSERT_TRUE(other->write(top / "a", "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());

  EXPECT_EQ(watches.turn(), true);
  EXPECT_EQ(watches.metrics().events, before + 10);
  EXPECT_EQ(watches.turn(), true);
  EXPECT_EQ(watches.turn(), false);
  EXPECT_EQ(watches.metrics().events, before + 25);
}

TEST_F(WatchesTest, ANoisyWatchDoesNotKeepAnotherFromItsReport) {
  Watches watches(*store, {.events_per_turn = 100000, .reports_per_turn = 1});
  Heard noisy;
  Heard quiet;
  const auto first = watches.watch(top / "noisy", noisy.handler());
  const auto second = watches.watch(top / "quiet", quiet.handler());
  turn_until(watches, [&] { return noisy.reports == 1 && quiet.reports == 1; });

  for (int i = 0; i < 100; ++i) ASSERT_TRUE(other->write(top / "noisy", "x").has_value());
  ASSERT_TRUE(other->write(top / "quiet", "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());

  EXPECT_EQ(watches.turn(), true);
  EXPECT_EQ(watches.turn(), false);
  EXPECT_EQ(noisy.reports, 2);
  EXPECT_EQ(quiet.reports, 2);
}

TEST_F(WatchesTest, ACancelledWatchIsNotHeardOfAgain) {
  Watches watches(*store);
  Heard heard;
  auto watch = watches.watch(top, heard.handler());
  turn_until(watches, [&] { return heard.reports == 1; });
  ASSERT_TRUE(other->write(top / "a", "1").has_value());
  ASSERT_TRUE(store->exists(top).has_value());

  watch->cancel();
  ASSERT_TRUE(watches.turn().has_value());

  EXPECT_EQ(heard.reports, 1);
  EXPECT_EQ(watches.size(), 0U);
}

TEST_F(WatchesTest, AWatchCancelledWithItsReportDueIsNotReported) {
  Watches watches(*store, {.events_per_turn = 100, .reports_per_turn = 1});
  Heard first;
  Heard second;
  auto one = watches.watch(top / "a", first.handler());
  auto two = watches.watch(top / "b", second.handler());
  ASSERT_TRUE(store->exists(top).has_value());  // an answer that comes after both first events
  EXPECT_EQ(watches.turn(), true);              // one was reported, the other has to wait
  EXPECT_EQ(first.reports, 1);

  two->cancel();
  while (*watches.turn()) {
  }

  EXPECT_EQ(second.reports, 0);
}

TEST_F(WatchesTest, AHandlerMayCancelItselfAndSetAnother) {
  Watches watches(*store);
  Heard next;
  Result<Watch, XenError> second = std::unexpected(XenError{});
  Result<Watch, XenError> first = std::unexpected(XenError{});
  first = watches.watch(top, [&](const WatchReport&) {
    first->cancel();
    second = watches.watch(top / "next", next.handler());
  });

  turn_until(watches, [&] { return next.reports == 1; });

  EXPECT_EQ(watches.size(), 1U);
}

TEST_F(WatchesTest, TwoWatchesOnOneNodeBothHear) {
  Watches watches(*store);
  Heard one;
  Heard two;
  const auto first = watches.watch(top, one.handler());
  const auto second = watches.watch(top, two.handler());

  turn_until(watches, [&] { return one.reports == 1 && two.reports == 1; });
}

TEST_F(WatchesTest, AWatchThatIsRefusedIsAnError) {
  Watches watches(*store);
  fail(kBackend, mock::Call::kXsWatch, ENOSPC);

  EXPECT_EQ(watches.watch(top, [](const WatchReport&) {}).error(),
            (XenError{XenCall::kStoreWatch, ENOSPC, std::nullopt}));
  EXPECT_EQ(watches.size(), 0U);
}

TEST_F(WatchesTest, AReadThatFailsIsAnError) {
  Watches watches(*store);
  fail(kBackend, mock::Call::kXsCheckWatch, EIO);

  EXPECT_EQ(watches.turn().error(), (XenError{XenCall::kStoreReadWatch, EIO, std::nullopt}));
}

// ---- on a loop ----------------------------------------------------------------------------------

class AsioWatchesTest : public WatchesTest {
 protected:
  boost::asio::io_context context;

  template <typename Done>
  void run_until(Done done) {
    const auto deadline = std::chrono::steady_clock::now() + kDeadline;
    while (!done() && std::chrono::steady_clock::now() < deadline) {
      context.restart();
      context.run_one_for(std::chrono::milliseconds(50));
    }
    ASSERT_TRUE(done()) << "the event never came";
  }
};

TEST_F(AsioWatchesTest, HearsFromTheLoop) {
  std::vector<XenError> failures;
  AsioWatches watches(context, *store, [&](const XenError& error) { failures.push_back(error); });
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  run_until([&] { return heard.reports == 1; });

  ASSERT_TRUE(other->write(top / "a", "1").has_value());
  run_until([&] { return heard.reports == 2; });

  EXPECT_EQ(heard.paths.back(), "/test/a");
  EXPECT_TRUE(failures.empty());
}

TEST_F(AsioWatchesTest, BetweenTwoTurnsOthersHaveTheirs) {
  AsioWatches watches(context, *store, nullptr, {.events_per_turn = 1, .reports_per_turn = 1});
  Heard heard;
  const auto watch = watches.watch(top, heard.handler());
  run_until([&] { return heard.reports == 1; });
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(other->write(top / "a", "x").has_value());
  ASSERT_TRUE(store->exists(top).has_value());
  int seen_by_other = 0;
  std::function<void()> look = [&] {
    seen_by_other = heard.reports;
    if (seen_by_other < 5) boost::asio::post(context, look);
  };

  boost::asio::post(context, look);
  run_until([&] { return heard.reports >= 11; });

  EXPECT_EQ(seen_by_other, 5);
}

TEST_F(AsioWatchesTest, GoneBeforeItsFirstTurnItLeavesNothingBehind) {
  {
    AsioWatches watches(context, *store, nullptr);
  }

  EXPECT_NO_FATAL_FAILURE(context.poll());
}

TEST_F(AsioWatchesTest, AFailureIsToldOnceAndTheOwnerMayDestroyIt) {
  int failures = 0;
  std::optional<AsioWatches> watches;
  std::optional<Watch> watch;
  watches.emplace(context, *store, [&](const XenError& error) {
    EXPECT_EQ(error, (XenError{XenCall::kStoreReadWatch, EIO, std::nullopt}));
    ++failures;
    watch.reset();
    watches.reset();
  });
  fail(kBackend, mock::Call::kXsCheckWatch, EIO);
  watch = std::move(*watches->watch(top, [](const WatchReport&) {}));

  run_until([&] { return failures == 1; });

  EXPECT_FALSE(watches.has_value());
}

}  // namespace
}  // namespace vmsg::xen
