// xen-mock's command line: a broker in a process of its own, and the commands that steer it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/mock-xen/process_for_test.hpp"

namespace vmsg::mock {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Outcome {
  int status = 0;
  std::string output;
};

class Command : public testing::Test {
 protected:
  Command()
      : socket(testing::TempDir() + "xen-mock-" + std::to_string(::getpid())),
        broker({VMSG_XEN_MOCK, "serve", "--socket", socket}, {}) {
    EXPECT_EQ(broker.read_line(), "xen-mock: ready at " + socket);
  }
  ~Command() override {
    broker.terminate();
    EXPECT_EQ(broker.wait(), 0);
    EXPECT_NE(::access(socket.c_str(), F_OK), 0) << "the socket is left behind";
  }

  Outcome run(std::vector<std::string> words) const {
    words.insert(words.begin(), VMSG_XEN_MOCK);
    ChildProcess command(words, {"XEN_MOCK=" + socket});
    Outcome outcome;
    outcome.output = command.read_all();
    outcome.status = command.wait();
    return outcome;
  }

  std::string socket;
  ChildProcess broker;
};

TEST_F(Command, DomainsAppearAndVanish) {
  EXPECT_EQ(run({"domain", "create", "3"}).status, 0);
  EXPECT_EQ(run({"domain", "list"}).output, "0\n3\n");
  EXPECT_EQ(run({"domain", "destroy", "3"}).status, 0);
  EXPECT_EQ(run({"domain", "list"}).output, "0\n");
}

TEST_F(Command, WhatMakesNoSenseIsRefused) {
  EXPECT_EQ(run({"domain", "create", "0"}).status, 1);
  EXPECT_EQ(run({"domain", "destroy", "7"}).status, 1);
  EXPECT_EQ(run({"domain", "destroy", "0"}).status, 1);
  EXPECT_EQ(run({"stats", "7"}).status, 1);
  EXPECT_EQ(run({"fail", "no_such_call", "--nth", "1"}).status, 2);
  EXPECT_EQ(run({"fail", "xs_read", "--nth", "1", "--errno", "ENOTHING"}).status, 2);
  EXPECT_EQ(run({"fail", "xs_read", "--nth", "0"}).status, 1);
  EXPECT_EQ(run({"set", "deferred-unmap", "perhaps"}).status, 2);
  EXPECT_EQ(run({"limit", "ports", "3", "--domain", "7"}).status, 1);
  EXPECT_EQ(run({"nonsense"}).status, 2);
}

TEST_F(Command, StatsAsJsonHoldAllCounters) {
  const auto stats = nlohmann::json::parse(run({"stats", "--json", "0"}).output, nullptr, false);

  ASSERT_TRUE(stats.is_object());
  EXPECT_EQ(stats.at("0").at("notifies"), 0);
  EXPECT_TRUE(stats.at("0").contains("copy_segments"));
  EXPECT_TRUE(stats.at("0").contains("watches_fired"));
}

TEST_F(Command, FailuresAreListedAndCleared) {
  EXPECT_EQ(
      run({"fail", "xenevtchn_open", "--nth", "2", "--errno", "EMFILE", "--domain", "0"}).status,
      0);
  EXPECT_EQ(run({"fail", "--list"}).output, "domain 0: xenevtchn_open in 2 with 24\n");
  EXPECT_EQ(run({"fail", "--clear"}).status, 0);
  EXPECT_EQ(run({"fail", "--list"}).output, "");
}

TEST_F(Command, AFailureReachesAProgram) {
  run({"fail", "xenevtchn_open", "--nth", "1", "--errno", "EMFILE"});
  ChildProcess actor({VMSG_MOCK_ACTOR},
                     {"XEN_MOCK=" + socket, "LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES});

  EXPECT_EQ(actor.wait(), 1);
}

TEST_F(Command, LeaksAreListedAndTold) {
  EXPECT_EQ(run({"leaks"}).status, 0);
  ChildProcess actor({VMSG_MOCK_ACTOR},
                     {"XEN_MOCK=" + socket, "LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES});
  ASSERT_EQ(actor.read_line(), "ready");
  const std::string port = actor.ask("offer 3");

  const Outcome leaks = run({"leaks", "0"});

  EXPECT_EQ(leaks.status, 1);
  EXPECT_THAT(leaks.output, AllOf(HasSubstr("event-channel handle"),
                                  HasSubstr("event channel " + port + " waiting for domain 3")));
  actor.kill();
  EXPECT_EQ(run({"leaks"}).status, 0);
}

TEST_F(Command, DeferredUnmapsAreCompleted) {
  EXPECT_EQ(run({"set", "deferred-unmap", "on"}).status, 0);
  EXPECT_EQ(run({"complete-unmaps"}).output, "0 completed\n");
}

TEST_F(Command, ASecondBrokerAtTheSameSocketIsRefused) {
  EXPECT_EQ(run({"serve", "--socket", socket}).status, 2);
}

TEST_F(Command, DebiansXenstoreToolsRun) {
  run({"domain", "create", "3"});
  ChildProcess tool({"xenstore-ls", "-f", "/local/domain/3"},
                    {"XEN_MOCK=" + socket, "LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES});

  EXPECT_THAT(tool.read_all(), HasSubstr("/local/domain/3/data = \"\""));
}

}  // namespace
}  // namespace vmsg::mock
