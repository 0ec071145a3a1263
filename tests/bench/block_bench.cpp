// block-bench: keeps queues of block devices full for a while and prints what was done, as JSON.
//
//   block-bench vmsg         guests of a mock Xen (XEN_MOCK), over virtio-msg
//   block-bench vhost-user   one queue of a vhost-user-blk export
//
// One thread plays all the guests. Who is measured runs in another process: --server-pid.
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/bench/block_lane.hpp"
#include "tests/bench/guest_lane.hpp"
#include "tests/bench/process_cpu.hpp"
#include "tests/bench/vhost_user_client.hpp"
#include "tests/mock-xen/client.hpp"

namespace vmsg::bench {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
  LaneOptions lane;
  double seconds = 1;
  double warm_up = 0.1;
  std::uint64_t at_least = 0;  // requests of every guest, however long they take
  bool is_spinning = false;  // the driver looks at its queue instead of waiting for a notification
  bool packed = false;
  bool event_idx = true;
  bool shared_regions = false;
  std::uint32_t queue_size = 0;
  std::uint32_t first_guest = 1;
  std::uint32_t guests = 1;
  std::uint32_t busy_guests = 0;  // 0: all of them
  int server_pid = 0;
  std::string socket;
  std::uint64_t disk_bytes = 1ULL << 30;
};

/// A lane and how its device is told.
struct Door {
  virtual ~Door() = default;
  virtual BlockLane& lane() = 0;
  virtual void kick() = 0;
  [[nodiscard]] virtual int fd() const = 0;
  virtual void clear() = 0;
};

struct GuestDoor final : Door {
  explicit GuestDoor(std::unique_ptr<GuestLane> made) : guest(std::move(made)) {}
  BlockLane& lane() override { return guest->lane(); }
  void kick() override { guest->kick(); }
  int fd() const override { return guest->fd(); }
  void clear() override { guest->clear(); }
  std::unique_ptr<GuestLane> guest;
};

struct VhostUserDoor final : Door {
  VhostUserDoor(std::unique_ptr<VhostUserClient> made, const LaneOptions& options)
      : client(std::move(made)),
        requests(client->queue(), client->buffers(), client->buffers_address(), options) {}
  BlockLane& lane() override { return requests; }
  void kick() override { client->kick(); }
  int fd() const override { return client->call_fd(); }
  void clear() override { client->clear(); }
  std::unique_ptr<VhostUserClient> client;
  BlockLane requests;
};

struct Tally {
  std::uint64_t kicks = 0;
  std::uint64_t sleeps = 0;
};

class Load {
 public:
  Load(std::vector<std::unique_ptr<Door>>& doors, const Options& options)
      : doors_(doors), is_spinning_(options.is_spinning) {
    for (const auto& door : doors_) {
      polled_.push_back({.fd = door->fd(), .events = POLLIN, .revents = 0});
    }
  }

  /// Runs for a while, and until every queue has done `at_least`; false when a device broke its
  /// queue.
  bool run(double seconds, std::uint64_t at_least = 0) {
    const auto end = Clock::now() + std::chrono::duration_cast<Clock::duration>(
                                        std::chrono::duration<double>(seconds));
    const auto patience = end + std::chrono::seconds(60);
    std::vector<std::uint64_t> wanted;
    for (const auto& door : doors_) wanted.push_back(door->lane().operations() + at_least);
    for (auto now = Clock::now(); now < end || (now < patience && !have_done(wanted));
         now = Clock::now()) {
      bool is_idle = true;
      for (const auto& door : doors_) {
        if (turn(*door)) is_idle = false;
        if (door->lane().is_broken()) return false;
      }
      if (is_idle) rest();
    }
    return true;
  }

  /// Lets everything that is out come back.
  void drain() {
    const auto patience = Clock::now() + std::chrono::seconds(10);
    for (const auto& door : doors_) {
      while (door->lane().out() > 0 && Clock::now() < patience) {
        if (door->lane().collect() == 0 && !door->lane().queue().enable_callbacks()) wait();
      }
    }
  }

  [[nodiscard]] const Tally& tally() const { return tally_; }

