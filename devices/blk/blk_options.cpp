#include "devices/blk/blk_options.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "devices/blk/blk_wire.hpp"

namespace vmsg::blk {
namespace {

bool is_nbd_uri(std::string_view target) {
  constexpr std::array<std::string_view, 4> kSchemes{"nbd://", "nbds://", "nbd+unix://",
                                                     "nbds+unix://"};
  return std::ranges::any_of(kSchemes, [&](auto scheme) { return target.starts_with(scheme); });
}

void parse_target(ParameterReader& reader, BlkOptions& options) {
  constexpr std::string_view kNull = "null:";
  options.target = reader.required_text("target");
  if (options.target.empty()) return;
  if (options.target.starts_with(kNull)) {
    options.kind = TargetKind::kNull;
    const auto size = parse_size(std::string_view(options.target).substr(kNull.size()));
    if (!size || *size < wire::kSectorSize || *size % wire::kSectorSize != 0 ||
        *size > std::uint64_t{1} << 60) {
      reader.complain(fmt::format("target='{}': null:SIZE with a multiple of {} bytes is allowed",
                                  options.target, wire::kSectorSize));
      return;
    }
    options.null_size = *size;
  } else if (is_nbd_uri(options.target)) {
    options.kind = TargetKind::kNbd;
  } else if (!options.target.starts_with('/')) {
    reader.complain(fmt::format(
        "target='{}': an absolute path, an nbd: URI or null:SIZE is allowed", options.target));
  }
}

}  // namespace

Result<BlkOptions, std::string> parse_options(const DeviceParameters& parameters) {
  ParameterReader reader(parameters);
  BlkOptions options;
  parse_target(reader, options);
  options.is_read_only = reader.choice("access", 0, {"rw", "ro"}) == 1;
  options.is_writeback = reader.choice("cache", 0, {"writeback", "writethrough"}) == 0;
  options.is_direct = reader.flag("direct", true);
  options.is_shared = reader.flag("shared", false);
  options.may_discard = reader.flag("discard", true);
  options.serial = reader.text("serial").value_or(std::string{});
  if (options.serial.size() > wire::kIdBytes) {
    reader.complain(
        fmt::format("serial='{}': at most {} bytes are allowed", options.serial, wire::kIdBytes));
  }
  options.block_size =
      static_cast<std::uint32_t>(reader.size("block-size", 0, {.least = 512, .most = 65536}));
  if (options.block_size != 0 &&
      (!std::has_single_bit(options.block_size) || options.kind != TargetKind::kRaw)) {
    reader.complain(fmt::format("block-size='{}': a power of two is allowed, with a raw target",
                                options.block_size));
  }
  constexpr std::uint64_t kMostRate = std::uint64_t{1} << 40;
  options.iops = reader.number("iops", 0, {.most = kMostRate});
  options.bandwidth = reader.size("bandwidth", 0, {.most = kMostRate});
  options.reconnect_timeout = std::chrono::seconds(reader.number(
      "reconnect-timeout", static_cast<std::uint64_t>(options.reconnect_timeout.count()),
      {.least = 1, .most = 86400}));
  options.queues =
      static_cast<std::uint32_t>(reader.number("queues", options.queues, {.least = 1, .most = 64}));
  options.queue_size = static_cast<std::uint32_t>(
      reader.number("queue-size", options.queue_size, {.least = 4, .most = 1024}));
  if (!std::has_single_bit(options.queue_size)) {
    reader.complain(fmt::format("queue-size='{}': a power of two is allowed", options.queue_size));
  }
  options.queue_memory =
      reader.size("queue-memory", options.queue_memory,
                  {.least = std::uint64_t{64} << 10, .most = std::uint64_t{64} << 20});
  if (auto read = reader.finish(); !read) return std::unexpected(read.error());
  return options;
}

}  // namespace vmsg::blk
