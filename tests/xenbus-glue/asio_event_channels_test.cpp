// Event channels on an io_context: handlers that close ports, and everything under them.
#include "xenbus-glue/asio_event_channels.hpp"

#include <boost/asio/post.hpp>
#include <cerrno>
#include <optional>
#include <vector>

#include "tests/xenbus-glue/xen_world.hpp"

namespace vmsg::xen {
namespace {

class AsioEventChannelsTest : public XenWorld {
 protected:
  boost::asio::io_context context;
  std::vector<XenError> failures;
  EventChannels guest = in_domain(kGuest, [] { return opened(EventChannels::open()); });
  std::unique_ptr<AsioEventChannels> backend = in_domain(kBackend, [this] {
    return opened(AsioEventChannels::create(
        context, [this](const XenError& error) { failures.push_back(error); }));
  });

  struct Pair {
    Port guest;
    EventPort backend;
  };

  /// A connected pair; the event that binding raises has gone through `handler` if `settled`.
  Pair connect(AsioEventChannels::Handler handler) {
    auto unbound = guest.alloc_unbound(kBackend);
    EXPECT_TRUE(unbound.has_value());
    const auto remote = static_cast<RemotePort>(static_cast<std::uint32_t>(unbound->local()));
    auto bound = backend->bind_interdomain(kGuest, remote, std::move(handler));
    EXPECT_TRUE(bound.has_value());
    return {std::move(*unbound), std::move(*bound)};
  }

  /// Runs what is ready, until `done` holds. Every wait here is for an event that was raised.
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

TEST_F(AsioEventChannelsTest, EachPortHasItsHandler) {
  int first = 0;
  int second = 0;
  Pair one = connect([&] { ++first; });
  Pair two = connect([&] { ++second; });
  run_until([&] { return first == 1 && second == 1; });  // the events of the two binds

  ASSERT_TRUE(two.guest.notify().has_value());
  run_until([&] { return second == 2; });

  EXPECT_EQ(first, 1);
  EXPECT_EQ(backend->events(), 3U);
}

TEST_F(AsioEventChannelsTest, AHandlerNeverRunsFromInsideACall) {
  bool is_inside = true;
  bool was_inside = false;
  int events = 0;

  Pair pair = connect([&] {
    was_inside = was_inside || is_inside;
    ++events;
  });
  is_inside = false;

  run_until([&] { return events == 1; });
  EXPECT_FALSE(was_inside);
}

TEST_F(AsioEventChannelsTest, ANotifyDuringAHandlerIsNotLost) {
  int events = 0;
  std::optional<Pair> pair;
  pair = connect([&] {
    if (++events == 4) return;
    ASSERT_TRUE(pair->guest.notify().has_value());
  });

  run_until([&] { return events == 4; });
  pair.reset();
}

TEST_F(AsioEventChannelsTest, AHandlerMayCloseItsOwnPort) {
  int events = 0;
  std::optional<Pair> pair;
  auto token = std::make_shared<int>();
  const std::weak_ptr<int> alive = token;
  pair = connect([&, token = std::move(token)] {
    ++events;
    pair->backend.close();
    EXPECT_FALSE(alive.expired()) << "the handler is gone while it runs";
  });

  run_until([&] { return events == 1; });
  static_cast<void>(pair->guest.notify());
  context.restart();
  context.poll();

  EXPECT_EQ(events, 1);
  EXPECT_TRUE(alive.expired());
}

TEST_F(AsioEventChannelsTest, AHandlerMayDestroyEverything) {
  int events = 0;
  std::optional<Pair> pair;
  pair = connect([&] {
    ++events;
    pair.reset();
    backend.reset();
  });

  run_until([&] { return events == 1; });

  context.restart();
  context.poll();
  EXPECT_EQ(events, 1);
}

TEST_F(AsioEventChannelsTest, APortClosedWithItsEventQueuedStaysSilent) {
  int events = 0;
  Pair pair = connect([&] { ++events; });
  ASSERT_TRUE(pair.guest.notify().has_value());

  pair.backend.close();
  context.poll();

  EXPECT_EQ(events, 0);
}

TEST_F(AsioEventChannelsTest, DestroyedBeforeItsFirstTurnItLeavesNothingBehind) {
  backend.reset();

  EXPECT_NO_FATAL_FAILURE(context.poll());
  EXPECT_TRUE(failures.empty());
}

TEST_F(AsioEventChannelsTest, APeerThatNeverStopsDoesNotStarveTheLoop) {
  int events = 0;
  int others = 0;
  std::optional<Pair> pair;
  std::function<void()> other = [&] {
    ++others;
    if (others < 20) boost::asio::post(context, other);
  };
  pair = connect([&] {
    ++events;
    if (others == 20) return;
    ASSERT_TRUE(pair->guest.notify().has_value());  // every event makes the next
  });
  boost::asio::post(context, other);

  run_until([&] { return others == 20; });

  EXPECT_GT(events, 0);
  EXPECT_LE(events, 20 * 64 + 64);
}

TEST_F(AsioEventChannelsTest, AFailureIsToldOnceAndEndsTheEvents) {
  int events = 0;
  Pair pair = connect([&] { ++events; });
  run_until([&] { return events == 1; });
  fail(kBackend, mock::Call::kXenevtchnPending, EIO);

  ASSERT_TRUE(pair.guest.notify().has_value());
  run_until([&] { return !failures.empty(); });
  context.restart();
  context.poll();

  EXPECT_EQ(failures, (std::vector{XenError{XenCall::kEvtchnPending, EIO, std::nullopt}}));
  EXPECT_EQ(events, 1);
}

TEST_F(AsioEventChannelsTest, TheOwnerMayDestroyItWhenToldOfAFailure) {
  std::optional<Pair> pair;
  bool is_told = false;
  backend = in_domain(kBackend, [&] {
    return opened(AsioEventChannels::create(context, [&](const XenError&) {
      is_told = true;
      pair.reset();
      backend.reset();
    }));
  });
  pair = connect([] {});
  fail(kBackend, mock::Call::kXenevtchnUnmask, EIO);

  run_until([&] { return is_told; });

  EXPECT_EQ(backend, nullptr);
}

}  // namespace
}  // namespace vmsg::xen
