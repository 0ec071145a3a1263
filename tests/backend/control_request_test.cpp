// What the control socket accepts, and in which words it refuses the rest.
#include "backend/control_request.hpp"

#include <gtest/gtest.h>

namespace vmsg {
namespace {

using Command = ControlRequest::Command;

std::string refusal(std::string_view line) {
  const auto parsed = parse_control_request(line);
  return parsed ? "accepted" : parsed.error();
}

TEST(ControlRequest, Status) {
  EXPECT_EQ(parse_control_request("{\"command\":\"status\"}\n"),
            (ControlRequest{.command = Command::kStatus, .guest = std::nullopt}));
}

TEST(ControlRequest, StatusOfOneGuest) {
  EXPECT_EQ(parse_control_request(R"({"command":"status","guest":0})"),
            (ControlRequest{.command = Command::kStatus, .guest = 0}));
}

TEST(ControlRequest, Trace) {
  EXPECT_EQ(parse_control_request(R"({"command":"trace","guest":3})"),
            (ControlRequest{.command = Command::kTrace, .guest = 3}));
}

TEST(ControlRequest, NoJson) {
  EXPECT_EQ(refusal("status\n"),
            R"(a line with a JSON object is expected, such as {"command":"status"})");
}

TEST(ControlRequest, NoObject) {
  EXPECT_EQ(refusal("[1]"),
            R"(a line with a JSON object is expected, such as {"command":"status"})");
}

TEST(ControlRequest, NoCommand) {
  EXPECT_EQ(refusal(R"({"guest":3})"), R"("command" is missing: "status" or "trace")");
}

TEST(ControlRequest, CommandOfAnotherType) {
  EXPECT_EQ(refusal(R"({"command":1})"), R"("command" is missing: "status" or "trace")");
}

TEST(ControlRequest, UnknownCommand) {
  EXPECT_EQ(refusal(R"({"command":"stop"})"), R"(no such command: there are "status" and "trace")");
}

TEST(ControlRequest, UnknownKey) {
  EXPECT_EQ(refusal(R"({"command":"status","bus":3})"),
            R"(unknown key: there are "command" and "guest")");
}

TEST(ControlRequest, TraceOfNobody) {
  EXPECT_EQ(refusal(R"({"command":"trace"})"),
            R"("trace" needs a "guest": the number of a domain)");
}

class ControlRequestGuest : public ::testing::TestWithParam<const char*> {};

TEST_P(ControlRequestGuest, MustBeTheNumberOfADomain) {
  EXPECT_EQ(refusal(std::string(R"({"command":"trace","guest":)") + GetParam() + "}"),
            R"("guest": the number of a domain is expected, 0 to 32751)");
}

INSTANTIATE_TEST_SUITE_P(Values, ControlRequestGuest,
                         ::testing::Values("-1", "32752", "65539", "1.5", "\"3\"", "null",
                                           "18446744073709551616"));

TEST(ControlRequest, DeepNestingIsJustWrong) {
  EXPECT_EQ(refusal(std::string(4000, '[')),
            R"(a line with a JSON object is expected, such as {"command":"status"})");
}

TEST(ControlRequest, ErrorsAreLinesOfJson) {
  EXPECT_EQ(error_line("a \"word\"\n"), "{\"error\":\"a \\\"word\\\"\\n\"}\n");
}

}  // namespace
}  // namespace vmsg
