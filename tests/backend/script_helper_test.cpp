// Scripts of network devices: what a daemon that was taken over could ask for is refused, and what
// xl's scripts need arrives.
#include "backend/script_helper.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <csignal>
#include <fstream>
#include <iterator>
#include <string>

#include "backend/script_program.hpp"
#include "tests/support/temporary_directory.hpp"

namespace vmsg {
namespace {

using net::ScriptCall;
using testing::HasSubstr;
using testing::IsEmpty;

class ScriptHelperTest : public testing::Test {
 protected:
  /// Text of a script below "#!/bin/sh"; returns its path.
  std::string make_script(const std::string& name, const std::string& text, mode_t mode = 0700) {
    std::string path = directory_.path(name);
    std::ofstream(path) << "#!/bin/sh\n" << text;
    EXPECT_EQ(chmod(path.c_str(), mode), 0);
    return path;
  }
  std::string run(const ScriptCall& call) {
    auto helper = ScriptHelper::start(directory_.path());
    EXPECT_TRUE(helper);
    const auto done = (*helper)->run(call);
    return done ? std::string() : done.error();
  }
  std::string refusal(const ScriptCall& call) {
    const auto path = check_script(directory_.path(), call);
    return path ? std::string() : path.error();
  }
  std::string read(const std::string& name) {
    std::ifstream file(directory_.path(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }

  test::TemporaryDirectory directory_;
};

TEST_F(ScriptHelperTest, AScriptIsToldWhatXlTellsIt) {
  make_script("vif-x",
              "echo \"$* $INTERFACE [$bridge] ${mac-none} ${HOME-none}\" >\"${0%/*}/said\"\n");

  EXPECT_THAT(run({.script = "vif-x",
                   .command = "add",
                   .variables = {{"INTERFACE", "vmsg1.0"}, {"bridge", "br0"}, {"mac", ""}}}),
              IsEmpty());
  EXPECT_EQ(read("said"), "add type_if=tap vmsg1.0 [br0] none none\n");
}

TEST_F(ScriptHelperTest, ItsPathIsAllowedToo) {
  const std::string path = make_script("vif-x", "exit 0\n");

  EXPECT_THAT(run({.script = path, .command = "remove", .variables = {}}), IsEmpty());
}

TEST_F(ScriptHelperTest, OneHelperServesManyCalls) {
  make_script("vif-x", "echo \"$1\" >>\"${0%/*}/said\"\n");
  make_script("vif-bad", "exit 7\n");
  auto helper = ScriptHelper::start(directory_.path());
  ASSERT_TRUE(helper);

  EXPECT_TRUE((*helper)->run({.script = "vif-x", .command = "add", .variables = {}}));
  EXPECT_THAT((*helper)->run({.script = "vif-bad", .command = "add", .variables = {}}).error(),
              HasSubstr("vif-bad': exit code 7"));
  EXPECT_TRUE((*helper)->run({.script = "vif-x", .command = "remove", .variables = {}}));
  EXPECT_EQ(read("said"), "add\nremove\n");
}

TEST_F(ScriptHelperTest, AScriptThatCannotBeRunIsAnError) {
  make_script("vif-x", "exit 0\n", 0600);
  make_script("vif-dies", "kill -KILL $$\n");

  EXPECT_THAT(run({.script = "vif-x", .command = "add", .variables = {}}),
              HasSubstr("Permission denied"));
  EXPECT_THAT(run({.script = "vif-dies", .command = "add", .variables = {}}),
              HasSubstr("ended by signal 9"));
}

TEST_F(ScriptHelperTest, NoOtherProgramIsRun) {
  make_script("block", "exit 0\n");
  make_script("vif-x", "exit 0\n");
  make_script("vif-loose", "exit 0\n", 0722);
  ASSERT_EQ(mkdir(directory_.path("vif-folder").c_str(), 0700), 0);

  for (const std::string script :
       {"block", "/bin/sh", "../vif-x", "vif-/../vif-x", "", "/", "vif-x/"}) {
    EXPECT_THAT(refusal({.script = script, .command = "add", .variables = {}}),
                HasSubstr("a file of " + directory_.path()))
        << script;
  }
  EXPECT_THAT(refusal({.script = "vif-none", .command = "add", .variables = {}}),
              HasSubstr("No such file"));
  for (const std::string script : {"vif-loose", "vif-folder"}) {
    EXPECT_THAT(refusal({.script = script, .command = "add", .variables = {}}),
                HasSubstr("nobody else can write to"))
        << script;
  }
  EXPECT_THAT(refusal({.script = "vif-x", .command = "frob", .variables = {}}),
              HasSubstr("no such command"));
}

TEST_F(ScriptHelperTest, NothingElseIsToldToAScript) {
  make_script("vif-x", "exit 0\n");
  const auto with = [&](const std::string& name, const std::string& value) {
    return refusal({.script = "vif-x", .command = "add", .variables = {{name, value}}});
  };

  EXPECT_THAT(with("bridge", "xen_br-0.1"), IsEmpty());
  EXPECT_THAT(with("ip", "10.0.0.1/24, fe80::1"), IsEmpty());
  for (const std::string name : {"LD_PRELOAD", "PATH", "BASH_ENV", ""}) {
    EXPECT_THAT(with(name, "x"), HasSubstr("no variable")) << name;
  }
  for (const std::string& value : {std::string("$(reboot)"), std::string("a;b"),
                                   std::string("a\nb"), std::string("-o"), std::string(256, 'x')}) {
    EXPECT_THAT(with("ip", value), HasSubstr("are allowed")) << value;
  }
}

TEST_F(ScriptHelperTest, ItEndsWithItsOwner) {
  make_script("vif-x", "echo $PPID >\"${0%/*}/said\"\n");
  {
    auto helper = ScriptHelper::start(directory_.path());
    ASSERT_TRUE(helper);
    ASSERT_TRUE((*helper)->run({.script = "vif-x", .command = "add", .variables = {}}));
    ASSERT_EQ(kill(std::stoi(read("said")), SIGTERM), 0);  // is for the daemon, not for it
    ASSERT_TRUE((*helper)->run({.script = "vif-x", .command = "remove", .variables = {}}));
  }
  const pid_t pid = std::stoi(read("said"));
  int status = 0;
  ASSERT_EQ(waitpid(pid, &status, 0), pid);
  EXPECT_TRUE(WIFEXITED(status));
}

}  // namespace
}  // namespace vmsg
