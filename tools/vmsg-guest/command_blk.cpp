// vmsg-guest blk info|read|write: shows a virtio disk, copies between it and a file.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "devices/blk/blk_wire.hpp"
#include "tools/vmsg-guest/commands.hpp"
#include "tools/vmsg-guest/disk_session.hpp"

namespace vmsg::guest {
namespace {

namespace wire = blk::wire;

struct CloseFile {
  void operator()(std::FILE* file) const {
    if (file != stdout && file != stdin) static_cast<void>(std::fclose(file));
  }
};
using File = std::unique_ptr<std::FILE, CloseFile>;

Failure failed_request(const char* what, std::uint64_t sector, std::uint8_t status) {
  return fmt::format("{} at sector {}: status {}", what, sector, status);
}

Result<void, Failure> add(GuestDisk& disk, std::uint32_t number, const DiskRequest& request) {
  const auto added = disk.add(number, request);
  if (!added) return std::unexpected(added.error());
  if (!*added) return std::unexpected("the queue takes no more requests");
  return {};
}

/// Waits for `count` requests, which must all succeed.
Result<void, Failure> wait_for(GuestDisk& disk, std::uint32_t count, const char* what,
                               std::uint64_t sector) {
  for (std::uint32_t i = 0; i < count; ++i) {
    const auto done = disk.wait();
    if (!done) return std::unexpected(done.error());
    if (done->status != wire::kStatusOk) {
      return std::unexpected(failed_request(what, sector, done->status));
    }
  }
  return {};
}

/// Requests may be finished in any order; their bytes are written in the order of the disk.
Result<void, Failure> read_disk(GuestDisk& disk, std::uint64_t offset, std::uint64_t bytes,
                                std::FILE* output) {
  std::vector<std::byte> piece(disk.max_bytes());
  std::uint64_t done = 0;
  while (done < bytes) {
    const std::uint64_t sector = (offset + done) / wire::kSectorSize;
    std::uint64_t asked = done;
    std::uint32_t count = 0;
    for (; count < disk.depth() && asked < bytes; ++count) {
      const auto take =
          static_cast<std::uint32_t>(std::min<std::uint64_t>(piece.size(), bytes - asked));
      if (auto added = add(disk, count,
                           {.type = wire::kTypeIn,
                            .sector = (offset + asked) / wire::kSectorSize,
                            .bytes = take,
                            .device_writes = true});
          !added) {
        return added;
      }
      asked += take;
    }
    disk.publish();
    if (auto waited = wait_for(disk, count, "read", sector); !waited) return waited;
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto take =
          static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - done));
      disk.data(i).copy_out(0, std::span(piece).first(take));
      if (std::fwrite(piece.data(), 1, take, output) != take) {
        return std::unexpected("cannot write the output");
      }
      done += take;
    }
  }
  return {};
}

/// Writes what the file has, the last sector filled up with zeros, and flushes.
Result<void, Failure> write_disk(GuestDisk& disk, std::uint64_t offset, std::uint64_t bytes,
                                 std::FILE* input) {
  std::vector<std::byte> piece(disk.max_bytes());
  std::uint64_t done = 0;
  bool is_end = false;
  while (!is_end && done < bytes) {
    const std::uint64_t sector = (offset + done) / wire::kSectorSize;
    std::uint32_t count = 0;
    while (count < disk.depth() && done < bytes && !is_end) {
      const auto wanted =
          static_cast<std::size_t>(std::min<std::uint64_t>(piece.size(), bytes - done));
      const std::size_t got = std::fread(piece.data(), 1, wanted, input);
      is_end = got < wanted;
      if (got == 0) break;
      const std::size_t whole =
          (got + wire::kSectorSize - 1) / wire::kSectorSize * wire::kSectorSize;
      std::fill(piece.begin() + static_cast<std::ptrdiff_t>(got),
                piece.begin() + static_cast<std::ptrdiff_t>(whole), std::byte{0});
      disk.data(count).copy_in(0, std::span(piece).first(whole));
      if (auto added = add(disk, count,
                           {.type = wire::kTypeOut,
                            .sector = (offset + done) / wire::kSectorSize,
                            .bytes = static_cast<std::uint32_t>(whole)});
          !added) {
        return added;
      }
      done += whole;
      ++count;
    }
    disk.publish();
    if (auto waited = wait_for(disk, count, "write", sector); !waited) return waited;
  }
  if (auto added = add(disk, 0, {.type = wire::kTypeFlush}); !added) return added;
  disk.publish();
  return wait_for(disk, 1, "flush", 0);
}

