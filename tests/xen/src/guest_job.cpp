// Runs in dom0, for lib.sh: has guest_agent run commands, and waits for what xenstore is to say.
//
//   guest_job spawn DOMID N COMMAND             the guest begins command N
//   guest_job join DOMID N LOG SECONDS          until it has ended and its output is in LOG, the
//                                               guest's console; the exit code is the command's
//   guest_job node PATH VALUE SECONDS [DOMID]   until the node has the value
//
// Exit code 124: that did not come in time. 125: the guest is gone. SECONDS are those of a quiet
// machine, four times as many are waited for.
#include <fcntl.h>
#include <sys/inotify.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <stdexcept>

#include "store.hpp"

namespace {

using Clock = std::chrono::steady_clock;
using images::Store;

constexpr int kLate = 124;
constexpr int kGone = 125;

Clock::time_point end_of(std::string_view seconds) {
  int value = 0;
  const auto [end, error] = std::from_chars(seconds.data(), seconds.data() + seconds.size(), value);
  if (error != std::errc{} || end != seconds.data() + seconds.size() || value < 0) {
    throw std::invalid_argument("not a number of seconds: " + std::string(seconds));
  }
  return Clock::now() + std::chrono::seconds(4 * value);
}

// Waits until the descriptor is readable.
void wait_for(int descriptor, Clock::time_point end) {
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(end - Clock::now()).count();
  pollfd waiting{.fd = descriptor, .events = POLLIN, .revents = 0};
  poll(&waiting, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 3'600'000)));
}

std::string domain(std::string_view id) { return "/local/domain/" + std::string(id); }

// Asks whenever something has changed at the path or below, or a domain has gone: 0 when it is
// done.
int await(Store& store, const std::string& path, std::string_view guest, Clock::time_point end,
          const std::function<bool()>& done) {
  store.watch(path);
  store.watch("@releaseDomain");
  for (;;) {
    store.take_events();
    if (done()) return 0;
    if (!guest.empty() && !store.read(domain(guest))) return kGone;
    if (Clock::now() >= end) return kLate;
    wait_for(store.descriptor(), end);
  }
}

std::string contents(const std::string& path) {
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  std::string text;
  std::array<char, 65536> part;
  for (ssize_t length = 0; (length = read(file, part.data(), part.size())) > 0;) {
    text.append(part.data(), static_cast<std::size_t>(length));
  }
  close(file);
  return text;
}

// Whether the console has the line with which the job's output ends.
bool has_all_of(const std::string& log, std::string_view job) {
  const auto mark = "@" + std::string(job) + "=";
  const auto text = contents(log);
  return text.starts_with(mark) || text.find('\n' + mark) != std::string::npos;
}

void await_output(const std::string& log, std::string_view job) {
  const int changes = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
  inotify_add_watch(changes, log.c_str(), IN_MODIFY);
  for (const auto end = end_of("10"); !has_all_of(log, job) && Clock::now() < end;) {
    wait_for(changes, end);
    std::array<char, 4096> ignored;
    while (read(changes, ignored.data(), ignored.size()) > 0) {
    }
  }
  close(changes);
}

int spawn(std::string_view guest, const std::string& job, std::string_view command) {
  Store().write(domain(guest) + "/data/agent/command/" + job, command);
  return 0;
}

int join(std::string_view guest, const std::string& job, const std::string& log,
         std::string_view seconds) {
  Store store;
  std::optional<std::string> code;
  const auto path = domain(guest) + "/data/agent/code/" + job;
  const int result = await(store, path, guest, end_of(seconds), [&] {
    code = store.read(path);
    return code.has_value();
  });
  if (result != 0) return result;
  await_output(log, job);
  return std::stoi(*code);
}

int node(const std::string& path, std::string_view value, std::string_view seconds,
         std::string_view guest) {
  Store store;
  return await(store, path, guest, end_of(seconds), [&] { return store.read(path) == value; });
}

}  // namespace

int main(int argc, char** argv) try {
  const std::vector<std::string> words(argv + 1, argv + argc);
  const auto is = [&](std::string_view verb, std::size_t least, std::size_t most) {
    return !words.empty() && words[0] == verb && words.size() > least && words.size() <= most + 1;
  };
  if (is("spawn", 3, 3)) return spawn(words[1], words[2], words[3]);
  if (is("join", 4, 4)) return join(words[1], words[2], words[3], words[4]);
  if (is("node", 3, 4)) return node(words[1], words[2], words[3], words.size() > 4 ? words[4] : "");
  static_cast<void>(
      std::fputs("usage: guest_job spawn DOMID N COMMAND | join DOMID N LOG SECONDS\n"
                 "       guest_job node PATH VALUE SECONDS [DOMID]\n",
                 stderr));
  return 2;
} catch (const std::exception& error) {
  static_cast<void>(std::fprintf(stderr, "guest_job: %s\n", error.what()));
  return 1;
}