 private:
  /// Whether anything was done.
  bool turn(Door& door) {
    BlockLane& lane = door.lane();
    const std::size_t taken = lane.collect();
    if (taken == 0 && lane.out() != 0) return false;
    lane.fill();
    if (lane.queue().publish()) {
      ++tally_.kicks;
      door.kick();
    }
    return true;
  }

  [[nodiscard]] bool have_done(const std::vector<std::uint64_t>& wanted) const {
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      if (doors_[i]->lane().operations() < wanted[i]) return false;
    }
    return true;
  }

  void rest() {
    if (is_spinning_) return __builtin_ia32_pause();
    for (const auto& door : doors_) {
      if (door->lane().queue().enable_callbacks()) return;
    }
    wait();
    for (const auto& door : doors_) door->lane().queue().disable_callbacks();
  }

  void wait() {
    ++tally_.sleeps;
    if (::poll(polled_.data(), polled_.size(), 1000) <= 0) return;
    for (std::size_t i = 0; i < polled_.size(); ++i) {
      if (polled_[i].revents != 0) doors_[i]->clear();
    }
  }

  std::vector<std::unique_ptr<Door>>& doors_;
  std::vector<pollfd> polled_;
  bool is_spinning_;
  Tally tally_;
};

struct Sum {
  std::uint64_t operations = 0;
  std::uint64_t errors = 0;
};

Sum sum_of(const std::vector<std::unique_ptr<Door>>& doors) {
  Sum sum;
  for (const auto& door : doors) {
    sum.operations += door->lane().operations();
    sum.errors += door->lane().errors();
  }
  return sum;
}

int measure(std::vector<std::unique_ptr<Door>>& doors, const Options& options) {
  Load load(doors, options);
  if (!load.run(options.warm_up)) {
    fmt::print(stderr, "block-bench: the device side broke a queue\n");
    return 1;
  }
  const Sum before = sum_of(doors);
  const Tally tally_before = load.tally();
  std::vector<std::uint64_t> each;
  for (const auto& door : doors) each.push_back(door->lane().operations());
  const std::uint64_t server_before = process_cpu_ns(options.server_pid);
  const std::uint64_t own_before = thread_cpu_ns();
  const auto begin = Clock::now();
  const bool is_well = load.run(options.seconds, options.at_least);
  const std::chrono::duration<double> took = Clock::now() - begin;
  const std::uint64_t own = thread_cpu_ns() - own_before;
  const std::uint64_t server = process_cpu_ns(options.server_pid) - server_before;
  const Tally tally = load.tally();
  const Sum after = sum_of(doors);
  for (std::size_t i = 0; i < doors.size(); ++i) {
    each[i] = doors[i]->lane().operations() - each[i];
  }
  load.drain();
  const Sum all = sum_of(doors);
  fmt::print(
      "{{\"seconds\": {:.6f}, \"operations\": {}, \"errors\": {}, \"server_cpu_ns\": {}, "
      "\"driver_cpu_ns\": {}, \"kicks\": {}, \"sleeps\": {}, \"all_operations\": {}, "
      "\"each\": [{}]}}\n",
      took.count(), after.operations - before.operations, all.errors, server, own,
      tally.kicks - tally_before.kicks, tally.sleeps - tally_before.sleeps, all.operations,
      fmt::join(each, ", "));
  return is_well && all.errors == 0 ? 0 : 1;
}

int complain(const std::string& why) {
  fmt::print(stderr, "block-bench: {}\n", why);
  return 1;
}

int run_vmsg(const Options& options) {
  const char* const socket = std::getenv("XEN_MOCK");
  if (socket == nullptr) return complain("XEN_MOCK must name the broker of a mock Xen");
  std::vector<std::unique_ptr<Door>> busy;
  std::vector<std::unique_ptr<GuestLane>> idle;
  const std::uint32_t busy_guests = options.busy_guests == 0 ? options.guests : options.busy_guests;
  for (std::uint32_t i = 0; i < options.guests; ++i) {
    const mock::ScopedEndpoint in_guest({.socket = socket, .domid = options.first_guest + i});
    GuestLaneOptions lane;
    lane.lane = options.lane;
    lane.device.packed = options.packed;
    lane.device.event_idx = options.event_idx;
    lane.shared_regions = options.shared_regions;
    lane.queue_size = options.queue_size;
    auto guest = GuestLane::create(lane);
    if (!guest) {
      return complain(fmt::format("guest {}: {}", options.first_guest + i, guest.error()));
    }
    if (i < busy_guests) {
      busy.push_back(std::make_unique<GuestDoor>(std::move(*guest)));
    } else {
      idle.push_back(std::move(*guest));
    }
  }
  return measure(busy, options);
}

