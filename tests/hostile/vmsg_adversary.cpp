// vmsg-adversary: hostile guests by name, to be run in a guest whose backend serves an entropy
// device. Each runs in a process of its own; afterwards an honest driver side must be served on the
// same bus again.
//
// One line an adversary: NAME, what became of it, the device side's own words. Exit code: 0 when
// all came to what is allowed, 1 when one did not, 2 for wrong usage.
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <csignal>
#include <cstdio>

#include "tests/hostile/adversary.hpp"
#include "tests/hostile/bystander.hpp"
#include "tests/hostile/raw_queue.hpp"

namespace vmsg::hostile {

std::string_view name(Fate fate) {
  switch (fate) {
    case Fate::kServed:
      return "served";
    case Fate::kNeedsReset:
      return "needs reset";
    case Fate::kClosed:
      return "closed";
    case Fate::kNotStarted:
      return "not connected";
    case Fate::kDied:
      return "died";
  }
  return "unknown";
}

namespace {

constexpr int kUsage = 2;
constexpr int kTrouble = 1;
constexpr int kMismatch = 3;
constexpr int kFateBase = 10;  // exit codes of an adversary's process from here on

std::vector<const Adversary*> everybody() {
  std::vector<const Adversary*> all;
  for (const auto& group : {handshake_adversaries(), ring_adversaries(), message_adversaries(),
                            queue_adversaries(), chain_adversaries(), death_adversaries()}) {
    for (const Adversary& adversary : group) all.push_back(&adversary);
  }
  return all;
}

Fate observe(Attacker& attacker) {
  const xen::XenbusState state = attacker.peer();
  if (state == xen::XenbusState::kClosing || state == xen::XenbusState::kClosed) {
    return Fate::kClosed;
  }
  if (state != xen::XenbusState::kConnected || !attacker.ring_page().is_shared()) {
    return Fate::kNotStarted;
  }
  expect(attacker.ping(), "the bus is connected and does not answer");
  return (attacker.status() & kStatusNeedsReset) != 0 ? Fate::kNeedsReset : Fate::kServed;
}

Fate attack(const Adversary& adversary, const AttackerOptions& options) {
  Attacker attacker(options);
  if (adversary.stage != Stage::kBus) attacker.connect();
  if (adversary.stage == Stage::kFeatures) attacker.bring_up({});
  adversary.attack(attacker);
  const Fate fate = observe(attacker);
  // The protocol promises words for every bus that is closed for a reason.
  const std::string words = attacker.error();
  if (!words.empty()) fmt::print("  says: {}\n", words);
  attacker.close();
  return fate;
}

/// An honest driver side on the same bus: it gets a connection, and entropy.
void recover(const AttackerOptions& options) {
  Attacker guest(options);
  const auto begin = [&] {
    guest.connect();
    guest.bring_up({});
  };
  try {
    begin();
  } catch (const Trouble&) {
    // The device side may have taken the last state of the one that died for ours: then it refuses
    // us, or connects, sees our first state after that one, and closes.
    guest.close();
    begin();
  }
  expect(guest.error().empty(), "an old error stands at a new connection");
  RawQueue queue(guest, QueueFormat::kSplit);
  queue.go_live(true);
  queue.publish_one(0, 64);
  queue.kick();
  expect(guest.wait_until([&] { return queue.came_back(0); }), "no entropy");
  std::array<std::byte, 64> bytes{};
  queue.buffer_bytes(0).copy_out(0, bytes);
  expect(std::ranges::any_of(bytes, [](std::byte byte) { return byte != std::byte{0}; }),
         "the entropy is zeroes");
  guest.reset();
  guest.close();
}

/// Runs `work` in a process of its own; its exit code, or 128 and the signal that killed it.
int in_child(const std::function<int()>& work) {
  static_cast<void>(std::fflush(stdout));
  const pid_t child = fork();
  if (child < 0) return kTrouble;
  if (child == 0) {
    int code = kTrouble;
    try {
      code = work();
    } catch (const Trouble& trouble) {
      fmt::print("  trouble: {}\n", trouble.what());
    }
    static_cast<void>(std::fflush(stdout));
    // Not by way of main(): what the parent has is the parent's.
    _exit(code);
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
  return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

bool is_allowed(const Adversary& adversary, int code) {
  return std::ranges::any_of(adversary.allowed, [code](Fate fate) {
    return fate == Fate::kDied ? code == 128 + SIGKILL : code == kFateBase + static_cast<int>(fate);
  });
}

std::string what_became(int code) {
  if (code == 128 + SIGKILL) return std::string(name(Fate::kDied));
  if (code > 128) return fmt::format("killed by signal {}", code - 128);
  if (code >= kFateBase) return std::string(name(static_cast<Fate>(code - kFateBase)));
  return "could not do what it wanted";
}

bool run_one(const Adversary& adversary, const AttackerOptions& options) {
  const int code =
      in_child([&] { return kFateBase + static_cast<int>(attack(adversary, options)); });
  bool is_well = is_allowed(adversary, code);
  const int recovered = in_child([&] {
    recover(options);
    return 0;
  });
  if (recovered != 0) is_well = false;
  fmt::print("{}: {}: {}{}\n", is_well ? "ok" : "FAIL", adversary.name, what_became(code),
             recovered == 0 ? "" : "; and nobody is served on its bus any more");
  static_cast<void>(std::fflush(stdout));
  return is_well;
}

int run(const std::vector<std::string>& wanted, const AttackerOptions& options) {
  bool is_well = true;
  std::size_t count = 0;
  const bool is_all = wanted.size() == 1 && wanted.front() == "all";
  for (const Adversary* adversary : everybody()) {
    if (!is_all && std::ranges::find(wanted, adversary->name) == wanted.end()) continue;
    ++count;
    is_well = run_one(*adversary, options) && is_well;
  }
  if (count != (is_all ? everybody().size() : wanted.size())) {
    fmt::print(stderr, "vmsg-adversary: not all of these are adversaries; see list\n");
    return kUsage;
  }
  return is_well ? 0 : kTrouble;
}

int list() {
  for (const Adversary* adversary : everybody()) {
    fmt::print("{:<28} {}\n", adversary->name, adversary->about);
  }
  return 0;
}

int rounds(std::uint32_t count, const AttackerOptions& options) {
  try {
    for (std::uint32_t i = 0; i < count; ++i) recover(options);
    return 0;
  } catch (const Trouble& trouble) {
    fmt::print(stderr, "vmsg-adversary: {}\n", trouble.what());
    return kTrouble;
  }
}

int bystander(const AttackerOptions& options, const std::string& report) {
  try {
    stand_by(options, report);
    return 0;
  } catch (const Mismatch& mismatch) {
    fmt::print(stderr, "vmsg-adversary: the bystander: {}\n", mismatch.what());
    return kMismatch;
  } catch (const Trouble& trouble) {
    fmt::print(stderr, "vmsg-adversary: the bystander: {}\n", trouble.what());
    return kTrouble;
  }
}

}  // namespace
}  // namespace vmsg::hostile

int main(int argc, char** argv) {
  using namespace vmsg::hostile;  // NOLINT(google-build-using-namespace): this is its program
  CLI::App app{"Plays hostile guests against a device side of virtio-msg"};
  app.require_subcommand(1);
  AttackerOptions options;
  unsigned effort = 200;
  unsigned patience = 10;
  std::string report;
  std::vector<std::string> wanted;
  app.add_option("--bus", options.bus, "Which bus of this guest")->capture_default_str();
  app.add_option("--device", options.device, "Number of an entropy device on it")
      ->capture_default_str();
  app.add_option("--effort", effort, "Milliseconds that floods and rewriting threads go on")
      ->capture_default_str();
  app.add_option("--patience", patience, "Seconds that the other side may take for an answer")
      ->capture_default_str();
  auto* listing = app.add_subcommand("list", "Show who there is");
  auto* running = app.add_subcommand("run", "Run some, or all");
  running->add_option("names", wanted, "Their names, or all")->required();
  running->add_option("--other", options.bystander, "Another domain, for grants that are its own")
      ->required();
  std::uint32_t count = 0;
  auto* going = app.add_subcommand("rounds", "Connect, read entropy, close, so many times");
  going->add_option("count", count, "How often")->required();
  auto* standing = app.add_subcommand("bystander", "Read entropy and check it, until SIGTERM");
  standing->add_option("--report", report, "A file for the number of buffers");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  options.effort = std::chrono::milliseconds(effort);
  options.patience = std::chrono::seconds(patience);
  if (listing->parsed()) return list();
  if (going->parsed()) return rounds(count, options);
  return standing->parsed() ? bystander(options, report) : run(wanted, options);
}
