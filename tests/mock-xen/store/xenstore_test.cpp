// The C interface of the mock libxenstore, through a broker: who frees what, errno, the event
// descriptor, threads. What the store does with requests is in the transcripts.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/mock-xen/mock_xen.hpp"

extern "C" {
#include <xenstore.h>
}

namespace vmsg::mock {
namespace {

using testing::IsEmpty;

constexpr int kPatienceMs = 10000;

struct FreeIt {
  void operator()(void* bytes) const { std::free(bytes); }
};
using Bytes = std::unique_ptr<char, FreeIt>;
using Strings = std::unique_ptr<char*, FreeIt>;

struct CloseIt {
  void operator()(xs_handle* handle) const { xs_close(handle); }
};
using Handle = std::unique_ptr<xs_handle, CloseIt>;

bool is_readable(int fd, int patience_ms = 0) {
  pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
  return ::poll(&waiting, 1, patience_ms) == 1;
}

class Xenstore : public testing::Test {
 protected:
  Xenstore() {
    xen.create_domain(3);
    store = open(0);
  }

  void TearDown() override {
    store.reset();
    EXPECT_THAT(xen.what_is_left(), IsEmpty());
  }

  Handle open(std::uint32_t domid, unsigned long flags = 0) {
    const ScopedEndpoint scope = xen.as_domain(domid);
    Handle handle(xs_open(flags));
    EXPECT_NE(handle, nullptr);
    return handle;
  }

  static bool write(const Handle& handle, const std::string& path, const std::string& value,
                    xs_transaction_t transaction = XBT_NULL) {
    return xs_write(handle.get(), transaction, path.c_str(), value.data(),
                    static_cast<unsigned int>(value.size()));
  }
  /// The value, or the name of the error.
  static std::string read(const Handle& handle, const std::string& path,
                          xs_transaction_t transaction = XBT_NULL) {
    unsigned int length = 0;
    const Bytes value(
        static_cast<char*>(xs_read(handle.get(), transaction, path.c_str(), &length)));
    return value ? std::string(value.get(), length) : ::strerrorname_np(errno);
  }
  /// "path token" of the next event, waiting for it.
  static std::string next_event(const Handle& handle) {
    unsigned int count = 0;
    const Strings event(xs_read_watch(handle.get(), &count));
    if (!event) return ::strerrorname_np(errno);
    EXPECT_EQ(count, 2u);
    return std::string(event.get()[XS_WATCH_PATH]) + " " + event.get()[XS_WATCH_TOKEN];
  }
  /// The same if one is queued, else the name of the error.
  static std::string check_event(const Handle& handle) {
    const Strings event(xs_check_watch(handle.get()));
    if (!event) return ::strerrorname_np(errno);
    return std::string(event.get()[XS_WATCH_PATH]) + " " + event.get()[XS_WATCH_TOKEN];
  }

