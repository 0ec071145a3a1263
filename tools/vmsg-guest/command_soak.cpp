// vmsg-guest soak: everything that the bus has, again and again. Each use of a device connects to
// the bus, sets the device up in some other way, resets it and leaves. Disks are compared with a
// model that goes on from one use to the next.
#include "tools/vmsg-guest/command_soak.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/disk_model.hpp"
#include "transport/endian.hpp"

namespace vmsg::guest {
namespace {

constexpr std::uint32_t kBlkDevice = 2;

struct SoakOptions {
  std::chrono::seconds time{60};
  std::uint64_t rounds = UINT64_MAX;  // whichever comes first
  std::uint64_t span = 16 << 20;
  std::uint64_t bytes = 32 << 20;  // of a disk in one round
  std::uint64_t seed = 1;
};

struct Found {
  std::uint16_t number = 0;
  std::uint32_t device_id = 0;
  std::uint64_t sectors = 0;  // of a disk
};

class Soak {
 public:
  Soak(const CommandOptions& command, const SoakOptions& options)
      : command_(command), options_(options), random_(options.seed) {}

  int run() {
    const auto end = std::chrono::steady_clock::now() + options_.time;
    int status = 0;
    while (status == 0 && rounds_ < options_.rounds && std::chrono::steady_clock::now() < end) {
      status = round();
      static_cast<void>(std::fflush(stdout));  // somebody may want to see that it goes on
    }
    fmt::print("soak: rounds={} devices={} disks={} entropy={} lost={}\n", rounds_, brought_up_,
               disks_, entropy_, lost_);
    return status;
  }

 private:
  int round() {
    std::vector<Found> devices;
    if (auto looked = look(devices); !looked) return complain(looked.error());
    if (devices.empty()) return complain("the bus has no device");
    std::ranges::shuffle(devices, random_);
    ++rounds_;
    for (const Found& device : devices) {
      const int status = use(device);
      // Whoever takes a device away or ends the daemon is not what is looked for here.
      if (status == kExitLost) {
        ++lost_;
      } else if (status != 0) {
        return status;
      }
    }
    return 0;
  }

  /// Brings up and resets everything that is there.
  Result<void, Failure> look(std::vector<Found>& devices) {
    GuestLoop loop;
    auto link = GuestLink::connect(loop, command_.link);
    if (!link) return std::unexpected(link.error());
    const std::set<std::uint16_t> numbers = (*link)->devices();
    for (const std::uint16_t number : numbers) {
      GuestDevice device(**link, number, some_choice());
      if (auto up = device.bring_up(); !up) {
        return std::unexpected(fmt::format("device {}: {}", number, up.error()));
      }
      Found found{.number = number, .device_id = device.state().info().device_id};
      if (found.device_id == kBlkDevice) {
        const auto config = device.read_config();
        if (!config) return std::unexpected(config.error());
        Le64 capacity;
        if (config->size() < sizeof(capacity)) {
          return std::unexpected(fmt::format("device {} has no capacity", number));
        }
        std::memcpy(&capacity, config->data(), sizeof(capacity));
        found.sectors = capacity.get();
      }
      devices.push_back(found);
      if (auto stopped = device.stop(); !stopped) return std::unexpected(stopped.error());
      ++brought_up_;
    }
    (*link)->close();
    return {};
  }

  int use(const Found& device) {
    CommandOptions command = command_;
    command.number = device.number;
    command.device = some_choice();
    command.link.shared_regions = is_heads();
    if (device.device_id == kBlkDevice) return use_disk(command, device);
    if (device.device_id != kRngDevice) return 0;  // brought up and reset is all, without a peer
    command.output = "/dev/null";
    command.bytes = 64 << 10;
    command.piece = static_cast<std::uint32_t>(64 + random_() % 4033);  // up to a page
    const int status = run_rng(command);
    if (status == 0) entropy_ += command.bytes;
    return status;
  }

  int use_disk(const CommandOptions& command, const Found& device) {
    // The model keeps its size, whatever becomes of the disk.
    constexpr std::uint64_t kPart = 64 << 10;
    const std::uint64_t span =
        std::min(options_.span, device.sectors * kModelSector) / kPart * kPart;
    if (span == 0) {
      return complain(fmt::format("the disk {} is smaller than 64 KiB", device.number));
    }
    DiskModel& model =
        models_.try_emplace(device.number, span / kModelSector, options_.seed).first->second;
    GuestLoop loop;
    auto link = GuestLink::connect(loop, command.link);
    if (!link) return complain(link.error());
    ++disks_;
    const int status = verify_disk(**link, command,
                                   {.time = options_.time,
                                    .bytes = options_.bytes,
                                    .queues = static_cast<std::uint32_t>(1 + random_() % 2),
                                    .seed = options_.seed + rounds_,
                                    .reset_after = options_.bytes / (1 + random_() % 8),
                                    .random_layout = is_heads(),
                                    .begins_with_check = true,
                                    .state = {}},
                                   model);
    (*link)->close();
    return status;
  }

  bool is_heads() { return random_() % 2 == 0; }

  DeviceChoice some_choice() {
    DeviceChoice choice = command_.device;
    choice.packed = is_heads();
    choice.event_idx = is_heads();
    choice.indirect = is_heads();
    choice.queue_channels = is_heads();
    return choice;
  }

  const CommandOptions& command_;
  const SoakOptions& options_;
  std::mt19937_64 random_;
  std::map<std::uint16_t, DiskModel> models_;  // by device
  std::uint64_t rounds_ = 0;
  std::uint64_t brought_up_ = 0;
  std::uint64_t disks_ = 0;
  std::uint64_t entropy_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace

void add_soak_command(CLI::App& app, CommandOptions& options, std::function<int()>& run) {
  const auto choice = std::make_shared<SoakOptions>();
  const auto seconds = std::make_shared<std::uint32_t>(60);
  auto* soak = app.add_subcommand("soak",
                                  "Use all devices of the bus again and again, and compare what "
                                  "disks hold; destroys their contents");
  soak->footer("Exit code 1: a disk is wrong, or a device does not work.");
  soak->add_option("--seconds", *seconds, "How long; a round that has begun is ended")
      ->capture_default_str();
  soak->add_option("--rounds", choice->rounds, "How many rounds at most");
  soak->add_option("--span", choice->span, "How much of each disk, from its beginning")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  soak->add_option("--bytes", choice->bytes, "How much is moved to and from a disk in a round")
      ->transform(CLI::AsSizeValue(false))
      ->capture_default_str();
  soak->add_option("--seed", choice->seed, "Of the random numbers")->capture_default_str();
  soak->final_callback([&, choice, seconds] {
    choice->time = std::chrono::seconds(*seconds);
    run = [&, choice] { return Soak(options, *choice).run(); };
  });
}

}  // namespace vmsg::guest
