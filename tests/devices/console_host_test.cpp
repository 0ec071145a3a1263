// What a console does with the terminals, sockets and files of its host: who listens, who does not,
// and what becomes of the bytes then.
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <string>

#include "tests/devices/console_fixture.hpp"

namespace vmsg::console {
namespace {

using test::connect_to;
using test::ConsoleBench;
using test::contents;
using test::kReceive;
using test::kTransmit;
using test::open_terminal;
using test::pattern;
using test::read_some;

class ConsoleHost : public test::ConsoleFixture {};

// ---- nobody listens -----------------------------------------------------------------------------

TEST_F(ConsoleHost, NobodyListensAndTheGuestGoesOn) {
  start({{"backlog", "4096"}});
  const std::string text = pattern(40'960);

  EXPECT_TRUE(send_all(text, 1024, 40));

  EXPECT_EQ(bench_->number("dropped-output-bytes"), text.size() - 4096);
}

TEST_F(ConsoleHost, WhoComesLateSeesTheLatest) {
  start({{"backlog", "4096"}});
  const std::string text = pattern(40'960);
  ASSERT_TRUE(send_all(text, 1024, 40));

  const FileDescriptor terminal = attach();

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(terminal, seen) && seen.size() >= 4096; }));
  EXPECT_TRUE(seen == text.substr(text.size() - 4096));
}

TEST_F(ConsoleHost, ABufferLargerThanTheBacklogKeepsItsEnd) {
  start({{"backlog", "4096"}});
  const std::string text = pattern(20'000);
  bench_->send(kTransmit, text);
  ASSERT_TRUE(bench_->run_until([&] { return bench_->driver(kTransmit).poll().has_value(); }));

  const FileDescriptor terminal = attach();

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(terminal, seen) && seen.size() >= 4096; }));
  EXPECT_TRUE(seen == text.substr(text.size() - 4096));
}

TEST_F(ConsoleHost, WhoLeavesATerminalDoesNotHoldUpTheGuest) {
  start({{"backlog", "4096"}});
  {
    const FileDescriptor terminal = attach();
  }

  EXPECT_TRUE(send_all(pattern(409'600), 4096, 100));
}

// ---- somebody listens ---------------------------------------------------------------------------

TEST_F(ConsoleHost, ASlowListenerMakesTheGuestWaitAndLosesNothing) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}, {"backlog", "4096"}, {"patience", "0"}});
  const FileDescriptor client = connect_to(path);
  const std::string text = pattern(1 << 20);
  bench_->settle();

  // Far more than the socket and the backlog hold: it stops.
  EXPECT_FALSE(send_all(text, 8192, 128));
  const std::size_t on_the_way = bench_->number("transmit-bytes");
  EXPECT_LT(on_the_way, text.size());

  std::string seen;
  EXPECT_TRUE(
      bench_->run_until([&] { return read_some(client, seen) && seen.size() >= on_the_way; }));
  EXPECT_TRUE(text.starts_with(seen));
  EXPECT_EQ(bench_->number("dropped-output-bytes"), 0U);
}

TEST_F(ConsoleHost, AListenerThatTakesNothingIsWaitedForSoLong) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}, {"backlog", "4096"}, {"patience", "3"}});
  const FileDescriptor client = connect_to(path);
  bench_->settle();
  const std::string text = pattern(4 << 20);

  // The bench lets time pass while nothing happens.
  EXPECT_TRUE(send_all(text, 8192, 512));
  EXPECT_GT(bench_->number("dropped-output-bytes"), 0U);

  // And once it takes something again it is a listener again, with the latest first.
  std::string seen;
  EXPECT_TRUE(bench_->run_until(
      [&] { return read_some(client, seen) && seen.ends_with(text.substr(text.size() - 4096)); }));
}

TEST_F(ConsoleHost, InputWaitsForTheGuestsBuffers) {
  start();
  const FileDescriptor terminal = attach();
  const std::string text = pattern(3000);
  // It may take less at a time.
  std::size_t typed = 0;
  ASSERT_TRUE(bench_->run_until([&] {
    const auto size = write(terminal.get(), text.data() + typed, text.size() - typed);
    if (size > 0) typed += static_cast<std::size_t>(size);
    return typed == text.size();
  }));
  bench_->settle();

  std::string seen;
  for (int i = 0; i < 8; ++i) bench_->offer(kReceive, 375);
  EXPECT_TRUE(bench_->run_until([&] {
    const std::string got = bench_->received(kReceive);
    seen += got;
    if (seen.size() >= text.size()) return true;
    // A terminal may hand its input over in pieces, each of which takes a buffer of its own.
    if (!got.empty()) bench_->offer(kReceive, 375);
    return false;
  }));
  EXPECT_TRUE(seen == text);
}