  MockXen xen;
  Handle store;
};

// --- Values and lists.

TEST_F(Xenstore, ValuesAreBinaryAndTerminatedBehindTheirEnd) {
  const std::string value("a\0b\0", 4);
  ASSERT_TRUE(write(store, "/t", value));

  unsigned int length = 0;
  const Bytes bytes(static_cast<char*>(xs_read(store.get(), XBT_NULL, "/t", &length)));
  ASSERT_NE(bytes, nullptr);
  EXPECT_EQ(std::string(bytes.get(), length), value);
  EXPECT_EQ(bytes.get()[length], '\0');
}

TEST_F(Xenstore, TheLengthMayBeLeftOut) {
  ASSERT_TRUE(write(store, "/t", "value"));

  const Bytes bytes(static_cast<char*>(xs_read(store.get(), XBT_NULL, "/t", nullptr)));
  EXPECT_STREQ(bytes.get(), "value");
}

TEST_F(Xenstore, AnEmptyValueIsNoError) {
  ASSERT_TRUE(xs_write(store.get(), XBT_NULL, "/t", nullptr, 0));

  unsigned int length = 7;
  const Bytes bytes(static_cast<char*>(xs_read(store.get(), XBT_NULL, "/t", &length)));
  ASSERT_NE(bytes, nullptr);
  EXPECT_EQ(length, 0u);
}

TEST_F(Xenstore, AnEmptyDirectoryIsAnEmptyListAndNoError) {
  ASSERT_TRUE(xs_mkdir(store.get(), XBT_NULL, "/t"));

  unsigned int count = 7;
  const Strings names(xs_directory(store.get(), XBT_NULL, "/t", &count));
  EXPECT_NE(names, nullptr);
  EXPECT_EQ(count, 0u);
}

TEST_F(Xenstore, AMissingDirectoryIsAnError) {
  unsigned int count = 7;
  const Strings names(xs_directory(store.get(), XBT_NULL, "/t", &count));
  EXPECT_EQ(names, nullptr);
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(Xenstore, ADirectoryOfSeveralRepliesIsOneList) {
  for (int i = 0; i < 1000; ++i) {
    ASSERT_TRUE(xs_mkdir(store.get(), XBT_NULL, ("/t/child-" + std::to_string(i)).c_str()));
  }

  unsigned int count = 0;
  const Strings names(xs_directory(store.get(), XBT_NULL, "/t", &count));
  ASSERT_NE(names, nullptr);
  ASSERT_EQ(count, 1000u);
  EXPECT_STREQ(names.get()[0], "child-0");
  EXPECT_STREQ(names.get()[500], "child-500");
  EXPECT_STREQ(names.get()[999], "child-999");
}

TEST_F(Xenstore, PermissionsComeBackAsTheyWereSet) {
  ASSERT_TRUE(write(store, "/t", "x"));
  xs_permissions set[] = {{.id = 0, .perms = XS_PERM_NONE},
                          {.id = 3, .perms = XS_PERM_READ | XS_PERM_WRITE}};
  ASSERT_TRUE(xs_set_permissions(store.get(), XBT_NULL, "/t", set, 2));

  unsigned int count = 0;
  const std::unique_ptr<xs_permissions, FreeIt> got(
      xs_get_permissions(store.get(), XBT_NULL, "/t", &count));
  ASSERT_EQ(count, 2u);
  EXPECT_EQ(got.get()[0].id, 0u);
  EXPECT_EQ(got.get()[0].perms, static_cast<unsigned>(XS_PERM_NONE));
  EXPECT_EQ(got.get()[1].id, 3u);
  EXPECT_EQ(got.get()[1].perms, static_cast<unsigned>(XS_PERM_READ | XS_PERM_WRITE));
}

TEST_F(Xenstore, APermissionWithoutALetterIsRefused) {
  ASSERT_TRUE(write(store, "/t", "x"));
  xs_permissions set[] = {{.id = 0, .perms = XS_PERM_OWNER}};

  EXPECT_FALSE(xs_set_permissions(store.get(), XBT_NULL, "/t", set, 1));
  EXPECT_EQ(errno, EINVAL);
}

TEST_F(Xenstore, ARequestOverTheLimitIsRefusedAndTheConnectionGoesOn) {
  EXPECT_TRUE(write(store, "/t", std::string(4093, 'x')));
  EXPECT_FALSE(write(store, "/t", std::string(4094, 'x')));
  EXPECT_EQ(errno, E2BIG);

  EXPECT_EQ(read(store, "/t").size(), 4093u);
}

TEST_F(Xenstore, ErrnoIsTheStores) {
  const Handle guest = open(3);
  EXPECT_EQ(read(guest, "/local/domain/0/name"), "EACCES");
  EXPECT_EQ(read(guest, "nothing"), "ENOENT");
  EXPECT_EQ(read(guest, "a//b"), "EINVAL");
  EXPECT_EQ(read(store, "/tool", 99), "ENOENT");
}

// --- Transactions.

TEST_F(Xenstore, ATransactionThatConflictsEndsWithEagain) {
  const Handle other = open(0);
  const xs_transaction_t transaction = xs_transaction_start(store.get());
  ASSERT_NE(transaction, static_cast<xs_transaction_t>(XBT_NULL));
  ASSERT_EQ(read(store, "/t", transaction), "ENOENT");
  ASSERT_TRUE(write(other, "/t", "x"));

  EXPECT_FALSE(xs_transaction_end(store.get(), transaction, false));
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(Xenstore, AnAbortedTransactionLeavesNothing) {
  const xs_transaction_t transaction = xs_transaction_start(store.get());
  ASSERT_TRUE(write(store, "/t", "x", transaction));

  EXPECT_TRUE(xs_transaction_end(store.get(), transaction, true));
  EXPECT_EQ(read(store, "/t"), "ENOENT");
}

// --- Watches.

TEST_F(Xenstore, TheDescriptorIsReadableWhileEventsAreQueued) {
  const int fd = xs_fileno(store.get());
  ASSERT_GE(fd, 0);
  EXPECT_FALSE(is_readable(fd));

  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  EXPECT_TRUE(is_readable(fd, kPatienceMs));
  EXPECT_EQ(check_event(store), "/t token");
  EXPECT_FALSE(is_readable(fd));
  EXPECT_EQ(check_event(store), "EAGAIN");

  // The events of one's own change are there before the change is acknowledged.
  ASSERT_TRUE(write(store, "/t/a", "x"));
  ASSERT_TRUE(write(store, "/t/b", "x"));
  EXPECT_TRUE(is_readable(fd));
  EXPECT_EQ(check_event(store), "/t/a token");
  EXPECT_TRUE(is_readable(fd));
  EXPECT_EQ(check_event(store), "/t/b token");
  EXPECT_FALSE(is_readable(fd));
}

TEST_F(Xenstore, ADescriptorAskedForLateIsReadableForWhatIsQueued) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  ASSERT_TRUE(write(store, "/t", "x"));

  EXPECT_TRUE(is_readable(xs_fileno(store.get()), kPatienceMs));
}

TEST_F(Xenstore, TheDescriptorStaysTheSameAndIsNotInherited) {
  const int fd = xs_fileno(store.get());

  EXPECT_EQ(xs_fileno(store.get()), fd);
  EXPECT_EQ(::fcntl(fd, F_GETFD), FD_CLOEXEC);
}

TEST_F(Xenstore, ReadWatchWaitsForAnother) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  ASSERT_EQ(next_event(store), "/t token");

  std::thread writer([this] { EXPECT_TRUE(write(open(0), "/t", "x")); });
  EXPECT_EQ(next_event(store), "/t token");
  writer.join();
}

TEST_F(Xenstore, GuestsWatchRelativePaths) {
  const Handle guest = open(3);
  ASSERT_TRUE(xs_watch(guest.get(), "data", "token"));
  ASSERT_EQ(next_event(guest), "data token");

  ASSERT_TRUE(write(store, "/local/domain/3/data/a", "x"));
  EXPECT_EQ(next_event(guest), "data/a token");
}

TEST_F(Xenstore, SpecialWatchesFireForDomains) {
  ASSERT_TRUE(xs_watch(store.get(), "@introduceDomain", "i"));
  ASSERT_TRUE(xs_watch(store.get(), "@releaseDomain", "r"));
  ASSERT_EQ(next_event(store), "@introduceDomain i");
  ASSERT_EQ(next_event(store), "@releaseDomain r");

  xen.create_domain(4);
  EXPECT_EQ(next_event(store), "@introduceDomain i");
  EXPECT_TRUE(xs_is_domain_introduced(store.get(), 4));

  xen.destroy_domain(4);
  EXPECT_EQ(next_event(store), "@releaseDomain r");
  EXPECT_FALSE(xs_is_domain_introduced(store.get(), 4));
}

TEST_F(Xenstore, AnUnwatchLeavesWhatIsQueued) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  ASSERT_TRUE(xs_unwatch(store.get(), "/t", "token"));

