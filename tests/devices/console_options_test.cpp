// What may be said about a console, and what the complaint is about what may not.
#include "devices/console/console_options.hpp"

#include <gtest/gtest.h>

namespace vmsg::console {
namespace {

std::string complaint(const DeviceParameters& parameters) {
  const auto options = parse_options(parameters);
  return options ? "" : options.error();
}

TEST(ConsoleOptions, TheDefaultIsOneTerminalThatIsAConsole) {
  const auto options = parse_options({});

  ASSERT_TRUE(options.has_value());
  ASSERT_EQ(options->ports.size(), 1U);
  EXPECT_EQ(options->ports[0].output, OutputKind::kTerminal);
  EXPECT_TRUE(options->ports[0].is_console);
  EXPECT_EQ(options->size, (WindowSize{.cols = 80, .rows = 24}));
  EXPECT_FALSE(options->offers_multiport());
}

TEST(ConsoleOptions, APortWithANameIsAChannel) {
  const auto options = parse_options(
      {{"ports", "2"}, {"port1", "unix:/run/agent"}, {"port1-name", "org.example.agent"}});

  ASSERT_TRUE(options.has_value());
  EXPECT_TRUE(options->offers_multiport());
  EXPECT_TRUE(options->ports[0].is_console);
  EXPECT_FALSE(options->ports[1].is_console);
  EXPECT_EQ(options->ports[1].output, OutputKind::kSocket);
  EXPECT_EQ(options->ports[1].path, "/run/agent");
  EXPECT_EQ(options->ports[1].name, "org.example.agent");
}

TEST(ConsoleOptions, APortWithANameCanBeAConsoleAllTheSame) {
  const auto options = parse_options({{"name", "login"}, {"console", "on"}});

  ASSERT_TRUE(options.has_value());
  EXPECT_TRUE(options->ports[0].is_console);
  EXPECT_TRUE(options->offers_multiport());
}

TEST(ConsoleOptions, AFileCanBeRotated) {
  const auto options = parse_options(
      {{"output", "file:/var/log/guest"}, {"rotate-size", "1M"}, {"rotate-count", "3"}});

  ASSERT_TRUE(options.has_value());
  EXPECT_EQ(options->ports[0].output, OutputKind::kFile);
  EXPECT_EQ(options->rotate_size, 1U << 20);
  EXPECT_EQ(options->rotate_count, 3U);
}

TEST(ConsoleOptions, ComplaintsNameTheParameterAndWhatIsAllowed) {
  EXPECT_EQ(complaint({{"output", "tape:/dev/st0"}}),
            "output='tape:/dev/st0': pty, unix:/PATH or file:/PATH is allowed");
  EXPECT_EQ(complaint({{"output", "unix:relative"}}),
            "output='unix:relative': pty, unix:/PATH or file:/PATH is allowed");
  EXPECT_EQ(complaint({{"size", "80x"}}), "size='80x': COLUMNSxROWS is allowed, as 80x24");
  EXPECT_EQ(complaint({{"size", "0x24"}}), "size='0x24': COLUMNSxROWS is allowed, as 80x24");
  EXPECT_EQ(complaint({{"rotate-size", "1M"}}), "rotate-size: no port has a file as its output");
  EXPECT_EQ(complaint({{"output", "file:/a"}, {"rotate-size", "5"}}),
            "rotate-size=5: 0 or at least 4096 is allowed");
  EXPECT_EQ(complaint({{"output", "file:/a"}, {"link", "/b"}}),
            "link: only a port with output pty can have one");
  EXPECT_EQ(complaint({{"link", "b"}}), "link='b': an absolute path is allowed");
  EXPECT_EQ(complaint({{"name", std::string(65, 'a')}}), "name: a name may have 64 bytes");
  EXPECT_EQ(
      complaint({{"output", "unix:/" + std::string(107, 'a')}}),
      "output='unix:/" + std::string(107, 'a') + "': the path of a socket may have 107 bytes");
  EXPECT_NE(complaint({{"ports", "2"}}).find("port1"), std::string::npos);
  EXPECT_NE(complaint({{"ports", "32"}}).find("31"), std::string::npos);
  EXPECT_NE(complaint({{"port1", "pty"}}).find("no parameter 'port1'"), std::string::npos);
}

}  // namespace
}  // namespace vmsg::console