TEST_F(ConsoleHost, WhatWasTypedBeforeLeavingArrives) {
  start();
  {
    const FileDescriptor terminal = open_terminal(bench_->fact("tty"));
    ASSERT_EQ(write(terminal.get(), "reboot\n", 7), 7);
  }
  bench_->offer(kReceive, 64);
  bench_->advance(kSecond);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] {
    seen += bench_->received(kReceive);
    return seen == "reboot\n";
  }));
}

TEST_F(ConsoleHost, TheLinkLeadsToTheTerminalAndGoesWithIt) {
  const std::string link = folder_.path("console");
  start({{"link", link}});

  EXPECT_EQ(std::filesystem::read_symlink(link), bench_->fact("tty"));
  EXPECT_EQ(bench_->fact("link"), link);
  bench_.reset();
  EXPECT_FALSE(std::filesystem::is_symlink(link));
}

TEST_F(ConsoleHost, ALinkNeverTakesThePlaceOfAFile) {
  const std::string path = folder_.path("precious");
  {
    const FileDescriptor file(creat(path.c_str(), 0600));
  }

  const auto device = ConsoleDevice::create(*parse_options({{"link", path}}));

  ASSERT_FALSE(device.has_value());
  EXPECT_EQ(device.error(), "port 0: link=" + path + ": there is something that is no link");
}

TEST_F(ConsoleHost, ALinkOfAKilledProcessIsTakenBackAndNoOther) {
  const std::string leftover = folder_.path("console");
  const std::string elsewhere = folder_.path("elsewhere");
  const std::string file = folder_.path("file");
  std::filesystem::create_symlink("/dev/pts/4000", leftover);
  std::filesystem::create_symlink("/dev/null", elsewhere);
  {
    const FileDescriptor made(creat(file.c_str(), 0600));
  }

  remove_leftovers(*parse_options({{"ports", "4"},
                                   {"link", leftover},
                                   {"port1", "pty"},
                                   {"port1-link", elsewhere},
                                   {"port2", "pty"},
                                   {"port2-link", file},
                                   {"port3", "pty"},
                                   {"port3-link", folder_.path("nothing")}}));

  EXPECT_FALSE(std::filesystem::is_symlink(leftover));
  EXPECT_TRUE(std::filesystem::is_symlink(elsewhere));
  EXPECT_TRUE(std::filesystem::is_regular_file(file));
}

// ---- sockets ------------------------------------------------------------------------------------

TEST_F(ConsoleHost, OneClientAtATimeAndTheNextOneWaits) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});
  FileDescriptor first = connect_to(path);
  bench_->settle();
  const FileDescriptor second = connect_to(path);
  bench_->send(kTransmit, "one");
  std::string seen;
  ASSERT_TRUE(bench_->run_until([&] { return read_some(first, seen) && seen == "one"; }));

  first = FileDescriptor();
  bench_->settle();
  bench_->send(kTransmit, "two");

  std::string seen_by_second;
  EXPECT_TRUE(bench_->run_until([&] {
    return read_some(second, seen_by_second) && seen_by_second == "two";
  })) << seen_by_second;
}

TEST_F(ConsoleHost, WhatAClientSentBeforeItLeftArrives) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});
  {
    const FileDescriptor client = connect_to(path);
    ASSERT_EQ(write(client.get(), "halt\n", 5), 5);
  }
  bench_->offer(kReceive, 3);
  bench_->offer(kReceive, 3);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] {
    seen += bench_->received(kReceive);
    return seen == "halt\n";
  }));
}

TEST_F(ConsoleHost, InputThatNobodyReadsGivesWayToTheNextClient) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});
  {
    const FileDescriptor client = connect_to(path);
    ASSERT_EQ(write(client.get(), "halt\n", 5), 5);
    bench_->settle();
  }
  bench_->settle();
  const FileDescriptor next = connect_to(path);
  bench_->send(kTransmit, "hello");

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(next, seen) && seen == "hello"; }));
  EXPECT_EQ(bench_->number("dropped-input-bytes"), 5U);
}

TEST_F(ConsoleHost, AClientThatOnlyListensGoesOnListening) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});
  const FileDescriptor client = connect_to(path);
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  bench_->offer(kReceive, 16);
  bench_->settle();

  bench_->send(kTransmit, "hello");

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(client, seen) && seen == "hello"; }));
}