  EXPECT_EQ(next_event(store), "/t token");
  EXPECT_FALSE(xs_unwatch(store.get(), "/t", "token"));
  EXPECT_EQ(errno, ENOENT);
}

TEST_F(Xenstore, AFilteringHandleDropsWhatIsQueued) {
  const Handle filtering = open(0, XS_UNWATCH_FILTER);
  const int fd = xs_fileno(filtering.get());
  ASSERT_TRUE(xs_watch(filtering.get(), "/t", "a"));
  ASSERT_TRUE(xs_watch(filtering.get(), "/t", "b"));
  ASSERT_TRUE(xs_watch(filtering.get(), "/u", "a"));
  ASSERT_TRUE(write(filtering, "/t/x", "x"));

  ASSERT_TRUE(xs_unwatch(filtering.get(), "/t", "a"));
  EXPECT_EQ(next_event(filtering), "/t b");
  EXPECT_EQ(next_event(filtering), "/u a");
  EXPECT_EQ(next_event(filtering), "/t/x b");
  EXPECT_EQ(check_event(filtering), "EAGAIN");

  ASSERT_TRUE(xs_unwatch(filtering.get(), "/t", "b"));
  EXPECT_FALSE(is_readable(fd));
}

TEST_F(Xenstore, AFloodOfEventsIsQueuedInOrder) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  ASSERT_EQ(next_event(store), "/t token");
  for (int i = 0; i < 5000; ++i) ASSERT_TRUE(write(store, "/t/" + std::to_string(i), ""));

