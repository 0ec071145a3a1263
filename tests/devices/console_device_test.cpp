// virtio-console as its driver sees it: data, windows, ports, what a driver can do wrong, resets.
#include "devices/console/console_device.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <string>
#include <vector>

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
using vmsg::test::RingOptions;
using Told = ConsoleBench::Told;

class ConsoleOnRing : public ::testing::TestWithParam<RingOptions> {
 protected:
  void start(const DeviceParameters& parameters = {}) {
    bench_.emplace(parameters, GetParam());
    bench_->negotiate();
    bench_->serve(kReceive);
    bench_->serve(kTransmit);
  }
  /// A user of the terminal, seen by the device.
  FileDescriptor attach() {
    FileDescriptor terminal = open_terminal(bench_->fact("tty"));
    bench_->advance(kSecond);
    bench_->settle();
    return terminal;
  }

  std::optional<ConsoleBench> bench_;
};

INSTANTIATE_TEST_SUITE_P(Rings, ConsoleOnRing, ::testing::ValuesIn(vmsg::test::all_ring_options()),
                         [](const auto& ring) { return vmsg::test::name_of(ring.param); });

TEST_P(ConsoleOnRing, OutputReachesTheTerminal) {
  start();
  const FileDescriptor terminal = attach();

  bench_->send(kTransmit, "login: ");

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(terminal, seen) && seen == "login: "; }))
      << seen;
  EXPECT_EQ(bench_->driver(kTransmit).poll_all().size(), 1U);
}

TEST_P(ConsoleOnRing, OutputOfSeveralSegmentsIsOneStream) {
  start();
  const FileDescriptor terminal = attach();

  static_cast<void>(bench_->driver(kTransmit).chain().readable(3).readable(5).publish());
  bench_->kick(kTransmit);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(terminal, seen) && seen.size() == 8; }));
  EXPECT_EQ(seen, "\x01\x02\x03\x01\x02\x03\x04\x05");
}

TEST_P(ConsoleOnRing, InputReachesTheGuest) {
  start();
  const FileDescriptor terminal = attach();
  bench_->offer(kReceive, 4);
  bench_->offer(kReceive, 100);

  ASSERT_EQ(write(terminal.get(), "root\nsecret\n", 12), 12);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] {
    seen += bench_->received(kReceive);
    return seen.size() == 12;
  }));
  EXPECT_EQ(seen, "root\nsecret\n");
}

TEST_P(ConsoleOnRing, AMegabyteArrivesWhole) {
  start();
  const FileDescriptor terminal = attach();
  const std::string sent = pattern(1 << 20);

  std::size_t published = 0;
  std::string seen;
  const bool is_done = bench_->run_until([&] {
    bench_->driver(kTransmit).poll_all();
    if (bench_->driver(kTransmit).queue().free_descriptors() > 0 && published < sent.size()) {
      const std::size_t size = std::min<std::size_t>(4096, sent.size() - published);
      bench_->send(kTransmit, sent.substr(published, size));
      published += size;
    }
    return read_some(terminal, seen) && seen.size() >= sent.size();
  });

  EXPECT_TRUE(is_done) << seen.size();
  EXPECT_TRUE(seen == sent);
  EXPECT_EQ(bench_->number("dropped-output-bytes"), 0U);
}

class Console : public test::ConsoleFixture {};

// ---- windows ------------------------------------------------------------------------------------

void set_window(const FileDescriptor& terminal, std::uint16_t cols, std::uint16_t rows) {
  const winsize size{.ws_row = rows, .ws_col = cols, .ws_xpixel = 0, .ws_ypixel = 0};
  ASSERT_EQ(ioctl(terminal.get(), TIOCSWINSZ, &size), 0);
}

TEST_F(Console, TheConfigurationFollowsTheWindow) {
  start();
  const FileDescriptor terminal = attach();
  set_window(terminal, 132, 50);

  EXPECT_TRUE(bench_->run_until([&] { return bench_->config_changes == 1; }));

  std::array<std::byte, 4> size{};
  bench_->device().read_config(0, size);
  EXPECT_EQ(size, (std::array{std::byte{132}, std::byte{0}, std::byte{50}, std::byte{0}}));
}

