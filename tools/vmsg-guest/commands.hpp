// What vmsg-guest can do, one function a command. Each returns an exit code and says on stderr what
// went wrong.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::guest {

class DiskModel;

inline constexpr std::uint32_t kRngDevice = 4;

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
/// Of a verification: it ended early because the device side went away. The model stays right.
inline constexpr int kExitLost = 3;

struct CommandOptions {
  LinkOptions link;
  DeviceChoice device;
  std::optional<std::uint16_t> number;  // else the first device of the type
  std::uint64_t bytes = 0;
  std::uint32_t piece = 64;
  std::string output = "-";
};

/// What part of a disk a command is about.
struct DiskPart {
  std::uint64_t offset = 0;
  std::optional<std::uint64_t> bytes;  // else up to the end
};

/// What a command does with a console.
struct ConsoleChoice {
  std::uint32_t port = 0;
  bool is_pipe = false;          // standard input and output as they are, until both have ended
  std::uint64_t receive = 0;     // in a pipe: bytes that are waited for
  bool waits_for_input = false;  // in a pipe: say nothing before something came
  bool is_multiport = true;
  bool is_verbose = false;  // say what the device says about ports
  bool shows_config = false;
  std::string emergency;
};

struct VerifyOptions {
  std::chrono::seconds time{10};
  std::uint64_t bytes = UINT64_MAX;  // of reads and changes, whichever comes first
  std::uint64_t span = 64 << 20;     // how much of the disk, from its beginning
  std::uint32_t max_bytes = 64 << 10;
  std::uint32_t depth = 16;
  std::uint32_t queues = 1;
  std::uint32_t queue_size = 128;
  std::uint64_t seed = 1;
  std::uint64_t reset_after = 0;  // bytes between resets, 0 for none
  bool random_layout = true;
  bool flush_may_fail = false;
  bool begins_with_check = false;
  bool after_power_cut = false;
  std::string state;
};

struct BenchOptions {
  std::chrono::seconds time{5};
  std::uint32_t bytes = 4096;
  std::uint32_t depth = 32;
  std::uint32_t queues = 1;
  std::uint32_t queue_size = 128;
  std::uint32_t write_percent = 0;
  bool is_busy = false;
};

struct NetCommandOptions {
  std::string address;  // ours
  std::string peer;
  std::uint32_t count = 3;
  std::uint32_t size = 56;
  std::uint32_t descriptors = 1;
  std::uint32_t buffer_size = 2048;
  bool offloads = false;  // leave checksums to the device, and take frames without
  std::uint64_t seed = 1;
};

int complain(const Failure& what);

/// The device that was named, or the first of the type, brought up. `what` is what people call it.
Result<std::unique_ptr<GuestDevice>, Failure> find_device(GuestLink& link,
                                                          const CommandOptions& options,
                                                          std::uint32_t device_id,
                                                          std::string_view what);

int run_probe(const CommandOptions& options);
int run_blk_read(const CommandOptions& options, const DiskPart& part);
int run_blk_write(const CommandOptions& options, const DiskPart& part);
int run_console(const CommandOptions& options, const ConsoleChoice& choice);
int run_conform(const CommandOptions& options, bool as_json);
int run_blk_info(const CommandOptions& options, bool waits);
int run_blk_verify(const CommandOptions& command, const VerifyOptions& options);
/// What run_blk_verify() does on a bus that is connected, with a model that the caller keeps.
int verify_disk(GuestLink& link, const CommandOptions& command, const VerifyOptions& options,
                DiskModel& model);
int run_blk_bench(const CommandOptions& command, const BenchOptions& options);
int run_rng(const CommandOptions& options);
int run_net_ping(const CommandOptions& options, const NetCommandOptions& net);
int run_net_verify(const CommandOptions& options, const NetCommandOptions& net);
int run_net_bench(const CommandOptions& options, const NetCommandOptions& net);
/// Answers others until the device goes away or the process is ended.
int run_net_answer(const CommandOptions& options, const NetCommandOptions& net);

}  // namespace vmsg::guest
