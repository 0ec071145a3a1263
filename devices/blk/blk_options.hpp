// What an administrator may say about a disk.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

#include "devices/device_parameters.hpp"
#include "transport/result.hpp"

namespace vmsg::blk {

enum class TargetKind : std::uint8_t { kRaw, kNull, kNbd };

struct BlkOptions {
  TargetKind kind = TargetKind::kRaw;
  std::string target{};         // a path or a URI
  std::uint64_t null_size = 0;  // of null:SIZE
  bool is_read_only = false;    // access=ro
  bool is_writeback = true;     // cache=writeback; writethrough: no write cache is offered
  bool is_direct = true;        // direct=off: through the host's page cache
  bool is_shared = false;
  bool may_discard = true;                     // discard, write zeroes, secure erase
  std::string serial{};                        // up to 20 bytes
  std::uint32_t block_size = 0;                // of a raw file; 0: what its filesystem needs
  std::uint64_t iops = 0;                      // requests a second, 0 for no limit
  std::uint64_t bandwidth = 0;                 // bytes a second, 0 for no limit
  std::chrono::seconds reconnect_timeout{60};  // how long requests wait for an NBD server
  std::uint32_t queues = 4;
  std::uint32_t queue_size = 128;
  std::uint64_t queue_memory = std::uint64_t{2} << 20;  // for the data of a queue's requests
};

[[nodiscard]] Result<BlkOptions, std::string> parse_options(const DeviceParameters& parameters);

}  // namespace vmsg::blk