TEST_F(Console, TheFirstOutputIsAnsweredWithTheWindow) {
  start();
  attach();
  EXPECT_EQ(bench_->config_changes, 0);

  ASSERT_TRUE(send_all("login: ", 7, 1));
  EXPECT_EQ(bench_->config_changes, 1);
  ASSERT_TRUE(send_all("again: ", 7, 1));
  EXPECT_EQ(bench_->config_changes, 1);
}

TEST_F(Console, AWindowThatIsToldToThePortIsNotAnnounced) {
  start_multiport({{"port1", "pty"}, {"port1-name", "org.example"}});

  bench_->send(kTransmit, "login: ");
  bench_->settle();

  EXPECT_EQ(bench_->config_changes, 0);
}

// ---- several ports ------------------------------------------------------------------------------

TEST_F(Console, PortsAreAddedAndDescribed) {
  start_multiport({{"port1", "pty"}, {"port1-name", "org.example"}, {"size", "80x24"}});
  const FileDescriptor second = open_terminal(bench_->fact("port1-tty"));
  bench_->send_control(0, wire::kDeviceReady, 1);
  bench_->advance(kSecond);
  bench_->settle();
  EXPECT_EQ(bench_->told(),
            (std::vector<Told>{{0, wire::kPortAdd, 1, ""}, {1, wire::kPortAdd, 1, ""}}));

  bench_->send_control(0, wire::kPortReady, 1);
  bench_->send_control(1, wire::kPortReady, 1);
  bench_->settle();

  EXPECT_EQ(bench_->told(),
            (std::vector<Told>{{0, wire::kConsolePort, 1, ""},
                               {0, wire::kResize, 0, std::string("\x50\0\x18\0", 4)},
                               {1, wire::kPortName, 1, "org.example"},
                               {1, wire::kPortOpen, 1, ""}}));
}

TEST_F(Console, TheGuestIsToldWhoComesAndGoes) {
  const std::string path = folder_.path("socket");
  start_multiport({{"port1", "unix:" + path}});
  bench_->send_control(0, wire::kDeviceReady, 1);
  bench_->send_control(1, wire::kPortReady, 1);
  bench_->settle();
  bench_->told();

  FileDescriptor client = connect_to(path);
  bench_->settle();
  EXPECT_EQ(bench_->told(), (std::vector<Told>{{1, wire::kPortOpen, 1, ""}}));

  client = FileDescriptor();
  bench_->settle();
  EXPECT_EQ(bench_->told(), (std::vector<Told>{{1, wire::kPortOpen, 0, ""}}));
}

TEST_F(Console, AWindowThatChangesIsToldToThePort) {
  start_multiport({{"port1", "pty"}, {"port1-console", "on"}});
  const FileDescriptor terminal = attach("port1-tty");
  bench_->send_control(0, wire::kDeviceReady, 1);
  bench_->send_control(1, wire::kPortReady, 1);
  bench_->settle();
  bench_->told();

  set_window(terminal, 100, 40);

  std::vector<Told> told;
  EXPECT_TRUE(bench_->run_until([&] {
    told = bench_->told();
    return !told.empty();
  }));
  EXPECT_EQ(told, (std::vector<Told>{{1, wire::kResize, 0, std::string("\x64\0\x28\0", 4)}}));
  EXPECT_EQ(bench_->config_changes, 0);
}

TEST_F(Console, InputOfAPortWaitsUntilTheGuestOpensIt) {
  start_multiport({{"port1", "pty"}});
  const FileDescriptor terminal = attach("port1-tty");
  bench_->offer(4, 64);
  ASSERT_EQ(write(terminal.get(), "ping", 4), 4);
  bench_->settle();
  EXPECT_EQ(bench_->received(4), "");

  bench_->send_control(1, wire::kPortOpen, 1);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] {
    seen += bench_->received(4);
    return seen == "ping";
  }));
}

