// What vmsg-guest can do, one function a command. Each returns an exit code and says on stderr what
// went wrong.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tools/vmsg-guest/guest_device.hpp"

namespace vmsg::guest {

inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;

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

int complain(const Failure& what);

/// The device that was named, or the first of the type, brought up. `what` is what people call it.
Result<std::unique_ptr<GuestDevice>, Failure> find_device(GuestLink& link,
                                                          const CommandOptions& options,
                                                          std::uint32_t device_id,
                                                          std::string_view what);

int run_probe(const CommandOptions& options);
int run_blk_read(const CommandOptions& options, const DiskPart& part);
int run_blk_write(const CommandOptions& options, const DiskPart& part);
int run_rng(const CommandOptions& options);

}  // namespace vmsg::guest