  for (int i = 0; i < 5000; ++i) {
    ASSERT_EQ(check_event(store), "/t/" + std::to_string(i) + " token");
  }
  EXPECT_EQ(check_event(store), "EAGAIN");
}

// --- Threads, processes, the end of the world.

TEST_F(Xenstore, ThreadsShareAHandle) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  constexpr int kThreads = 4;
  constexpr int kRounds = 200;
  std::atomic<int> failures = 0;

  std::vector<std::thread> threads;
  threads.reserve(kThreads);
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t, &failures] {
      for (int i = 0; i < kRounds; ++i) {
        const std::string path = "/t/" + std::to_string(t);
        const std::string value = std::to_string(t) + "-" + std::to_string(i);
        if (!write(store, path, value) || read(store, path) != value) ++failures;
      }
    });
  }
  // One event for the watch itself and one for each write.
  for (int i = 0; i < 1 + kThreads * kRounds; ++i)
    ASSERT_THAT(next_event(store), testing::EndsWith(" token"));
  for (std::thread& thread : threads) thread.join();

  EXPECT_EQ(failures, 0);
  EXPECT_EQ(check_event(store), "EAGAIN");
}

TEST_F(Xenstore, ClosingAHandleTakesItsWatchesAndTransactions) {
  Handle guest = open(3);
  ASSERT_TRUE(xs_watch(guest.get(), "data", "token"));
  ASSERT_NE(xs_transaction_start(guest.get()), static_cast<xs_transaction_t>(XBT_NULL));
  EXPECT_FALSE(xen.what_is_left(3).empty());

  guest.reset();
  EXPECT_THAT(xen.what_is_left(3), IsEmpty());
}

TEST_F(Xenstore, AChildThrowsItsCopyAway) {
  ASSERT_TRUE(xs_watch(store.get(), "/t", "token"));
  ASSERT_EQ(next_event(store), "/t token");

  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    xs_daemon_destroy_postfork(store.get());
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);

  ASSERT_TRUE(write(store, "/t", "x"));
  EXPECT_EQ(next_event(store), "/t token");
}

TEST_F(Xenstore, AHandleOfADestroyedDomainIsBroken) {
  xen.create_domain(4);
  const Handle guest = open(4);
  ASSERT_TRUE(xs_watch(guest.get(), "data", "token"));
  ASSERT_EQ(next_event(guest), "data token");

  xen.destroy_domain(4);

  EXPECT_EQ(next_event(guest), "EINVAL");
  EXPECT_EQ(read(guest, "data"), "EBADF");
  EXPECT_EQ(check_event(guest), "EINVAL");
}