int run_vhost_user(const Options& options) {
  LaneOptions lane = options.lane;
  lane.disk_bytes = options.disk_bytes;
  auto client = VhostUserClient::connect(
      {.socket = options.socket,
       .queue_size = options.queue_size != 0 ? options.queue_size : BlockLane::entries_for(lane),
       .event_idx = options.event_idx,
       .indirect = lane.indirect,
       .buffer_bytes = BlockLane::memory_for(lane)});
  if (!client) return complain(client.error());
  std::vector<std::unique_ptr<Door>> doors;
  doors.push_back(std::make_unique<VhostUserDoor>(std::move(*client), lane));
  return measure(doors, options);
}

void add_load_options(CLI::App& app, Options& options) {
  const std::map<std::string, Pattern> patterns{{"randread", Pattern::kRandomRead},
                                                {"randwrite", Pattern::kRandomWrite},
                                                {"read", Pattern::kRead},
                                                {"write", Pattern::kWrite}};
  app.add_option("--depth", options.lane.depth, "Requests that are out at a time")
      ->check(CLI::Range(1U, 1024U))
      ->capture_default_str();
  app.add_option("--block", options.lane.block, "Bytes of a request")->capture_default_str();
  app.add_option("--segment", options.lane.segment, "Bytes of a descriptor of its data");
  app.add_option("--pattern", options.lane.pattern, "randread, randwrite, read or write")
      ->transform(CLI::CheckedTransformer(patterns));
  app.add_flag("--indirect", options.lane.indirect, "Use indirect tables");
  app.add_option("--at-least", options.at_least, "Requests of every guest, however long they take");
  app.add_option("--seconds", options.seconds, "How long to measure")->capture_default_str();
  app.add_option("--warm-up", options.warm_up, "Seconds before that")->capture_default_str();
  app.add_flag("--spin", options.is_spinning, "Look at the queue instead of waiting");
  app.add_flag("!--no-event-idx", options.event_idx, "Do without the event index");
  app.add_option("--queue-size", options.queue_size, "Entries; else what the depth needs");
  app.add_option("--server-pid", options.server_pid, "Whose CPU time to look at");
}

}  // namespace
}  // namespace vmsg::bench

int main(int argc, char** argv) {
  using namespace vmsg::bench;  // NOLINT(google-build-using-namespace): this is its program
  CLI::App app{"Loads block devices and prints what was done"};
  app.require_subcommand(1);
  Options options;
  auto* vmsg = app.add_subcommand("vmsg", "Guests of a mock Xen");
  add_load_options(*vmsg, options);
  vmsg->add_flag("--packed", options.packed, "Use packed queues");
  vmsg->add_flag("--shared-regions", options.shared_regions, "Keep buffers mapped");
  vmsg->add_option("--first-guest", options.first_guest, "Domain id")->capture_default_str();
  vmsg->add_option("--guests", options.guests, "How many, with ids in a row")
      ->capture_default_str();
  vmsg->add_option("--busy-guests", options.busy_guests, "How many of them have anything to do");
  auto* vhost_user = app.add_subcommand("vhost-user", "A vhost-user-blk export");
  add_load_options(*vhost_user, options);
  vhost_user->add_option("--socket", options.socket, "Where it listens")->required();
  vhost_user->add_option("--disk-bytes", options.disk_bytes, "Size of the disk")
      ->capture_default_str();
  CLI11_PARSE(app, argc, argv);
  return vmsg->parsed() ? run_vmsg(options) : run_vhost_user(options);
}