TEST_F(Console, PortsDoNotMix) {
  start_multiport({{"port1", "pty"}});
  const FileDescriptor first = attach("tty");
  const FileDescriptor second = attach("port1-tty");

  bench_->send(1, "for the first");
  bench_->send(5, "for the second");

  std::string one;
  std::string two;
  EXPECT_TRUE(bench_->run_until([&] {
    return read_some(first, one) && read_some(second, two) && one.size() >= 13 && two.size() >= 14;
  }));
  EXPECT_EQ(one, "for the first");
  EXPECT_EQ(two, "for the second");
}

TEST_F(Console, ADriverThatDoesNotKnowPortsUsesTheFirst) {
  bench_.emplace(DeviceParameters{{"ports", "2"}, {"port1", "pty"}});
  bench_->negotiate(false);
  bench_->serve(kReceive);
  bench_->serve(kTransmit);
  const FileDescriptor terminal = attach();
  bench_->offer(kReceive, 16);
  ASSERT_EQ(write(terminal.get(), "x", 1), 1);

  EXPECT_TRUE(bench_->run_until([&] { return bench_->received(kReceive) == "x"; }));
}

// ---- what a driver can do wrong -----------------------------------------------------------------

TEST_F(Console, ControlMessagesThatMakeNoSenseAreCountedAndIgnored) {
  start_multiport({{"port1", "pty"}});
  bench_->send_control(7, wire::kPortReady, 1);
  bench_->send_control(0, wire::kPortAdd, 1);
  bench_->send_control(0xffffffff, wire::kPortOpen, 1);
  bench_->send_control(0, 999, 1);
  bench_->send(wire::kControlTransmitQueue, "short");
  bench_->settle();

  EXPECT_EQ(bench_->fault(), std::nullopt);
  EXPECT_EQ(bench_->driver(wire::kControlTransmitQueue).poll_all().size(), 5U);
  EXPECT_EQ(bench_->number("bad-control-messages"), 5U);
  EXPECT_TRUE(bench_->told().empty());
}

TEST_F(Console, AFloodOfControlMessagesLeavesNothingBehind) {
  start_multiport({{"port1", "pty"}});
  for (int i = 0; i < 100; ++i) {
    bench_->send_control(0, wire::kDeviceReady, 1);
    bench_->settle();
    bench_->driver(wire::kControlTransmitQueue).poll_all();
  }

  // Eight buffers, so eight messages: the rest was merged.
  EXPECT_EQ(bench_->told().size(), 8U);
  for (int i = 0; i < 8; ++i) bench_->offer(wire::kControlReceiveQueue, 128);
  bench_->settle();
  EXPECT_LE(bench_->told().size(), 2U);
}

TEST_F(Console, ABufferForInputThatCannotBeWrittenIsABadRequest) {
  start();
  bench_->send(kReceive, "no");
  bench_->settle();
  EXPECT_EQ(bench_->fault(), ServiceFault::kBadRequest);
}

TEST_F(Console, ABufferOfOutputThatCanBeWrittenIsABadRequest) {
  start();
  bench_->offer(kTransmit, 8);
  bench_->settle();
  EXPECT_EQ(bench_->fault(), ServiceFault::kBadRequest);
}

TEST_F(Console, AControlBufferTooSmallForItsMessageIsABadRequest) {
  bench_.emplace(DeviceParameters{{"name", "org.example"}});
  bench_->negotiate();
  bench_->serve(wire::kControlReceiveQueue);
  bench_->serve(wire::kControlTransmitQueue);
  bench_->offer(wire::kControlReceiveQueue, 7);
  bench_->send_control(0, wire::kDeviceReady, 1);
  bench_->settle();
  EXPECT_EQ(bench_->fault(), ServiceFault::kBadRequest);
}

