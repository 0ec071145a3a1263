// contract-peer: the other end of the contract tests. Runs in another domain (or beside the tests,
// as a second process of theirs) and does to Xen what it is told through xenstore (protocol.hpp).
//
//   contract-peer DIR
//
// The process that is started only keeps a child alive: the child does the work, may be told to
// die by SIGKILL in the middle of whatever it holds, and is replaced by the next generation. A new
// generation announces itself only after its predecessor has been waited for, so whoever sees it
// knows that the kernel has taken everything back.
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <exception>
#include <string>

#include "tests/contract/peer/commands.hpp"
#include "tests/contract/protocol.hpp"

namespace vmsg::contract {
namespace {

std::string reply_line(const std::string& sequence, const Reply& reply) {
  std::string line = sequence + ' ' + std::to_string(reply.error);
  for (const std::string& word : reply.words) line += ' ' + word;
  return line;
}

void must(int error, const char* what) {
  if (error != 0) throw std::runtime_error(std::string(what) + ": errno " + std::to_string(error));
}

// Returns when told to quit.
void serve(const std::string& directory, unsigned generation) {
  const std::string request_path = directory + std::string(kRequestNode);
  Store control;
  Commands commands;
  // Asked while nobody served: that request died with the process it was meant for.
  std::string last_request = control.read(request_path).value_or("");
  must(control.watch(request_path, "request"), "watch on the request node");
  must(control.write(directory + std::string(kGenerationNode), std::to_string(generation)),
       "write of the generation node");
  for (;;) {
    unsigned count = 0;
    const Malloced<char*> event(xs_read_watch(control.raw(), &count));  // as long as it takes
    if (!event) throw std::runtime_error("xs_read_watch failed");
    const std::string request = control.read(request_path).value_or("");
    if (request == last_request) continue;  // the first event, or one event more than writes
    last_request = request;

    const auto words = split_words(request);
    if (words.size() < 2) continue;
    if (words[1] == "quit") return;
    if (words[1] == "die") static_cast<void>(raise(SIGKILL));
    const Reply reply = commands.run(words[1], Commands::Arguments(words).subspan(2));
    must(control.write(directory + std::string(kReplyNode), reply_line(words[0], reply)),
         "write of the reply node");
  }
}

int serve_in_this_process(const std::string& directory, unsigned generation) {
  try {
    serve(directory, generation);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "contract-peer: generation %u: %s\n", generation, error.what());
    return 1;
  }
}

// Keeps one child serving; ends with it unless it was killed.
int supervise(const std::string& directory) {
  const pid_t self = getpid();
  for (unsigned generation = 1;; ++generation) {
    const pid_t child = fork();
    if (child < 0) {
      std::perror("contract-peer: fork");
      return 1;
    }
    if (child == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      if (getppid() != self) return 1;  // the parent went before the line above
      return serve_in_this_process(directory, generation);
    }
    int status = 0;
    while (waitpid(child, &status, 0) < 0)
      if (errno != EINTR) return 1;
    if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) {
      if (WIFEXITED(status)) return WEXITSTATUS(status);
      std::fprintf(stderr, "contract-peer: died of signal %d\n", WTERMSIG(status));
      return 1;
    }
  }
}

}  // namespace
}  // namespace vmsg::contract

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: contract-peer DIR\n");
    return 2;
  }
  return vmsg::contract::supervise(argv[1]);
}
