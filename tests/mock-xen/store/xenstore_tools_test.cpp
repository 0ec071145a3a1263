// Debian's own xenstore tools, unmodified, on the mock: each runs as a process of a domain with
// nothing but its environment to tell it so.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <string>
#include <vector>

#include "tests/mock-xen/mock_xen.hpp"

namespace vmsg::mock {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

constexpr int kPatienceMs = 20000;

/// A program with its standard output in a pipe.
class Program {
 public:
  Program(std::vector<std::string> environment, std::vector<std::string> arguments) {
    std::array<int, 2> ends{};
    EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC), 0);
    pid_ = ::fork();
    if (pid_ == 0) {
      ::dup2(ends[1], STDOUT_FILENO);
      ::dup2(ends[1], STDERR_FILENO);
      std::vector<char*> argv;
      std::vector<char*> envp;
      argv.reserve(arguments.size() + 1);
      envp.reserve(environment.size() + 1);
      for (std::string& argument : arguments) argv.push_back(argument.data());
      for (std::string& entry : environment) envp.push_back(entry.data());
      argv.push_back(nullptr);
      envp.push_back(nullptr);
      ::execve(argv[0], argv.data(), envp.data());
      ::_exit(127);
    }
    ::close(ends[1]);
    out_ = ends[0];
  }
  ~Program() {
    if (pid_ > 0) {
      ::kill(pid_, SIGKILL);
      ::waitpid(pid_, nullptr, 0);
    }
    ::close(out_);
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  /// Its output up to and with the next end of a line.
  std::string line() {
    std::string text;
    while (!text.ends_with('\n')) {
      char byte = 0;
      if (!wait_readable() || ::read(out_, &byte, 1) != 1) break;
      text.push_back(byte);
    }
    return text;
  }
  std::string all() {
    std::string text;
    for (std::array<char, 4096> part;;) {
      const ssize_t n = wait_readable() ? ::read(out_, part.data(), part.size()) : 0;
      if (n <= 0) return text;
      text.append(part.data(), static_cast<std::size_t>(n));
    }
  }
  int exit_status() {
    int status = 0;
    ::waitpid(pid_, &status, 0);
    pid_ = -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  [[nodiscard]] bool wait_readable() const {
    pollfd waiting = {.fd = out_, .events = POLLIN, .revents = 0};
    return ::poll(&waiting, 1, kPatienceMs) == 1;
  }

  pid_t pid_ = -1;
  int out_ = -1;
};

class XenstoreTools : public testing::Test {
 protected:
  XenstoreTools() { xen.create_domain(3); }

  void SetUp() override {
    if (::access("/usr/bin/xenstore-ls", X_OK) != 0) GTEST_SKIP() << "no xenstore-utils";
  }

  std::vector<std::string> environment(std::uint32_t domid) {
    std::vector<std::string> entries = xen.environment(domid);
    entries.emplace_back("LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES);
    return entries;
  }

  struct Outcome {
    int status = 0;
    std::string output;
  };
  Outcome run(std::uint32_t domid, std::vector<std::string> arguments) {
    arguments[0] = "/usr/bin/" + arguments[0];
    Program program(environment(domid), std::move(arguments));
    std::string output = program.all();
    return {.status = program.exit_status(), .output = std::move(output)};
  }

  MockXen xen;
};

TEST_F(XenstoreTools, WriteAndRead) {
  EXPECT_EQ(run(0, {"xenstore-write", "/t/a", "one", "/t/b", "two"}).status, 0);

  const Outcome read = run(0, {"xenstore-read", "/t/a", "/t/b"});
  EXPECT_EQ(read.status, 0);
  EXPECT_EQ(read.output, "one\ntwo\n");
}

TEST_F(XenstoreTools, ReadOfWhatIsMissingOrForbiddenFails) {
  const Outcome missing = run(0, {"xenstore-read", "/nothing"});
  EXPECT_EQ(missing.status, 1);
  EXPECT_THAT(missing.output, HasSubstr("couldn't read path /nothing"));

  EXPECT_EQ(run(3, {"xenstore-read", "/local/domain/0/name"}).status, 1);
}

TEST_F(XenstoreTools, ListsATreeWithPermissions) {
  ASSERT_EQ(run(0, {"xenstore-write", "/t/a", "one", "/t/b/c", "two"}).status, 0);
  ASSERT_EQ(run(0, {"xenstore-chmod", "/t/b", "n0", "r3"}).status, 0);

  EXPECT_EQ(run(0, {"xenstore-ls", "/t"}).output, "a = \"one\"\nb = \"\"\n c = \"two\"\n");
  EXPECT_THAT(run(0, {"xenstore-ls", "-fp", "/t"}).output, HasSubstr("(n0,r3)"));
}

TEST_F(XenstoreTools, ListsTheWholeStore) {
  const Outcome all = run(0, {"xenstore-ls", "-f"});
  EXPECT_EQ(all.status, 0);
  EXPECT_THAT(all.output, HasSubstr("/local/domain/3/domid = \"3\"\n"));
}

TEST_F(XenstoreTools, ListExistsAndRemove) {
  ASSERT_EQ(run(0, {"xenstore-write", "/t/a", "one", "/t/b", "two"}).status, 0);
  EXPECT_EQ(run(0, {"xenstore-list", "/t"}).output, "a\nb\n");

  EXPECT_EQ(run(0, {"xenstore-exists", "/t/a"}).status, 0);
  EXPECT_EQ(run(0, {"xenstore-rm", "/t/a"}).status, 0);
  EXPECT_EQ(run(0, {"xenstore-exists", "/t/a"}).status, 1);
  EXPECT_EQ(run(0, {"xenstore-list", "/t"}).output, "b\n");
}

TEST_F(XenstoreTools, AGuestIsHeldToItsOwnPart) {
  EXPECT_EQ(run(3, {"xenstore-write", "data/a", "mine"}).status, 0);
  EXPECT_EQ(run(3, {"xenstore-write", "a", "mine"}).status, 1);
  EXPECT_EQ(run(0, {"xenstore-read", "/local/domain/3/data/a"}).output, "mine\n");

  ASSERT_EQ(run(3, {"xenstore-chmod", "data/a", "n3", "n0"}).status, 0);
  EXPECT_EQ(run(3, {"xenstore-chmod", "data/a", "n0"}).status, 1);
}

TEST_F(XenstoreTools, WatchPrintsWhatChanges) {
  Program watch(environment(3), {"/usr/bin/xenstore-watch", "-n", "3", "data"});
  EXPECT_EQ(watch.line(), "data\n");

  ASSERT_EQ(run(0, {"xenstore-write", "/local/domain/3/data/a", "x"}).status, 0);
  EXPECT_EQ(watch.line(), "data/a\n");

  ASSERT_EQ(run(0, {"xenstore-rm", "/local/domain/3/data/a"}).status, 0);
  EXPECT_EQ(watch.line(), "data/a\n");
  EXPECT_EQ(watch.exit_status(), 0);
}

TEST_F(XenstoreTools, AKilledToolLeavesNothing) {
  {
    Program watch(environment(3), {"/usr/bin/xenstore-watch", "data"});
    EXPECT_EQ(watch.line(), "data\n");
    EXPECT_THAT(xen.what_is_left(3), testing::Not(IsEmpty()));
  }
  EXPECT_THAT(xen.what_is_left(3), IsEmpty());
}

TEST_F(XenstoreTools, WithoutABrokerTheyFailAndSayWhy) {
  Program program({"XEN_MOCK=/nowhere/socket", "LD_LIBRARY_PATH=" VMSG_MOCK_LIBRARIES},
                  {"/usr/bin/xenstore-read", "/t"});
  EXPECT_THAT(program.all(), HasSubstr("no broker listens at /nowhere/socket"));
  EXPECT_NE(program.exit_status(), 0);
}

}  // namespace
}  // namespace vmsg::mock