Result<void, Failure> copy(GuestLink& link, const CommandOptions& options, const DiskPart& part,
                           bool is_write) {
  auto session = DiskSession::open(link, options, {.disk = {}});
  if (!session) return std::unexpected(session.error());
  const std::uint64_t size = (*session)->info().sectors * wire::kSectorSize;
  if (part.offset % wire::kSectorSize != 0 || part.offset > size ||
      part.bytes.value_or(0) % wire::kSectorSize != 0) {
    return std::unexpected(
        fmt::format("the disk has {} bytes, in sectors of {}", size, wire::kSectorSize));
  }
  const std::uint64_t bytes = std::min(part.bytes.value_or(size), size - part.offset);

  const char* const mode = is_write ? "rb" : "wb";
  std::FILE* const standard = is_write ? stdin : stdout;
  const File file(options.output == "-" ? standard : std::fopen(options.output.c_str(), mode));
  if (file == nullptr) return std::unexpected(fmt::format("cannot open {}", options.output));
  GuestDisk& disk = (*session)->queue(0);
  auto copied = is_write ? write_disk(disk, part.offset, bytes, file.get())
                         : read_disk(disk, part.offset, bytes, file.get());
  if (!is_write && std::fflush(file.get()) != 0 && copied) {
    copied = std::unexpected("cannot write the output");
  }
  const auto stopped = (*session)->stop();
  return copied ? stopped : copied;
}

/// One `name=value` a line, for people and scripts.
Result<void, Failure> show(DiskSession& session) {
  const auto info = read_disk_info(session.device());
  if (!info) return std::unexpected(info.error());
  const auto status =
      session.ask({.type = wire::kTypeGetId, .bytes = wire::kIdBytes, .device_writes = true});
  if (!status) return std::unexpected(status.error());
  std::string id(wire::kIdBytes, '\0');
  session.queue(0).data(0).copy_out(0, std::as_writable_bytes(std::span(id)));
  id.resize(std::min(id.find('\0'), id.size()));
  fmt::print(
      "sectors={}\nblock={}\nqueues={}\nsize_max={}\nseg_max={}\nread_only={}\nwriteback={}\n"
      "max_discard={}\nmax_write_zeroes={}\nmax_secure_erase={}\nserial={}\n",
      info->sectors, info->block, info->queues, info->size_max, info->seg_max,
      info->is_read_only ? 1 : 0, info->is_writeback ? 1 : 0, info->max_discard,
      info->max_write_zeroes, info->max_secure_erase, id);
  static_cast<void>(std::fflush(stdout));
  return {};
}

Result<void, Failure> inform(GuestLink& link, const CommandOptions& options, bool waits) {
  auto session = DiskSession::open(link, options, {.disk = {}});
  if (!session) return std::unexpected(session.error());
  if (auto shown = show(**session); !shown) return shown;
  if (waits) {
    GuestDevice& device = (*session)->device();
    if (auto waited = device.wait_until([&] { return device.config_changes() > 0; },
                                        "a change of the configuration");
        !waited) {
      return waited;
    }
    if (auto shown = show(**session); !shown) return shown;
  }
  return (*session)->stop();
}

/// Connects, does it, and disconnects in order.
template <typename Action>
int with_link(const CommandOptions& options, const Action& action) {
  GuestLoop loop;
  auto link = GuestLink::connect(loop, options.link);
  if (!link) return complain(link.error());
  const Result<void, Failure> done = action(**link);
  (*link)->close();
  return done ? 0 : complain(done.error());
}

}  // namespace

int run_blk_read(const CommandOptions& options, const DiskPart& part) {
  return with_link(options, [&](GuestLink& link) { return copy(link, options, part, false); });
}

int run_blk_write(const CommandOptions& options, const DiskPart& part) {
  return with_link(options, [&](GuestLink& link) { return copy(link, options, part, true); });
}

int run_blk_info(const CommandOptions& options, bool waits) {
  return with_link(options, [&](GuestLink& link) { return inform(link, options, waits); });
}

}  // namespace vmsg::guest