TEST_F(Xenstore, AHandleNobodyReadsFindsOutAtItsNextRequest) {
  xen.create_domain(4);
  const Handle guest = open(4);
  ASSERT_EQ(read(guest, "data"), "");

  xen.destroy_domain(4);

  // No thread reads this handle: the first request finds out.
  EXPECT_THAT(read(guest, "data"), testing::AnyOf("EPIPE", "EBADF", "ECONNRESET"));
  EXPECT_EQ(read(guest, "data"), "EBADF");
}

// --- The rest of the header.

TEST_F(Xenstore, SaysWhereDomainsLive) {
  const Bytes path(xs_get_domain_path(store.get(), 7));
  EXPECT_STREQ(path.get(), "/local/domain/7");
}

TEST_F(Xenstore, RestrictAlwaysFails) {
  EXPECT_FALSE(xs_restrict(store.get(), 3));
  EXPECT_EQ(errno, ENOSYS);
}

TEST_F(Xenstore, TheSuspendPortIsReadFromTheStore) {
  const ScopedEndpoint scope = xen.as_domain(0);
  EXPECT_EQ(xs_suspend_evtchn_port(9), -1);

  ASSERT_TRUE(write(store, "/local/domain/3/device/suspend/event-channel", "12"));
  EXPECT_EQ(xs_suspend_evtchn_port(3), 12);
}

TEST_F(Xenstore, ControlCommandsAreForDomainZero) {
  const Handle guest = open(3);
  const Bytes checked(xs_control_command(store.get(), "check", nullptr, 0));
  EXPECT_STREQ(checked.get(), "OK");

  EXPECT_EQ(xs_control_command(guest.get(), "check", nullptr, 0), nullptr);
  EXPECT_EQ(errno, EACCES);
}

TEST(XenstorePaths, AreComparedAsStrings) {
  EXPECT_TRUE(xs_path_is_subpath("/a", "/a/b"));
  EXPECT_TRUE(xs_path_is_subpath("/a", "/a"));
  EXPECT_FALSE(xs_path_is_subpath("/a", "/ab"));
  EXPECT_FALSE(xs_path_is_subpath("/a/b", "/a"));
  EXPECT_FALSE(xs_path_is_subpath("/", "/a"));
  EXPECT_TRUE(xs_path_is_subpath("a", "a/b"));
}

TEST(XenstorePermissions, AreParsedLetterAndNumber) {
  xs_permissions parsed[2] = {};
  ASSERT_TRUE(xs_strings_to_perms(parsed, 2, "r3\0b0x10\0"));
  EXPECT_EQ(parsed[0].id, 3u);
  EXPECT_EQ(parsed[0].perms, static_cast<unsigned>(XS_PERM_READ));
  EXPECT_EQ(parsed[1].id, 16u);

  EXPECT_FALSE(xs_strings_to_perms(parsed, 1, "q3"));
  EXPECT_EQ(errno, EINVAL);
  EXPECT_FALSE(xs_strings_to_perms(parsed, 1, "r"));
  EXPECT_FALSE(xs_strings_to_perms(parsed, 1, "r3x"));
}

TEST_F(Xenstore, EveryFailureIsReportedAndLeavesNothing) {
  // The handle of the fixture is domain 0's and not affected.
  const auto scenario = [this] {
    const ScopedEndpoint scope = xen.as_domain(3);
    const Handle guest(xs_open(0));
    if (!guest) return;
    if (!xs_watch(guest.get(), "data", "token")) return;
    const xs_transaction_t transaction = xs_transaction_start(guest.get());
    if (transaction != XBT_NULL) {
      write(guest, "data/a", "x", transaction);
      read(guest, "data/a", transaction);
      if (!xs_transaction_end(guest.get(), transaction, false)) {
        xs_transaction_end(guest.get(), transaction, true);
      }
    }
    unsigned int count = 0;
    const Strings names(xs_directory(guest.get(), XBT_NULL, "data", &count));
    xs_unwatch(guest.get(), "data", "token");
  };
  store.reset();
  EXPECT_GE(for_each_failure(xen, 3, EIO, scenario), 7u);
}

}  // namespace
}  // namespace vmsg::mock