TEST_F(ConsoleHost, AClientThatOnlyListenedMakesRoomWhenItLeaves) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});
  FileDescriptor client = connect_to(path);
  ASSERT_EQ(shutdown(client.get(), SHUT_WR), 0);
  bench_->settle();
  client = FileDescriptor();
  const FileDescriptor next = connect_to(path);
  bench_->advance(kSecond);
  bench_->settle();

  bench_->send(kTransmit, "hello");

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(next, seen) && seen == "hello"; }));
}

TEST_F(ConsoleHost, ASocketIsItsOwnersAndGoesWithTheDevice) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});

  struct stat state{};
  ASSERT_EQ(stat(path.c_str(), &state), 0);
  EXPECT_EQ(state.st_mode & 0777U, 0600U);
  bench_.reset();
  EXPECT_NE(stat(path.c_str(), &state), 0);
}

TEST_F(ConsoleHost, ASocketThatWasLeftBehindIsTakenAndALiveOneIsNot) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}});

  const auto second = ConsoleDevice::create(*parse_options({{"output", "unix:" + path}}));
  ASSERT_FALSE(second.has_value());
  EXPECT_EQ(second.error(), "port 0: cannot listen on " + path + ": Address already in use");

  const std::string stale = folder_.path("stale");
  {
    // A hard link keeps the name when the socket's own is removed.
    std::filesystem::create_hard_link(path, stale);
    bench_.reset();
  }
  EXPECT_TRUE(ConsoleDevice::create(*parse_options({{"output", "unix:" + stale}})).has_value());
}

// ---- files --------------------------------------------------------------------------------------

TEST_F(ConsoleHost, AFileIsRotatedAndNoneIsLargerThanItsLimit) {
  const std::string path = folder_.path("log");
  start({{"output", "file:" + path}, {"rotate-size", "4096"}, {"rotate-count", "2"}});
  const std::string text = pattern(4 * 4096 + 100);
  ASSERT_TRUE(send_all(text, 1000, 17));

  EXPECT_TRUE(bench_->run_until([&] { return contents(path).size() == 100; }));

  EXPECT_TRUE(contents(path) == text.substr(4 * 4096));
  EXPECT_TRUE(contents(path + ".1") == text.substr(3 * 4096, 4096));
  EXPECT_TRUE(contents(path + ".2") == text.substr(2 * 4096, 4096));
  EXPECT_FALSE(std::filesystem::exists(path + ".3"));
  EXPECT_EQ(bench_->number("rotations"), 4U);
}

TEST_F(ConsoleHost, AFileThatIsThereIsContinued) {
  const std::string path = folder_.path("log");
  start({{"output", "file:" + path}});
  bench_->send(kTransmit, "one");
  ASSERT_TRUE(bench_->run_until([&] { return contents(path) == "one"; }));
  bench_.reset();

  start({{"output", "file:" + path}});
  bench_->send(kTransmit, "two");

  EXPECT_TRUE(bench_->run_until([&] { return contents(path) == "onetwo"; }));
}

TEST_F(ConsoleHost, ARotationThatFailsStopsTheFileAndNotTheGuest) {
  const std::string path = folder_.path("log");
  std::filesystem::create_directories(path + ".1/in-the-way");
  start({{"output", "file:" + path},
         {"rotate-size", "4096"},
         {"backlog", "4096"},
         {"rotate-count", "1"}});
  const std::string text = pattern(65'536);

  EXPECT_TRUE(send_all(text, 4096, 16));
  EXPECT_EQ(contents(path).size(), 4096U);
  EXPECT_GT(bench_->number("host-errors"), 0U);

  // Once it can be done again it goes on, with the latest.
  std::filesystem::remove_all(path + ".1");
  EXPECT_TRUE(
      bench_->run_until([&] { return contents(path + ".1") == text.substr(text.size() - 4096); }));
}

TEST_F(ConsoleHost, APipeIsNoFile) {
  const std::string path = folder_.path("pipe");
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  const FileDescriptor reader(open(path.c_str(), O_RDONLY | O_NONBLOCK));

  const auto device = ConsoleDevice::create(*parse_options({{"output", "file:" + path}}));

  ASSERT_FALSE(device.has_value());
  EXPECT_EQ(device.error(), "port 0: " + path + " is no regular file");
}

TEST_F(ConsoleHost, WhatWasNotWrittenYetIsWrittenAtTheEnd) {
  const std::string path = folder_.path("log");
  bench_.emplace(DeviceParameters{{"output", "file:" + path}});
  bench_->device().write_config(8, std::array{std::byte{'!'}});

  bench_.reset();

  EXPECT_EQ(contents(path), "!");
}

}  // namespace
}  // namespace vmsg::console