TEST_F(Console, OutputThatIsNotGrantedIsAFault) {
  start();
  const auto request = bench_->driver(kTransmit).chain().readable(vmsg::test::bytes(100)).add();
  static_cast<void>(bench_->driver(kTransmit).queue().publish());
  bench_->pair(kTransmit).memory.revoke(bench_->driver(kTransmit).readable_of(request)[0].address,
                                        100);
  bench_->kick(kTransmit);
  bench_->settle();
  EXPECT_EQ(bench_->fault(), ServiceFault::kNotGranted);
}

// ---- emergencies --------------------------------------------------------------------------------

TEST_F(Console, AnEmergencyWriteNeedsNoQueue) {
  bench_.emplace(DeviceParameters{});
  const FileDescriptor terminal = open_terminal(bench_->fact("tty"));

  EXPECT_EQ(bench_->device().write_config(8, std::array{std::byte{'!'}, std::byte{}}),
            ConfigWrite::kApplied);

  std::string seen;
  EXPECT_TRUE(read_some(terminal, seen));
  EXPECT_EQ(seen, "!");
}

TEST_F(Console, AnEmergencyWriteComesAfterWhatIsOnItsWay) {
  start();
  const FileDescriptor terminal = attach();
  bench_->send(kTransmit, "panic: ");
  bench_->settle();

  bench_->device().write_config(8, std::array{std::byte{'!'}});

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(terminal, seen) && seen == "panic: !"; }))
      << seen;
}

TEST_F(Console, EmergencyWritesThatNobodySeesAreKeptInBounds) {
  bench_.emplace(DeviceParameters{{"backlog", "4096"}});
  for (int i = 0; i < 10'000; ++i) {
    bench_->device().write_config(8, std::array{static_cast<std::byte>('a' + i % 26)});
  }
  const FileDescriptor terminal = open_terminal(bench_->fact("tty"));
  bench_->device().write_config(8, std::array{std::byte{'!'}});

  std::string seen;
  EXPECT_TRUE(read_some(terminal, seen));
  EXPECT_EQ(seen.size(), 4096U);
  EXPECT_EQ(seen.back(), '!');
  EXPECT_EQ(bench_->number("emergency-characters"), 10'001U);
}

// ---- resets -------------------------------------------------------------------------------------

TEST_F(Console, AResetInTheMiddleLosesNothingThatWasTaken) {
  const std::string path = folder_.path("socket");
  start({{"output", "unix:" + path}, {"backlog", "65536"}, {"patience", "0"}});
  const FileDescriptor client = connect_to(path);
  bench_->settle();
  EXPECT_FALSE(send_all(pattern(1 << 20), 8192, 128));
  const std::size_t taken = bench_->number("transmit-bytes");

  ASSERT_TRUE(bench_->unserve());
  bench_->negotiate();
  bench_->serve(kReceive);
  bench_->serve(kTransmit);

  std::string seen;
  EXPECT_TRUE(bench_->run_until([&] { return read_some(client, seen) && seen.size() >= taken; }));
  EXPECT_TRUE(pattern(1 << 20).starts_with(seen));
}

TEST_F(Console, AResetWaitsForWhatTheHostTakesAtOnce) {
  const std::string path = folder_.path("log");
  start({{"output", "file:" + path}, {"rotate-size", "16K"}, {"rotate-count", "9"}});
  const std::string text = pattern(60'000);
  ASSERT_TRUE(send_all(text, 12'000, 5));

  ASSERT_TRUE(bench_->unserve());

  EXPECT_TRUE(contents(path + ".3") + contents(path + ".2") + contents(path + ".1") +
                  contents(path) ==
              text);
}

TEST_F(Console, AResetEndsWhateverIsUnderWay) {
  start_multiport({{"output", "unix:" + folder_.path("a")}, {"port1", "pty"}});
  const FileDescriptor client = connect_to(folder_.path("a"));
  const FileDescriptor terminal = attach("port1-tty");
  bench_->send_control(1, wire::kPortOpen, 1);
  bench_->send_control(0, wire::kPortOpen, 1);
  bench_->offer(kReceive, 16);
  bench_->offer(4, 16);
  bench_->settle();

  EXPECT_TRUE(bench_->unserve());
}

}  // namespace
}  // namespace vmsg::console
